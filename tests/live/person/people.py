"""What people do in Chromium, act by act: one labels, others read the dashboard."""

from collections.abc import Callable
from dataclasses import dataclass, field
import io
import re
import time
from typing import Any, Protocol

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, Page, Response, expect

from services.label_studio import Login
from tests.conftest import COLOURS, picture
from tests.live.browser import PATIENCE_MS, start_labelling, ticked

COLOURFUL = 100  # between the largest and the smallest of red, green, blue; noise stays below it
KEY_HEEDED_MS = 700
SKIP = "Control+Space"
SUBMIT = "Control+Enter"


class Live(Protocol):
    """A running system: where its doors are, and how it is ended."""

    open_for_reading: bool

    @property
    def api(self) -> str: ...
    @property
    def labelling(self) -> str: ...
    @property
    def label_studio(self) -> str: ...
    @property
    def login(self) -> Login: ...
    def check(self) -> Any: ...
    def end(self) -> None: ...


def leaf_in(picture: bytes) -> str:
    """What a drawn picture shows: its colour tells."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), float).reshape(-1, 3)
    colourful = pixels[np.ptp(pixels, axis=1) > COLOURFUL]
    assert len(colourful), "nothing but grey"
    seen = colourful.mean(axis=0)
    return min(COLOURS, key=lambda leaf: float(np.abs(seen - COLOURS[leaf]).sum()))


def drawn(leaf: str) -> bytes:
    """A picture that is not in the pool, as PNG."""
    file = io.BytesIO()
    picture(leaf, np.random.default_rng(7)).save(file, "PNG")
    return file.getvalue()


def wait_for_picture(shown: Locator) -> None:
    """Return once it is loaded."""
    until_s = time.monotonic() + PATIENCE_MS / 1000
    while not shown.evaluate("img => img.complete && img.naturalWidth > 0"):
        assert time.monotonic() < until_s, "the picture does not load"
        shown.page.wait_for_timeout(20)


@dataclass
class Given:
    """What the annotator answered by hand.

    Attributes:
        labels: query → label.
        half: the query that was answered as far as could be told.
        skipped: the one that was passed over.
        accepted: the one whose guess was right.
    """

    labels: dict[str, str] = field(default_factory=dict)
    half: str = ""
    skipped: str = ""
    accepted: str = ""


class Annotator:
    """Somebody who labels what comes, with keys."""

    def __init__(self, page: Page, live: Live) -> None:
        self.page, self.door = page, live.labelling
        self.asked: list[str] = []  # the queries that came, the present one last
        self._left = (0, "")  # as many of them, and the picture, when the last answer was sent
        page.on("response", self._notice)
        start_labelling(page, live.login, self.door)

    def come_back(self) -> None:
        """Open the door again; the browser is still logged in."""
        self._left = len(self.asked), self._picture()
        self.page.goto(self.door)
        assert self.wait_for_next()

    def _notice(self, response: Response) -> None:
        if "id=next_task" in response.url and response.ok:
            self.asked.append(response.json()["data"]["uid"])

    def sees(self) -> str:
        """What the picture on the page shows."""
        shown = self.page.locator(".atlas-picture img").first
        wait_for_picture(shown)
        return leaf_in(shown.screenshot())

    def _choose(self, text: str) -> None:
        """Press the key that stands beside the choice, once more where the page was not ready."""
        beside = re.compile(rf"^{re.escape(text)}\s*\[(.+)\]$")
        choice = self.page.locator(".atlas-answers label").filter(has_text=beside)
        found = beside.match((choice.text_content() or "").strip())
        assert found is not None
        until_s = time.monotonic() + PATIENCE_MS / 1000
        while not self._is_ticked(choice):
            assert time.monotonic() < until_s, f"the key {found[1]} does not choose {text}"
            self.page.keyboard.press(found[1].replace("shift", "Shift"))
            self._wait(lambda: self._is_ticked(choice), KEY_HEEDED_MS)

    def choice(self) -> str:
        """What is ticked, without its key; "" where nothing is."""
        texts = [one.partition("[")[0].strip() for one in ticked(self.page).all_inner_texts()]
        assert len(texts) <= 1
        return texts[0] if texts else ""

    def submit(self, text: str = "") -> None:
        """Choose that, unless what is chosen is right, and send it."""
        if text:
            self._choose(text)
        self._send(SUBMIT)

    def skip(self) -> None:
        """Pass the picture over."""
        self._send(SKIP)

    def _send(self, key: str) -> None:
        self._left = len(self.asked), self._picture()
        self.page.keyboard.press(key)

    def wait_for_next(self) -> bool:
        """Wait for the next picture after an answer; whether there is one."""
        given, before = self._left

        def is_over() -> bool:
            return bool(self.page.get_by_text("No More Tasks Left in Queue").count())

        def is_next() -> bool:
            return len(self.asked) > given and self._picture() not in ("", before)

        assert self._wait(lambda: is_next() or is_over(), PATIENCE_MS), self.asked
        return not is_over()

    def _picture(self) -> str:
        shown = self.page.locator(".atlas-picture img")
        return (shown.first.get_attribute("src") or "") if shown.count() else ""

    def _is_ticked(self, choice: Locator) -> bool:
        return bool(choice.locator("input:checked").count())

    def _wait(self, condition: Callable[[], bool], patience_ms: int) -> bool:
        until_s = time.monotonic() + patience_ms / 1000
        while not (found := condition()) and time.monotonic() < until_s:
            self.page.wait_for_timeout(20)
        return found


class Reader:
    """Somebody at the dashboard who signed in with a token."""

    def __init__(self, page: Page, live: Live, token: str) -> None:
        self.page = page
        page.goto(f"{live.api}/sign-in")
        page.get_by_label("Token").fill(token)
        page.get_by_role("main").get_by_role("button", name="Sign in").click()
        page.get_by_text("Signed in as").wait_for()

    def open(self, title: str) -> Page:
        """Go to a page by its link."""
        way = self.page.get_by_role("navigation", name="Pages")
        way.get_by_role("link", name=title, exact=True).click()
        expect(way.locator("[aria-current=page]")).to_have_text(title)
        return self.page

    def is_told(self, text: str) -> None:
        """The text stands on the page."""
        expect(self.page.get_by_role("main")).to_contain_text(text)
