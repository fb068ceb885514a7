"""A person's way: log in, open the labelling page in Chromium, answer with keys."""

from dataclasses import replace
import time
from urllib.parse import urlsplit

from playwright.sync_api import Page, expect
import pytest

from atlas.oracle.label_studio import LabelStudioOracle
from atlas.types import Annotation
from tests.live.browser import start_labelling, ticked
from tests.live.conftest import Receiver, Server, open_round

pytestmark = pytest.mark.live


def answers(oracle: LabelStudioOracle, uids: list[str], count: int) -> list[Annotation]:
    """What `collect` finds, once it finds `count` answers."""
    deadline = time.monotonic() + 10
    while len(found := oracle.collect(uids)) < count and time.monotonic() < deadline:
        time.sleep(0.1)
    return sorted(found, key=lambda annotation: uids.index(annotation.query_uid))


def test_the_first_query_is_answered_with_keys(
    server: Server, receiver: Receiver, page: Page
) -> None:
    oracle = LabelStudioOracle(server.home)
    oracle.setup(webhook_url=receiver.url)
    queries = open_round(server.home, 2, [5, 2, 4, 0])
    queries[3] = replace(queries[3], guess={}, confidence={})
    uids = [query.uid for query in queries]
    oracle.push(queries)
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))

    start_labelling(page, server.annotator, oracle.labelling_url())
    ticked(page).first.wait_for()
    expect(ticked(page)).to_have_text(["shirt[1]", "red[r]"])  # the guess is pre-filled
    expect(page.locator(".atlas-reason")).to_have_text(
        "Chosen by Atlas: top/shirt and top/coat are nearly tied"
    )
    box = page.locator(".atlas-picture img").first.bounding_box()
    assert box is not None and box["width"] >= 300  # 64 pixels, enlarged
    page.keyboard.press("5")
    page.keyboard.press("g")
    expect(ticked(page)).to_have_text(["boot[5]", "green[g]"])
    size = page.locator(".atlas-quantity input")
    expect(size).to_have_value("71.4")
    size.fill("63.5")
    size.press("Tab")  # keys typed in the box are the number's
    page.screenshot(path=server.home.run / "labelling-page.png")
    page.keyboard.press("Control+Enter")
    (first,) = answers(oracle, uids, 1)
    assert first.query_uid == uids[0]
    assert first.values == {"label": "footwear/boot", "colour": "green", "size": "63.5"}
    assert first.prefill == "changed"
    assert first.lead_time_s is not None and first.lead_time_s > 0

    # The next one comes by itself, with its own guess; accept it as it is.
    expect(ticked(page)).to_have_text(["shirt[1]", "red[r]"])
    page.keyboard.press("Control+Enter")
    second = answers(oracle, uids, 2)[1]
    assert second.query_uid == uids[1]
    assert second.values == {"label": "top/shirt", "colour": "red", "size": "71.4"}
    assert second.prefill == "accepted"

    # "It is a top, I can't tell which" has a key too.
    expect(ticked(page)).to_have_text(["shirt[1]", "red[r]"])
    page.keyboard.press("Shift+t")
    expect(ticked(page)).to_have_text(["top, can't tell further[shift+t]", "red[r]"])
    size.fill("")  # Label Studio takes that for 0
    size.press("Tab")
    page.keyboard.press("Control+Enter")
    third = answers(oracle, uids, 3)[2]
    assert third.values == {"label": "top", "colour": "red", "size": "0"}

    # The last one came without a guess, as the first ones of a project and audit images do.
    expect(page.locator(".atlas-reason")).to_have_text(
        "Chosen by Atlas: top/shirt and top/coat are nearly tied"
    )
    expect(ticked(page)).to_have_count(0)
    expect(size).to_have_value("")  # and may stay empty
    page.keyboard.press("3")
    page.keyboard.press("b")
    page.keyboard.press("Control+Enter")
    fourth = answers(oracle, uids, 4)[3]
    assert fourth.values == {"label": "bottom/skirt", "colour": "blue"}
    assert fourth.prefill == "none"

    calls = [call for payload in receiver.wait_for(4) for call in oracle.parse_webhook(payload)]
    assert calls == [first, second, third, fourth]
    assert hosts - {""} == {urlsplit(server.url).netloc}  # nothing from the network
