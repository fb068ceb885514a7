"""The map by keys and by fingers, over a handful of points whose places are known."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from playwright.sync_api import Browser, CDPSession, Page
import pytest
from sqlalchemy import select

from atlas.analysis.points import Points
from atlas.project import Project
from atlas.store.tables import Image
from tests.dashboard_support import served
from tests.live.test_dashboard import watched

pytestmark = [pytest.mark.live, pytest.mark.slow]

DRAWN = """() => {
  const canvas = document.querySelector("canvas"), { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const found = [];
  for (let i = 0; i < width * height; i += 1) if (data[4 * i + 3]) found.push(i);
  const middle = (of) => found.reduce((sum, one) => sum + of(one), 0) / found.length;
  return [middle((one) => one % width) / width, middle((one) => Math.floor(one / width)) / height,
    found.length];
}"""


@pytest.fixture
def address(project: Project, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A map of an image in the middle and two in opposite corners, one of these without a guess."""
    with project.database.reader() as session:
        ids = tuple(session.scalars(select(Image.id).order_by(Image.id).limit(3)))

    def at(_: Project, level: str) -> Points:
        return Points(
            ids=ids,
            places=np.array([[0, 0], [-1, -1], [1, 1]], dtype=np.float32),
            classes=(f"{level}-a", f"{level}-b"),
            label=np.array([-1, 0, 1], dtype=np.int16),
            predicted=np.array([1, 0, -1], dtype=np.int16),
            sure=np.array([0.9, 0.4, -1], dtype=np.float32),
            asked=np.array([0, 1, 0], dtype=np.int16),
            explained=(0.2, 0.1),
            pool=3,
        )

    monkeypatch.setattr("services.dashboard.map_page.points", at)
    with served(project.directory) as address:
        yield address


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with watched(browser.new_context(viewport={"width": 1280, "height": 900})) as page:
        page.goto(f"{address}/map")
        page.locator("canvas[data-points='3']").wait_for()
        yield page


@pytest.fixture
def telephone(browser: Browser, address: str) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": 400, "height": 800}, has_touch=True, is_mobile=True
    )
    with watched(context) as page:
        page.goto(f"{address}/map")
        page.locator("canvas[data-points='3']").wait_for()
        page.locator("canvas").evaluate("one => one.scrollIntoView({ block: 'center' })")
        yield page


def test_another_level_closes_the_card_of_the_old_one(page: Page) -> None:
    canvas, card, told = (page.locator(one) for one in ("canvas", ".map-card", ".map-told"))
    canvas.press("Enter")
    assert told.inner_text() == "label –, guess shape-b, sure 90%, asked never"
    page.get_by_label("Level", exact=True).select_option("family")
    card.wait_for(state="hidden")
    assert told.inner_text() == ""
    canvas.press("Enter")
    assert told.inner_text() == "label –, guess family-b, sure 90%, asked never"
    assert len(page.context.pages) == 1  # nothing was opened


def test_an_image_without_a_guess_is_called_so(page: Page) -> None:
    legend = page.get_by_role("list", name="Colours, and how many images each stands for")
    assert legend.locator("li").all_inner_texts() == ["shape-a\n1", "shape-b\n1", "no guess\n1"]
    page.get_by_label("Colour", exact=True).select_option("uncertainty")
    names = ["0 to 20% unsure\n1", "60 to 80% unsure\n1", "no guess\n1"]
    assert legend.locator("li").all_inner_texts() == names
    x, y = place(page, across=1, up=1)
    page.mouse.move(x, y)
    assert page.locator(".map-card dd").all_inner_texts() == ["shape-b", "–", "–", "never"]


def test_a_finger_sees_an_image_first_and_opens_it_with_the_next_tap(telephone: Page) -> None:
    card = telephone.locator(".map-card")
    telephone.touchscreen.tap(*place(telephone, off=12))  # fingers are thick
    card.wait_for()
    assert card.locator("dd").all_inner_texts() == ["–", "shape-b", "90%", "never"]
    nothing_there = place(telephone, across=1, up=-1)
    telephone.touchscreen.tap(*nothing_there)
    assert card.is_hidden()
    telephone.touchscreen.tap(*place(telephone, across=-1, up=-1))
    assert card.locator("dd").all_inner_texts() == ["shape-a", "shape-a", "40%", "round 1"]
    assert len(telephone.context.pages) == 1
    with telephone.expect_popup() as opened:
        telephone.touchscreen.tap(*place(telephone, across=-1, up=-1))
    assert "side=1024" in opened.value.url
    opened.value.close()
    with telephone.expect_popup():
        card.tap()


def test_two_fingers_come_closer_around_their_middle(telephone: Page) -> None:
    x, y = place(telephone)
    apart = 20.0
    finger(telephone, lambda step: [(x, y - apart - 12 * step), (x, y + apart + 12 * step)])
    across, down, _ = settled(telephone)
    assert (across, down) == pytest.approx((0.5, 0.5), abs=0.02)  # what was there is there
    finger(telephone, lambda step: [(x - 20, y - 9 * step), (x + 20, y - 9 * step)])
    across, down, _ = settled(telephone)
    assert across == pytest.approx(0.5, abs=0.02)
    assert down < 0.4  # up with the fingers, though the page could scroll


def test_one_finger_scrolls_the_page(telephone: Page) -> None:
    x, y = place(telephone)
    before, drawn = telephone.evaluate("scrollY"), telephone.evaluate(DRAWN)
    finger(telephone, lambda step: [(x, y - 20 * step)])
    telephone.wait_for_function("old => scrollY > old + 50", arg=before)
    assert settled(telephone) == drawn  # the map stays
    finger(telephone, lambda step: [(x - 20 * step, y)])
    assert settled(telephone)[2] == drawn[2] / 3  # two of the points are out of sight


def place(page: Page, *, across: int = 0, up: int = 0, off: int = 0) -> tuple[float, float]:
    """Where a point is in the window while everything is shown."""
    box = page.locator("canvas").bounding_box()
    assert box is not None
    side = 0.94 * min(box["width"], box["height"]) / 2
    x = box["x"] + box["width"] / 2 + across * side
    return x + off, box["y"] + box["height"] / 2 - up * side


def finger(page: Page, at: Callable[[int], list[tuple[float, float]]]) -> None:
    """Put fingers down where they are at step 0, move them and lift them."""
    session = page.context.new_cdp_session(page)
    touch(session, "touchStart", at(0))
    for step in range(1, 10):
        touch(session, "touchMove", at(step))
        page.wait_for_timeout(20)
    touch(session, "touchEnd", [])


def touch(session: CDPSession, kind: str, at: list[tuple[float, float]]) -> None:
    points: list[dict[str, Any]] = [{"x": x, "y": y, "id": one} for one, (x, y) in enumerate(at)]
    session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def settled(page: Page) -> list[float]:
    """The mean place of what is drawn, as shares of the canvas, and how many pixels are."""
    page.wait_for_timeout(200)  # a frame later
    found: list[float] = page.evaluate(DRAWN)
    return found
