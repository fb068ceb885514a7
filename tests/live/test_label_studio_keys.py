"""The labelling page of the garments: on one screen, and answered by as few keys as it can be."""

from collections.abc import Callable
from pathlib import Path
import time

from playwright.sync_api import Page, expect
import pytest

from atlas.demo.pools import pool_taxonomy
from atlas.oracle.label_studio import LabelStudioOracle
from atlas.project import Project
from atlas.settings import LabelStudioSettings, Settings
from atlas.types import Annotation
from tests.live.browser import start_labelling, ticked
from tests.live.conftest import Receiver, Server, draw_pool, open_round

pytestmark = pytest.mark.live

SCREENS = ((1280, 800), (1024, 768))
Answered = Callable[[int], list[Annotation]]


@pytest.fixture
def answered(tmp_path: Path, server: Server, receiver: Receiver, page: Page) -> Answered:
    """Three garments with a guess each, the first on the screen; what is answered so far."""
    settings = Settings(
        label_studio=LabelStudioSettings(url=server.url, token=server.admin.token, images="inline")
    )
    project = Project.create(tmp_path / "garments", settings, pool_taxonomy("garments", seed=0))
    draw_pool(project, 3)
    oracle = LabelStudioOracle(project)
    oracle.setup(webhook_url=receiver.url)
    asked = open_round(project, 1, [0, 1, 2])
    oracle.push(asked)
    start_labelling(page, server.annotator, oracle.labelling_url())
    uids = [query.uid for query in asked]

    def answers(count: int) -> list[Annotation]:
        until_s = time.monotonic() + 10.0
        while len(found := oracle.collect(uids)) < count:
            assert time.monotonic() < until_s, f"{len(found)} of {count} answers"
            time.sleep(0.1)
        return sorted(found, key=lambda one: uids.index(one.query_uid))

    return answers


def test_everything_is_on_one_screen(page: Page, answered: Answered, tmp_path: Path) -> None:
    expect(ticked(page)).to_have_text(["shirt[3]", "red[r]"])
    for width, height in SCREENS:
        page.set_viewport_size({"width": width, "height": height})
        bar = page.locator(".lsf-bottombar").bounding_box()
        assert bar is not None
        assert bar["x"] + bar["width"] == width  # no panel beside the answers
        for part in (".atlas-picture img", ".atlas-reason", ".atlas-answers", ".atlas-quantity"):
            box = page.locator(part).first.bounding_box()
            assert box is not None, part
            assert box["x"] >= 0 and box["x"] + box["width"] <= width, part
            assert box["y"] >= 0 and box["y"] + box["height"] <= bar["y"], part
        expect(page.get_by_role("button", name="Skip")).to_be_in_viewport()
        page.screenshot(path=tmp_path / f"keys-{width}.png")
    # 13 garments, 4 × "can't tell further", 7 colours: each with its key
    keys = page.locator(".atlas-answers label .lsf-hint").all_inner_texts()
    assert len(keys) == len(set(keys)) == 13 + 4 + 7


def test_a_right_guess_costs_one_key(page: Page, answered: Answered) -> None:
    expect(ticked(page)).to_have_text(["shirt[3]", "red[r]"])
    page.keyboard.press("Enter")
    (first,) = answered(1)
    assert first.values == {"label": "top/shirt", "colour": "red", "size": "71.4"}
    assert first.prefill == "accepted"

    # Enter submits too where the mouse chose
    expect(ticked(page)).to_have_text(["shirt[3]", "red[r]"])
    page.locator(".atlas-answers label", has_text="boot").click()
    expect(ticked(page)).to_have_text(["boot[8]", "red[r]"])
    page.keyboard.press("Enter")
    assert answered(2)[1].values == {"label": "footwear/boot", "colour": "red", "size": "71.4"}

    # and after a number, whose box Tab reaches and leaves
    expect(ticked(page)).to_have_text(["shirt[3]", "red[r]"])
    size = page.locator(".atlas-quantity input")
    for _ in range(10):
        page.keyboard.press("Tab")
        if size.evaluate("one => one === document.activeElement"):
            break
    for key in ("Control+a", *"63.5", "Tab", "Enter"):
        page.keyboard.press(key)
    assert answered(3)[2].values == {"label": "top/shirt", "colour": "red", "size": "63.5"}
