"""The pages about a level, the queue, the map and the people, read without a browser."""

import json
import re
import struct

from fastapi.testclient import TestClient
import numpy as np
import pytest

from atlas.analysis.points import Points
from atlas.analysis.predicting import analyse
from atlas.labels import record, training_labels
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import Project
from atlas.rounds import close_round, open_round, push_round
from atlas.store.tables import Job, Meta
from atlas.types import Annotation, utc_now
from services import steps
from services.dashboard.annotators import follows_guesses
from services.dashboard.level_figures import confusion_figure
from services.dashboard.map_page import pack
from services.dashboard.pictures import short_names
from services.run_files import write_state
from tests.dashboard_support import faults
from tests.rounds_support import go_round, queries

PATHS = ("/levels/shape", "/levels/family", "/queue", "/map", "/annotators")


@pytest.fixture
def trained(project: Project) -> Project:
    """Three rounds answered and analysed, the fourth open."""
    for _ in range(3):
        go_round(project)
    analyse(project)
    open_round(project)
    push_round(project, SimulatedOracle(project))
    return project


def pictures_of(html: str) -> list[str]:
    return [one.replace("&amp;", "&") for one in re.findall(r'<img[^>]+src="([^"]+)"', html)]


@pytest.mark.parametrize("path", PATHS)
def test_every_page_says_something_before_there_is_anything(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert faults(answer.text) == []


def test_before_the_first_model_the_pages_say_what_they_wait_for(client: TestClient) -> None:
    assert "There is no model yet" in client.get("/levels/shape").text
    assert "No round is open" in client.get("/queue").text
    assert "Nobody has answered" in client.get("/annotators").text
    assert "no model yet" in client.get("/map/points?level=shape").json()["why_not"]


def test_a_model_that_is_not_analysed_says_so(client: TestClient, project: Project) -> None:
    go_round(project)
    said = client.get("/levels/shape").text
    assert "not measured for model m0001" in said
    assert "train again" in said
    assert "not measured for model m0001" in client.get("/annotators").text
    assert "not drawn yet" in client.get("/map/points?level=shape").json()["why_not"]


@pytest.mark.parametrize("path", PATHS)
def test_every_page_is_whole(client: TestClient, trained: Project, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    assert faults(answer.text) == []
    assert "nan" not in re.sub(r"<[^>]+>", " ", answer.text).lower().split()


@pytest.mark.parametrize(
    "path", ["/levels/colour", "/annotators?level=colour", "/map/points?level=colour"]
)
def test_an_unknown_level_is_told(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "family, shape" in answer.json()["detail"]


def test_the_level_page_shows_what_was_measured(client: TestClient, trained: Project) -> None:
    html = client.get("/levels/shape").text
    for name in trained.taxonomy.classes["shape"]:
        assert name.replace("/", " / ") in html
    assert "on the 8 audit images" in html
    steps_of_slider = json.loads(
        re.search(r'id="automation-steps">(.*?)</script>', html).group(1)  # type: ignore[union-attr]
    )
    assert steps_of_slider["n"] == 8
    assert (len(steps_of_slider["covered"]), steps_of_slider["covered"][0]) == (1001, 8)
    for path in pictures_of(html):
        assert client.get(path).headers["content-type"] == "image/jpeg"


def test_another_model_can_be_looked_at(client: TestClient, trained: Project) -> None:
    assert "Model m0003" in client.get("/levels/shape").text
    assert "not measured for model m0001" in client.get("/levels/shape?model=m0001").text
    assert "no model &#39;m0009&#39;" in client.get("/levels/shape?model=m0009").text


def test_the_queue_shows_pictures_reasons_and_guesses_in_order(
    client: TestClient, trained: Project
) -> None:
    html = client.get("/queue").text
    asked = queries(trained, 4)
    assert [html.index(row.image_id) for row in asked] == sorted(
        html.index(row.image_id) for row in asked
    )
    for row in asked:
        assert row.reason in html
        assert row.guess["label"].replace("/", " / ") in html
    assert len(pictures_of(html)) == 4  # every audit image is measured by now
    assert "Fewer images wait" in client.get("/queue?from=900").text


def test_a_long_queue_comes_in_parts(
    client: TestClient, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.dashboard.queue.PAGE", 3)
    open_round(project)
    first, second = client.get("/queue").text, client.get("/queue?from=4").text
    assert "1 to 3 of 8" in first
    assert "/queue?from=4" in first
    assert "4 to 6 of 8" in second
    assert "/queue?from=1" in second
    assert not set(pictures_of(first)) & set(pictures_of(second))


def test_the_points_of_the_map_come_as_they_are_described(
    client: TestClient, trained: Project
) -> None:
    content = client.get("/map/points?level=shape").content
    (length,) = struct.unpack_from("<I", content)
    assert (length + 4) % 8 == 0
    facts = json.loads(content[4 : 4 + length])
    assert (facts["n"], facts["pool"]) == (32, 32)
    assert facts["classes"] == ["ball", "ring", "box", "cross"]
    at = 4 + length
    x = np.frombuffer(content, "<f4", 32, at)
    label = np.frombuffer(content, "<i2", 32, at + 8 * 32)
    assert np.isfinite(x).all()
    assert (label >= 0).sum() == 12
    ids = np.frombuffer(content, np.uint8, offset=at + 16 * 32).reshape(32, 8)
    picture = client.get(f"/map/pictures/img_{bytes(ids[0]).hex()}?side=64")
    assert picture.headers["content-type"] == "image/jpeg"
    assert len(content) == at + 24 * 32


def test_packing_by_hand() -> None:
    one = Points(
        ids=("img_00ff00ff00ff00ff",),
        places=np.array([[1.0, -2.0]], dtype=np.float32),
        classes=("a", "b"),
        label=np.array([1], dtype=np.int16),
        predicted=np.array([0], dtype=np.int16),
        sure=np.array([0.6], dtype=np.float32),  # 600 thousandths
        asked=np.array([3], dtype=np.int16),
        explained=(0.5, 0.25),
        pool=7,
    )
    content = pack(one)
    assert struct.unpack("<ffhhhh8s", content[-24:]) == (
        1.0,
        -2.0,
        1,
        0,
        3,
        600,
        bytes.fromhex("00ff00ff00ff00ff"),
    )


def test_people_disagreements_and_links_to_the_task(client: TestClient, trained: Project) -> None:
    with trained.database.session() as session:
        session.merge(Meta(key=steps.ORACLE_PROJECT, value="7"))
    write_state(trained, "label-studio", url="http://127.0.0.1:8080")
    row = queries(trained, 1)[0]
    with trained.database.reader() as session:
        told = training_labels(session)[row.image_id]["label"]
    others = [leaf for leaf in trained.taxonomy.leaves if leaf != told]
    with trained.database.session() as session:
        given = [
            Annotation(f"{who}-{row.uid}", row.uid, "submitted", utc_now(), {"label": leaf}, who)
            for who, leaf in zip(("ann", "bob"), others, strict=False)
        ]
        record(session, given, received_by="poll", taxonomy=trained.taxonomy)
    html = client.get("/annotators").text
    assert faults(html) == []
    assert "labelled at shape by two or more people" in html
    assert f"http://127.0.0.1:8080/projects/7/data?task={row.task_id}" in html
    for who in ("ann", "bob", "simulated"):
        assert who in html
    assert "1 image has no answer at shape that more than half of the people gave" in html
    assert "Of 1 image more people answered than were asked" in html


def test_many_disagreements_come_in_parts(
    client: TestClient, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.dashboard.annotators.PAGE", 3)
    open_round(project)
    push_round(project, SimulatedOracle(project))
    leaves = project.taxonomy.leaves
    with project.database.session() as session:
        given = [
            Annotation(f"{who}-{row.uid}", row.uid, "submitted", utc_now(), {"label": leaf}, who)
            for row in queries(project, 1)
            for who, leaf in (("ann", leaves[0]), ("bob", leaves[3]))
        ]
        record(session, given, received_by="poll", taxonomy=project.taxonomy)
    first = client.get("/annotators?level=shape").text
    second = client.get("/annotators?level=shape&from=4").text
    assert faults(first) == faults(second) == []
    assert "4 images have no answer at shape" in first
    assert "1 to 3 of 4" in first
    assert "/annotators?level=shape&amp;from=4#split" in first
    assert "4 to 4 of 4" in second
    assert "/annotators?level=shape&amp;from=1#split" in second
    assert "Fewer images" in client.get("/annotators?level=shape&from=40").text


def test_following_guesses_takes_two_intervals_that_do_not_meet() -> None:
    from atlas.accuracy import wilson
    from atlas.analysis.people import Person

    def person(kept: int, shown: int) -> Person:
        nothing = wilson(0, 0, min_labels=1)
        return Person("p", shown, 0, None, nothing, wilson(kept, shown, min_labels=1))

    model = wilson(70, 100, min_labels=1).as_dict()  # 60.4% to 78.1%
    assert follows_guesses(person(190, 200), model)  # 95%, from 91.0%
    assert not follows_guesses(person(160, 200), model)  # 80%, from 73.9%
    assert not follows_guesses(person(0, 0), model)
    assert not follows_guesses(person(190, 200), wilson(0, 0, min_labels=1).as_dict())


def test_names_are_shortened_where_that_leaves_no_doubt() -> None:
    assert short_names(("top/shirt", "top/coat")) == ["shirt", "coat"]
    assert short_names(("top/red", "shoe/red", "hat")) == ["top / red", "shoe / red", "hat"]


def test_fifty_classes_stay_readable() -> None:
    counts = np.eye(50, dtype=np.int64) * 3
    html = confusion_figure(tuple(f"group/class{i}" for i in range(50)), counts)
    figure = json.loads(re.search(r'json" id="[^"]+">(.*?)</script>', html).group(1))  # type: ignore[union-attr]
    assert figure["layout"]["height"] == 50 * 22 + 150
    assert "text" not in figure["data"][0]  # numbers would not fit
    assert figure["data"][0]["x"][7] == "class7"


def test_the_worker_is_asked_to_analyse_once_nothing_else_waits(project: Project) -> None:
    with project.database.session() as session:
        session.merge(Meta(key=steps.ORACLE_PROJECT, value="7"))
        session.add(
            Job(
                id="embed",
                kind="embed",
                key="",
                state="done",
                arguments={},
                progress={"total": 40, "backbone": ""},
            )
        )
        session.add(
            Job(id="reconcile", kind="reconcile", key="", state="done", arguments={}, progress={})
        )
    assert ("advance", "0") in steps.wanted(project)
    go_round(project)
    open_round(project)
    push_round(project, SimulatedOracle(project))
    assert steps.wanted(project) == [("analyse", "")]
    assert steps.analyse(project)["model"] == "m0001"
    assert steps.wanted(project) == []
    assert close_round(project) == "m0002"
