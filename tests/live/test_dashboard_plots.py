"""The level, queue, map and annotator pages in Chromium: worked with, looked at, without script."""

from collections.abc import Iterator
from pathlib import Path
import re
from typing import Literal

import numpy as np
from playwright.sync_api import Browser, Page, ViewportSize
import pytest

from atlas.analysis.points import Points
from atlas.analysis.predicting import analyse
from atlas.labels import record
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import Project
from atlas.rounds import close_round, open_round, push_round
from atlas.types import Annotation, utc_now
from tests.dashboard_support import faults, served
from tests.live.test_dashboard import settle, shot, watched
from tests.rounds_support import queries

pytestmark = [pytest.mark.live, pytest.mark.slow]

SIZES: dict[str, ViewportSize] = {
    "wide": {"width": 1280, "height": 900},
    "narrow": {"width": 400, "height": 800},
}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
TITLES = {"/levels/shape": "shape", "/queue": "Queue", "/map": "Map", "/annotators": "Annotators"}
SMOOTH_MS = 50  # a redraw of 100,000 points, on a machine that does other things too
LABELS = ("round/ball", "round/ring", "angular/box", "angular/cross")


@pytest.fixture
def labelled(project: Project) -> Project:
    """Three rounds that two people answered, at odds now and then; the fourth waits."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        number = open_round(project)
        push_round(project, SimulatedOracle(project))
        for row in queries(project, number) + queries(project, number, "audit"):
            answer(project, row.uid, "ann", str(rng.choice(LABELS)))
            answer(project, row.uid, "bob", str(rng.choice(LABELS)))
        close_round(project)
    analyse(project)
    open_round(project)
    push_round(project, SimulatedOracle(project))
    return project


def answer(project: Project, uid: str, who: str, label: str) -> None:
    with project.database.session() as session:
        given = Annotation(
            f"{who}-{uid}", uid, "submitted", utc_now(), {"label": label}, who, 2.0, "accepted"
        )
        record(session, [given], received_by="poll", taxonomy=project.taxonomy)


@pytest.fixture
def address(labelled: Project) -> Iterator[str]:
    with served(labelled.directory) as address:
        yield address


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with watched(browser.new_context(viewport=SIZES["wide"])) as page:
        yield page


def points_drawn(page: Page) -> int:
    page.locator("canvas[data-points]").wait_for()
    return int(page.locator("canvas").get_attribute("data-points") or 0)


def draw_ms(page: Page) -> float:
    return float(page.locator("canvas").get_attribute("data-draw-ms") or "nan")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES)
def test_every_page_of_figures_loads_and_fits(
    browser: Browser, address: str, scheme: Literal["light", "dark"], size: str, tmp_path: Path
) -> None:
    with watched(browser.new_context(viewport=SIZES[size], color_scheme=scheme)) as page:
        for path, title in TITLES.items():
            page.goto(address + path)
            assert page.locator("h1").inner_text() == title
            settle(page)
            if path == "/map":
                assert points_drawn(page) == 32
            wider = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wider <= 0, f"{path} scrolls sideways by {wider} pixels"
            assert faults(page.content().replace("<br>", "")) == [], path
            load_pictures(page)
            shot(page, tmp_path / f"{title}.png")


def load_pictures(page: Page) -> None:
    """Pictures load when they are scrolled to."""
    for picture in page.locator("main img[src]").all():
        picture.scroll_into_view_if_needed()
        page.wait_for_function("one => one.complete", arg=picture.element_handle())
        assert picture.evaluate("one => one.naturalWidth") > 0


def test_the_slider_answers_without_asking_the_server(page: Page, address: str) -> None:
    page.goto(f"{address}/levels/shape")
    settle(page)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    slider = page.get_by_role("slider")
    assert page.locator("output").inner_text() == "50.0%"  # at no threshold are 95% right
    slider.press("ArrowRight")
    assert page.locator("output").inner_text() == "50.1%"
    slider.fill("0")
    said = page.locator("#automation-said")
    assert said.inner_text().startswith("100.0% of images are answered")
    slider.press("End")
    assert said.inner_text().startswith("0.0% of images are answered, – of these right")
    assert page.locator("output").inner_text() == "100.0%"
    assert slider.get_attribute("aria-valuetext") == "100.0% sure"
    assert asked == []


def test_without_script_tables_tell_it_all(browser: Browser, address: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/levels/shape")
    assert page.get_by_role("slider").count() == 0
    page.get_by_text("The same as a table").nth(1).click()
    assert page.get_by_role("cell", name="100.0%").first.is_visible()
    wanted = page.get_by_role("region", name="How much at which accuracy")
    assert wanted.get_by_role("rowheader", name="95%", exact=True).is_visible()
    page.goto(f"{address}/map")
    assert page.get_by_text("The map needs JavaScript").is_visible()
    context.close()


def test_the_map_is_moved_hidden_and_pointed_at(page: Page, address: str) -> None:
    page.goto(f"{address}/map")
    assert points_drawn(page) == 32
    legend = page.get_by_role("list", name="Colours, and how many images each stands for")
    shares = [int(one.inner_text()) for one in legend.locator("small").all()]
    assert sum(shares) == 32
    before = pixels(page)
    page.get_by_role("button", name="Closer").click()
    page.wait_for_function(
        "old => document.querySelector('canvas').toDataURL() !== old", arg=before
    )
    page.get_by_role("button", name="Everything").click()
    page.wait_for_function(
        "old => document.querySelector('canvas').toDataURL() === old", arg=before
    )
    page.locator("canvas").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(
        "old => document.querySelector('canvas').toDataURL() !== old", arg=before
    )
    page.keyboard.press("0")
    page.get_by_label("Colour", exact=True).select_option("label")
    assert legend.get_by_text("no label").is_visible()
    legend.get_by_role("checkbox").last.uncheck()
    point_at_something(page)
    card = page.locator(".map-card")
    assert card.locator("dt").all_inner_texts() == ["label", "guess", "sure", "asked"]
    picture = card.locator("img")
    page.wait_for_function("one => one.naturalWidth > 0", arg=picture.element_handle())
    page.get_by_label("Level", exact=True).select_option("family")
    page.wait_for_function("() => document.querySelectorAll('.map-legend li').length <= 3")


def test_the_map_is_read_with_keys_alone(page: Page, address: str) -> None:
    page.goto(f"{address}/map")
    assert points_drawn(page) == 32
    canvas, card, told = (
        page.locator("canvas"),
        page.locator(".map-card"),
        page.locator(".map-told"),
    )
    assert told.get_attribute("role") == "status"  # what a screen reader says
    canvas.press("Enter")
    assert card.is_visible()
    first = told.inner_text()
    assert re.fullmatch(r"label \S.*, guess \S.*, sure \d+%, asked (never|round \d+)", first)
    seen = {card.locator("img").get_attribute("src")}
    for key in ["ArrowRight"] * 8 + ["ArrowDown"] * 8:
        canvas.press(key)
        assert card.is_visible()
        seen.add(card.locator("img").get_attribute("src"))
    assert len(seen) > 2  # the card goes along
    with page.expect_popup() as opened:
        canvas.press("Enter")
    assert "side=1024" in opened.value.url
    canvas.press("Escape")
    assert not card.is_visible()


def pixels(page: Page) -> str:
    return str(page.evaluate("document.querySelector('canvas').toDataURL()"))


def point_at_something(page: Page) -> None:
    """Point at a pixel that is drawn."""
    x, y = page.evaluate(
        """() => {
          const canvas = document.querySelector("canvas"), { width, height } = canvas;
          const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
          const at = data.findIndex((one, i) => i % 4 === 3 && one > 0) >> 2;
          const scale = canvas.clientWidth / width;
          return [(at % width + 1) * scale, (Math.floor(at / width) + 1) * scale];
        }"""
    )
    page.locator("canvas").hover(position={"x": x, "y": y})
    page.locator(".map-card").wait_for()


def test_a_hundred_thousand_points_stay_smooth(
    page: Page, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    n = 100_000
    many = Points(
        ids=tuple(f"img_{one:016x}" for one in range(n)),
        places=rng.standard_normal((n, 2)).astype(np.float32),
        classes=tuple(f"class{one}" for one in range(50)),
        label=rng.integers(-1, 50, n).astype(np.int16),
        predicted=rng.integers(0, 50, n).astype(np.int16),
        sure=rng.random(n).astype(np.float32),
        asked=rng.integers(0, 30, n).astype(np.int16),
        explained=(0.2, 0.1),
        pool=n,
    )
    monkeypatch.setattr("services.dashboard.map_page.points", lambda project, level: many)
    page.goto(f"{address}/map")
    assert points_drawn(page) == n
    took = []
    for _ in range(15):
        last = page.locator("canvas").get_attribute("data-draws")
        page.keyboard.press("Tab")
        page.locator("canvas").press("+")
        page.wait_for_function(
            "old => document.querySelector('canvas').dataset.draws !== old", arg=last
        )
        took.append(draw_ms(page))
    page.get_by_role("button", name="Everything").click()
    took.append(draw_ms(page))
    assert np.median(took) < SMOOTH_MS, took
