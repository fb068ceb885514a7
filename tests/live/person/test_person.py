"""People at a live system, through the browser and the web API alone, from the first query on.

Twice: `atlas up`, and a team's server on PostgreSQL and Redis. Every test goes on where the one
before stopped.
"""

from datetime import UTC, datetime

import httpx
from playwright.sync_api import expect
import pytest

from atlas.tokens import Role
from tests.live.patience import wait_until
from tests.live.person.callers import CHANGES, Caller, LabelStudio
from tests.live.person.people import (
    Annotator,
    Given,
    Live,
    Reader,
    drawn,
    leaf_in,
    wait_for_picture,
)

pytestmark = [pytest.mark.live, pytest.mark.slow]

POOL, AUDIT, PER_ROUND = 32, 8, 4  # `settings` of the root conftest; audit images in each round
FIRST, SECOND = 6, 12  # queries of the two rounds
STEPS = 100_000  # of the fine-tune: until somebody stops it
LEVELS = {"family": 2, "shape": 4}  # level → classes


def test_every_part_is_ready(live: Live, viewer: Caller, nobody: httpx.Client) -> None:
    assert nobody.get("/healthz").json() == {"status": "ok"}
    wait_until(lambda: nobody.get("/readyz").status_code == 200, 120.0)
    parts = nobody.get("/readyz").json()["parts"]
    asked = {"database", "broker", "label_studio", "worker", "schedule", "gpu", "bottlenecks"}
    assert set(parts) == asked
    assert parts["bottlenecks"]["said"] == f"all {POOL + AUDIT} images"
    assert nobody.get("/api/v1/status").is_success == live.open_for_reading
    assert viewer.get("/status")["images"] == {"pool": POOL, "audit": AUDIT, "left_out": 0}
    assert live.check().returncode == 0


def test_nothing_is_quoted_before_anything_is_measured(viewer: Caller) -> None:
    found = viewer.get("/accuracy")
    assert list(found) == list(LEVELS)
    for one in found.values():
        assert (one["state"], one["accuracy"], one["n"]) == ("too_few_labels", None, 0)
    refused = viewer.http.post("/api/v1/predict", content=drawn("round/ball"))
    assert refused.status_code == 422 and "no model yet" in refused.json()["error"]


def test_an_engineer_asks_for_labels(engineer: Caller) -> None:
    asked = engineer.post("/query", {"n": FIRST, "sampler": "typiclust"})
    assert engineer.follow(asked["id"])[-1]["progress"] == {"opened": 1}
    wait_until(lambda: engineer.has_sent(FIRST + PER_ROUND), 20.0)
    assert engineer.http.post("/api/v1/query", json={}).status_code == 409  # one at a time


def test_the_queue_page_shows_what_waits_and_why(as_viewer: Reader, viewer: Caller) -> None:
    page = as_viewer.open("Queue")
    as_viewer.is_told("wait in round 1, chosen by typiclust")
    rows = page.locator("table.waiting tbody tr")
    expect(rows).to_have_count(FIRST + PER_ROUND)
    queue = viewer.get("/queue")
    for shown, one in zip(rows.all(), queue, strict=True):
        expect(shown).to_contain_text(one["reason"])
        shown.locator("img").scroll_into_view_if_needed()
        wait_for_picture(shown.locator("img"))
    assert page.get_by_text("measures", exact=True).count() == PER_ROUND


def test_a_picture_is_seen_by_its_link_alone(viewer: Caller, nobody: httpx.Client) -> None:
    link = viewer.get("/queue")[0]["picture"]
    assert leaf_in(nobody.get(link).content)
    assert nobody.get(link.replace("side=160", "side=161")).status_code == 403


def test_an_annotator_labels_with_keys(
    annotator: Annotator, engineer: Caller, given: Given
) -> None:
    queue = engineer.get("/queue")
    queries = [one["query"] for one in queue if "to measure" not in one["reason"]]
    given.half, given.skipped = queries[1], queries[3]
    for number, one in enumerate(queue):
        assert annotator.asked[-1] == one["query"]  # in the order of the queue
        assert annotator.choice() == ""  # no model yet, so no guess
        leaf = annotator.sees()
        family, shape = leaf.split("/")
        if one["query"] == given.skipped:
            annotator.skip()
        elif one["query"] == given.half:
            annotator.submit(f"{family}, can't tell further")
            given.labels[one["query"]] = family
        else:
            annotator.submit(shape)
            given.labels[one["query"]] = leaf
        engineer.sees_arrive(len(queue) - number - 1)
        assert annotator.wait_for_next() == (number + 1 < len(queue))


def test_the_dashboard_counts_the_labels(
    as_engineer: Reader, engineer: Caller, nobody: httpx.Client
) -> None:
    wait_until(lambda: engineer.get("/rounds")[0]["state"] == "closed", 60.0)
    page = as_engineer.open("Overview")
    # one was skipped, and audit images are not learned from
    as_engineer.is_told(f"{FIRST - 1} of {POOL} images are labelled")
    person = page.get_by_role("region", name="Who labelled").locator("tbody tr")
    expect(person).to_have_count(1)
    answers = str(FIRST - 1 + PER_ROUND)
    assert person.locator("td").all_inner_texts()[:3] == [answers, answers, "1"]
    for level, one in engineer.get("/accuracy").items():
        tile = page.get_by_role("article").filter(has=page.get_by_role("heading", name=level))
        expect(tile).to_contain_text(f"{one['accuracy']:.1%}")
        expect(tile).to_contain_text(f"{one['low']:.1%} to {one['high']:.1%}")
    door = nobody.get("/label").headers["location"]
    expect(page.get_by_role("link", name="Label images")).to_have_attribute("href", door)


def test_accuracy_is_told_per_level(viewer: Caller) -> None:
    found = viewer.get("/accuracy")
    rows = viewer.table("/accuracy")
    assert [row["level"] for row in rows] == list(found) == list(LEVELS)
    for row, one in zip(rows, found.values(), strict=True):
        assert (one["state"], one["n"], one["model"]) == ("ok", PER_ROUND, "m0001")
        assert (row["state"], row["n"], row["model"]) == ("ok", str(PER_ROUND), "m0001")
        told = [float(row[column]) for column in ("low", "value", "high")]
        assert told == [one[key] for key in ("low", "accuracy", "high")] == sorted(told)
    assert viewer.get("/accuracy", level="shape") == {"shape": found["shape"]}


def test_accuracy_is_told_by_class_and_over_time(viewer: Caller) -> None:
    wait_until(lambda: viewer.has_done("analyse"), 60.0)  # a worker looks at each class
    for level, classes in LEVELS.items():
        by_class = viewer.get("/accuracy/classes", level=level)
        assert len(by_class) == len(viewer.table("/accuracy/classes", level=level)) == classes
        assert sum(one["n"] for one in by_class) == PER_ROUND
    history = viewer.get("/accuracy/history")
    assert [(one["round"], one["labels"]) for one in history] == 2 * [(1, FIRST - 1)]
    assert len(viewer.table("/accuracy/history")) == len(history)
    assert viewer.get("/accuracy/history", since="2099-01-01T00:00:00Z") == []


def test_a_schedule_is_set_on_its_page(as_engineer: Reader, viewer: Caller) -> None:
    page = as_engineer.open("Schedule")
    hour = (datetime.now(UTC).hour + 12) % 24  # so that it does not train by itself meanwhile
    page.locator("#heads-cron").fill(f"30 {hour} * * *")
    page.locator("#heads-after_labels").fill("50")
    form = page.get_by_role("form", name="Schedule of the heads")
    form.get_by_role("button", name="Save").click()
    as_engineer.is_told("Saved.")
    runs = page.locator("ol.next li").all_inner_texts()
    assert len(runs) == 5 and all(f"{hour:02}:30" in one for one in runs)
    wait_until(lambda: viewer.get("/schedule/heads")["decisions"], 20.0)
    page.reload()
    (decision,) = page.locator("ol.decisions li").all_inner_texts()
    assert "not retrained: next at " in decision and "0 of 50 labels" in decision


def test_a_retraining_is_followed_to_its_end(engineer: Caller) -> None:
    asked = engineer.post("/retrain", {"kind": "heads", "reason": "to see it train"})
    told = engineer.follow(asked["id"])
    assert told[0]["arguments"] == {"reason": "to see it train", "by": "the engineer"}
    assert (told[-1]["state"], told[-1]["progress"]) == ("done", {"model": "m0002"})
    assert engineer.get("/models")[0]["current"]  # the newest answers


def test_a_model_is_rolled_back_and_promoted_again(as_engineer: Reader, engineer: Caller) -> None:
    page = as_engineer.open("Models")
    page.get_by_role("button", name="Roll back to m0001").click()
    as_engineer.is_told("Rolled back")
    as_engineer.is_told("m0001 answers now")
    assert engineer.get("/status")["model"] == "m0001"
    assert engineer.post("/models/m0002/promote") == {"model": "m0002"}
    page.reload()
    as_engineer.is_told("m0002 answers now")


def test_the_model_is_asked_about_a_picture(viewer: Caller) -> None:
    answer = viewer.http.post("/api/v1/predict", content=drawn("round/ring"))
    assert answer.status_code == 200, answer.text
    (found,) = answer.json()["predictions"]
    assert answer.json()["model"] == "m0002"
    likely = {
        level: {one["class"]: one["probability"] for one in ranked}
        for level, ranked in found["tasks"].items()
    }
    assert {level: len(known) for level, known in likely.items()} == LEVELS
    for family, probability in likely["family"].items():
        below = [one for leaf, one in likely["shape"].items() if leaf.startswith(f"{family}/")]
        assert sum(below) == pytest.approx(probability, abs=1e-3)


def test_label_studio_asks_for_guesses_by_itself(
    tokens: dict[Role, str], engineer: Caller, label_studio: LabelStudio
) -> None:
    asked = engineer.post("/query", {"n": SECOND, "sampler": "margin", "level": "shape"})
    assert engineer.follow(asked["id"])[-1]["progress"] == {"opened": 2}
    wait_until(lambda: engineer.has_sent(SECOND + PER_ROUND), 20.0)
    guesses = {one["query"]: one["guess"] for one in engineer.get("/queue")}
    state = label_studio.connect_backend(tokens[Role.ANNOTATOR_BRIDGE])
    assert (state["state"], state["model_version"]) == ("CO", "m0002")
    told = label_studio.fetch_guesses("m0002")
    assert set(told) >= set(guesses)
    compared = {
        said == [guesses[query]] for query, said in told.items() if said and query in guesses
    }
    assert compared == {True}  # and some had one


def test_a_guess_is_accepted_with_one_key(
    annotator: Annotator, engineer: Caller, given: Given
) -> None:
    guesses = {one["query"]: one["guess"] for one in engineer.get("/queue")}
    annotator.come_back()
    while True:
        query, leaf, guess = annotator.asked[-1], annotator.sees(), annotator.choice()
        if guess:
            break
        given.labels[query] = leaf
        annotator.submit(leaf.partition("/")[2])
        assert annotator.wait_for_next()
    assert guesses[query].partition("/")[2] == guess
    given.accepted, given.labels[query] = query, guesses[query]
    annotator.submit()
    assert annotator.wait_for_next()


def test_a_colleague_answers_the_rest(label_studio: LabelStudio, engineer: Caller) -> None:
    """By Label Studio's API; the picture tells what to answer here too."""
    left = engineer.waiting()
    assert len(set(label_studio.answer(left))) == left
    wait_until(lambda: engineer.get("/rounds")[-1]["state"] == "closed", 60.0)
    rounds = engineer.get("/rounds")
    assert [one["labels"] for one in rounds] == [FIRST - 1, FIRST - 1 + SECOND]
    assert [one["accuracy"]["shape"]["n"] for one in rounds] == [PER_ROUND, 2 * PER_ROUND]


def test_a_job_is_stopped(engineer: Caller) -> None:
    asked = engineer.post("/retrain", {"kind": "finetune", "reason": "a mistake"})
    path = f"/jobs/{asked['id']}"
    wait_until(lambda: engineer.get(path)["progress"].get("total") == STEPS, 60.0)
    assert engineer.http.delete(f"/api/v1{path}").json()["stop_asked_at"]
    assert engineer.follow(asked["id"])[-1]["state"] == "stopped"


def test_it_is_tried_again_and_stopped_on_its_page(as_engineer: Reader, engineer: Caller) -> None:
    page = as_engineer.open("Jobs")
    page.locator("#job-finetune").click()
    buttons = page.get_by_role("main").get_by_role("button")
    buttons.get_by_text("Try again").click()
    expect(page.locator("#log-lines")).to_contain_text("finetune")
    as_engineer.is_told(f"of {STEPS:,} steps")  # the page follows by itself
    buttons.get_by_text("Stop").click()
    wait_until(lambda: engineer.get("/jobs/finetune")["state"] == "stopped", 30.0)
    as_engineer.is_told("start it again to go on")


def test_the_pages_of_figures_are_read(as_viewer: Reader) -> None:
    page = as_viewer.open("Level")

    def is_analysed() -> bool:
        """By a worker, when nothing else waits."""
        page.reload()
        return page.get_by_role("slider").count() > 0

    wait_until(is_analysed, 60.0)
    page.get_by_role("slider").fill("0")
    as_viewer.is_told("100.0% of images are answered")
    page = as_viewer.open("Map")
    canvas = page.locator("canvas[data-points]")
    expect(canvas).to_have_attribute("data-points", str(POOL))
    canvas.press("Enter")
    expect(page.locator(".map-told")).to_contain_text("guess")
    page = as_viewer.open("Annotators")
    as_viewer.is_told("None at shape: of every image more than half of the answers are the same.")


def test_labels_are_downloaded_with_where_they_came_from(viewer: Caller, given: Given) -> None:
    records = viewer.labels()
    assert len(records) == FIRST - 1 + SECOND + 2 * PER_ROUND
    by_query = {}
    for record in records:
        (annotation,) = record["annotations"]
        assert annotation["annotator"] == "ls:1"  # the first account there, which all used
        by_query[annotation["query"]] = (record["labels"]["label"], annotation["prefill"])
    assert given.skipped not in by_query
    assert {query: by_query[query][0] for query in given.labels} == given.labels
    assert by_query[given.half] == (given.labels[given.half], "none")
    assert by_query[given.accepted][1] == "accepted"
    rows = viewer.table("/labels.csv")
    assert [(row["image"], row["value"], row["annotators"]) for row in rows] == [
        (record["image"], record["labels"]["label"], "ls:1") for record in records
    ]


def test_a_viewer_changes_nothing(as_viewer: Reader, viewer: Caller) -> None:
    for method, path, body in CHANGES:
        answer = viewer.http.request(method, f"/api/v1{path}", json=body)
        assert answer.status_code == 403, path
    for title in ("Models", "Schedule", "Jobs"):
        page = as_viewer.open(title)
        expect(page.get_by_role("main").get_by_role("button")).to_have_count(0)
    assert viewer.get("/status")["model"] == "m0003"
    assert viewer.get("/schedule/heads")["schedule"]["after_labels"] == 50


def test_the_figures_tell_what_happened(viewer: Caller) -> None:
    found = viewer.figures()
    labels = FIRST - 1 + SECOND
    wanted = {
        ("atlas_queue_depth",): 0,
        ("atlas_labels",): labels,
        ("atlas_labels_last_hour",): labels + 2 * PER_ROUND,
        ("atlas_round_trip_seconds_count",): 1,
        ("atlas_jobs", "advance", "done"): 2,
        ("atlas_jobs", "train", "done"): 1,
        ("atlas_jobs", "finetune", "stopped"): 1,
    }
    assert {key: found.get(key) for key in wanted} == wanted
    assert sum(found[("atlas_bottleneck_cache", one)] for one in ("hit", "miss")) == POOL + AUDIT
    accuracy = {level: one["accuracy"] for level, one in viewer.get("/accuracy").items()}
    assert {level: found[("atlas_accuracy", level)] for level in LEVELS} == accuracy
    assert not [key for key in found if key[0] == "atlas_jobs" and key[2] == "failed"]
    assert viewer.http.get("/readyz").json()["status"] == "ready"


def test_it_ends_in_order(live: Live) -> None:
    live.end()
