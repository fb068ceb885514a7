"""The map over a handful of points whose places are known."""

from collections.abc import Iterator

import numpy as np
from playwright.sync_api import Browser, Page
import pytest
from sqlalchemy import select

from atlas.analysis.points import Points
from atlas.project import Project
from atlas.store.tables import Image
from tests.dashboard_support import served
from tests.live.browser import open_browser
from tests.live.test_dashboard import watched

pytestmark = [pytest.mark.live, pytest.mark.slow]


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


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with open_browser(chromium) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    with watched(browser.new_context(viewport={"width": 1280, "height": 900})) as page:
        page.goto(f"{address}/map")
        page.locator("canvas[data-points='3']").wait_for()
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


def place(page: Page, *, across: int = 0, up: int = 0, off: int = 0) -> tuple[float, float]:
    """Where a point is in the window while everything is shown."""
    box = page.locator("canvas").bounding_box()
    assert box is not None
    side = 0.94 * min(box["width"], box["height"]) / 2
    x = box["x"] + box["width"] / 2 + across * side
    return x + off, box["y"] + box["height"] / 2 - up * side
