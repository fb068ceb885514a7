"""The scripted person of `python benchmarks/keys_per_label.py --out DIR`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import re
import time

from keys_pages import LabellingPage, Truth
from playwright.sync_api import Page, Response

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Asked:
    """A picture that the person is asked about.

    Attributes:
        picture: its file.
        truth: about class and colour.
        guess: what the page has ticked; empty where it is asked without a guess.
        reason: what the page says beneath it.
        ranked: the classes by probability, best first.
    """

    picture: Path
    truth: Truth
    guess: Truth
    reason: str
    ranked: Sequence[str]


class Person:
    """Knows the truth, looks at what is ticked, presses or clicks what is missing."""

    def __init__(
        self, shown: Page, page: LabellingPage, asked: Sequence[Asked], *, mouse: bool
    ) -> None:
        self.shown = shown
        self.page = page
        self.asked = asked
        self.mouse = mouse
        self.given: list[str] = []
        shown.on("response", self._notice)

    def _notice(self, response: Response) -> None:
        if "id=next_task" in response.url and response.ok:
            self.given.append(response.json()["data"]["uid"])

    def label(self, one: Asked) -> int:
        """Answer the picture on the screen; returns how many keys or clicks that took."""
        assert self.asked[int(self.given[-1])] is one
        truth = self.page.values(one.truth)
        guess = self.page.values(one.guess) if one.guess else {}
        self._wait_for(guess)
        pressed = 0
        for control, value in truth.items():
            if guess.get(control) != value:
                pressed += self._choose(value)
        self._wait_for(truth)
        given = len(self.given)
        pressed += self._submit()
        until_s = time.monotonic() + PATIENCE_S
        while len(self.given) == given and not self._is_over():
            assert time.monotonic() < until_s, f"no picture after {self.given}"
            self.shown.wait_for_timeout(20)
        return pressed

    def _is_over(self) -> bool:
        return self.shown.get_by_text("No More Tasks Left in Queue").count() > 0

    def _choose(self, value: str) -> int:
        label = self.shown.locator(".atlas-answers label:visible").filter(has_text=_named(value))
        if self.mouse:
            label.first.click()
            return 1
        _, _, hint = label.first.inner_text().rpartition("[")  # the key that the page shows
        return self._press(hint.strip().rstrip("]").replace("shift", "Shift"))

    def _submit(self) -> int:
        if self.mouse:
            self.shown.locator("button").filter(has_text="Submit").first.click()
            return 1
        return self._press(self.page.submit)

    def _press(self, key: str) -> int:
        self.shown.keyboard.press(key)
        return len(key.split("+"))

    def _wait_for(self, values: dict[str, str]) -> None:
        """Until exactly these are ticked: the next picture takes a moment to come."""
        until_s = time.monotonic() + PATIENCE_S
        wanted = [_named(value) for value in values.values()]
        while True:
            ticked = self.shown.locator(".atlas-answers label:visible:has(input:checked)")
            texts = ticked.all_inner_texts()
            if len(texts) == len(wanted) and all(any(w.search(t) for t in texts) for w in wanted):
                return
            assert time.monotonic() < until_s, f"{texts} are ticked, not {values}"
            self.shown.wait_for_timeout(20)


def _named(value: str) -> re.Pattern[str]:
    """A choice by its whole name, shown as the path or as the path's last part."""
    last = value.rpartition("/")[2].replace("_", " ")
    return re.compile(rf"^\s*(?:\S*/)?{re.escape(last)}\s*\[")
