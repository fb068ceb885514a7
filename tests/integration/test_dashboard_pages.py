"""The pages of a real project, read without a browser: what they say and what their forms do."""

from datetime import timedelta
import re

from fastapi.testclient import TestClient
import pytest
from sqlalchemy import event, select

from atlas import promotion
from atlas.project import Project
from atlas.status import models, status
from atlas.store.tables import AnnotationRow, Meta, ModelRow, QueryRow
from atlas.types import utc_now
from services.addresses import labelling_url
from services.dashboard.people import people
from services.retraining import keeping
from services.run_files import write_state
from tests.dashboard_support import Page, add_job, faults, send
from tests.rounds_support import go_round

PAGES = ("/", "/models", "/schedule", "/jobs", "/sign-in")


@pytest.fixture
def two_rounds(project: Project) -> Project:
    """Models m0001 and m0002, four labels each; m0002 answers."""
    for _ in range(2):
        go_round(project)
    return project


def reject(project: Project) -> None:
    """A fine-tune that was not good enough: m0003."""
    told = {"n": 50, "present": 0.88, "candidate": 0.84, "gained": 1, "lost": 3, "p": 0.9375}
    verdict = {
        "promoted": False,
        "reason": "worse at family 88.0% → 84.0%",
        "notes": ["the batch was halved"],
        "tasks": {"family": told, "shape": {**told, "n": 0, "present": None, "candidate": None}},
    }
    metrics = {"finetune": verdict, "tuned_backbone": {"checkpoint": "x", "of": {}}}
    with project.database.session() as session:
        session.add(
            ModelRow(
                id="m0003",
                round_number=2,
                head="tree",
                fingerprint="tuned",
                labels=8,
                metrics=metrics,
            )
        )


def answering(project: Project) -> str | None:
    with project.database.reader() as session:
        return promotion.current_id(session)


def test_pages_of_a_fresh_project_say_what_is_missing(client: TestClient) -> None:
    said = {path: client.get(path).text for path in PAGES}
    assert said["/"].count("not measured yet") == 2
    assert "No round is open" in said["/"] and "Nobody has answered yet" in said["/"]
    assert "Label images" not in said["/"]  # Label Studio is not set up
    assert "There is none yet" in said["/models"]
    assert said["/schedule"].count("there is no schedule") == 2
    assert "There is none." in said["/jobs"]


def test_every_page_is_whole_and_reads_well(two_rounds: Project, engineer: TestClient) -> None:
    reject(two_rounds)
    add_job(two_rounds, "train", error="<b>no</b> labels", progress={"done": 1, "total": 4})
    add_job(two_rounds, "embed", state="running", progress={"done": 1, "total": 4})
    keeping.set_schedule(two_rounds, "heads", {"cron": "0 3 * * *", "after_labels": 5})
    for path in (*PAGES, "/jobs/train", "/jobs?state=failed", "/models?before=m0002"):
        answer = engineer.get(path)
        assert answer.status_code == 200
        assert faults(answer.text) == [], path
        for elsewhere in ('src="http', "@import", "url(http", "<script>", 'style="background'):
            assert elsewhere not in answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'self';")
    assert "&lt;b&gt;no&lt;/b&gt; labels" in engineer.get("/jobs").text


def test_only_what_runs_says_how_long_it_still_takes(
    project: Project, engineer: TestClient
) -> None:
    at = {"stage": "embedding", "done": 3, "total": 9, "eta_s": 61.0}
    add_job(project, "finetune", state="running", progress=at)
    assert "embedding: 3 of 9 images, 0:01:01 left" in engineer.get("/jobs/finetune").text
    add_job(project, "finetune", state="stopped", progress=at)
    page = engineer.get("/jobs/finetune").text
    assert "embedding: 3 of 9 images" in page and "left" not in page


def test_the_overview_shows_what_there_is(two_rounds: Project, client: TestClient) -> None:
    with two_rounds.database.session() as session:
        session.merge(Meta(key="label_studio_project", value="3"))
    write_state(two_rounds, "label-studio", url="http://127.0.0.1:8080")
    page = client.get("/").text
    assert f'href="{labelling_url(two_rounds)}"' in page
    assert "8 of 32 images are labelled" in page
    assert page.count('data-figure="') == 1
    rows = [one["text"] for one in Page(page).all("th") if one["scope"] == "row"]
    assert rows[:2] == ["4", "8"]  # labels after each round, in the curve's table
    (one,) = people(two_rounds)
    assert one.answers == 16  # two rounds of four queries and four audit images
    assert f'<th scope="row">{one.annotator}<small>latest <time' in page


def test_the_overview_tells_a_decision_that_stands_once(
    two_rounds: Project, client: TestClient
) -> None:
    keeping.set_schedule(two_rounds, "heads", {"after_labels": 50})
    keeping.carry_out(two_rounds)
    page = client.get("/").text
    assert page.count("ot retrained: 0 of 50 labels") == 1 and "Last decision" not in page
    keeping.set_schedule(two_rounds, "heads", {"after_labels": 60})
    page = client.get("/").text
    assert "Not retrained: 0 of 60 labels" in page
    assert "Last decision" in page and "not retrained: 0 of 50 labels" in page


def test_people_counts_answers_that_stand(two_rounds: Project) -> None:
    (before,) = people(two_rounds)
    old = utc_now() - timedelta(days=30)
    with two_rounds.database.session() as session:
        query = session.scalars(select(QueryRow)).first()
        assert query is not None
        for number, (name, kind, at) in enumerate(
            [
                ("a", "submitted", old),
                ("a", "submitted", utc_now()),  # an edit of the same answer
                ("b", "submitted", old),
                ("c", "submitted", old),
                ("c", "deleted", utc_now()),
                ("d", "skipped", utc_now()),
            ]
        ):
            session.add(
                AnnotationRow(
                    external_id=f"x:{name}",
                    query_uid=query.uid,
                    image_id=query.image_id,
                    event=kind,
                    values={},
                    annotator="Bo",
                    updated_at=at + timedelta(seconds=number),
                    received_by="poll",
                    prefill="",
                )
            )
    found = {one.annotator: one for one in people(two_rounds)}
    assert found[before.annotator] == before
    bo = found["Bo"]
    assert (bo.answers, bo.lately, bo.skipped) == (2, 1, 1)  # a and b stand, a is recent, d


def test_an_engineer_promotes_and_rolls_back(two_rounds: Project, engineer: TestClient) -> None:
    page = engineer.get("/models").text
    assert "Roll back to m0001" in page and "+4 labels, round 2" in page
    answered = send(engineer, "/models/m0001/promote", "/models")
    assert answered == (303, "/models?done=promoted")
    assert answering(two_rounds) == "m0001"
    page = engineer.get(answered[1]).text
    assert "It answers from now on." in page and "promoted by Ada" in page
    assert send(engineer, "/models/rollback", "/models")[0] == 303
    assert answering(two_rounds) == "m0002"
    (two_rounds.models / "m0001" / "model.json").unlink()
    status_code, said = send(engineer, "/models/m0001/promote", "/models")
    assert status_code == 422 and "the project lacks models/m0001/model.json" in said
    status_code, said = send(engineer, "/models/m0009/promote", "/models")
    assert status_code == 422 and "no model" in said


def test_without_signing_in_there_are_no_buttons(two_rounds: Project, client: TestClient) -> None:
    page = client.get("/models").text
    assert "/promote" not in page and "Sign in</a> as an engineer" in page
    answer = client.post("/models/m0001/promote", follow_redirects=False)
    assert answer.status_code == 303
    assert answering(two_rounds) == "m0002"


def test_a_rejected_fine_tune_shows_its_numbers(two_rounds: Project, client: TestClient) -> None:
    reject(two_rounds)
    page = Page(client.get("/models").text)
    cells = [one["text"].strip() for one in page.all("th", "td")]
    start = cells.index("50") - 1
    assert cells[start : start + 14] == [
        *["family", "50", "88.0%", "84.0%", "1", "3", "0.938"],
        *["shape", "0", "–", "–", "1", "3", "0.938"],
    ]
    row = next(one["text"] for one in page.all("tr") if "m0003" in one["text"])
    assert "backbone fine-tuned" in row and "not promoted" in row


def test_models_go_on_where_a_page_ends(two_rounds: Project, client: TestClient) -> None:
    with two_rounds.database.session() as session:
        for number in range(3, 31):
            session.add(
                ModelRow(id=f"m{number:04d}", head="tree", fingerprint="f", labels=8, metrics={})
            )
    page = client.get("/models").text
    assert "m0006</b>" in page and "m0005</b>" not in page  # 25 of 30
    assert 'href="/models?before=m0006"' in page
    older = client.get("/models?before=m0006").text
    assert "m0005</b>" in older and "m0006</b>" not in older and 'href="/models">Newest' in older


def test_assets_are_kept_by_the_browser_and_come_from_here(client: TestClient) -> None:
    page = client.get("/").text
    urls = re.findall(r'"(/static/[^"]+)"', page)
    assert {url.split("?")[0].rsplit("/")[-1] for url in urls} >= {
        "atlas.css",
        "atlas.js",
        "plotly.min.js",
        "icon.svg",
    }
    for url in urls:
        answer = client.get(url)
        assert answer.status_code == 200 and "immutable" in answer.headers["cache-control"]
        assert answer.headers["content-encoding"] == "gzip"
        plain = client.get(url, headers={"Accept-Encoding": "identity"})
        assert plain.content == answer.content
    assert client.get("/static/../session.py").status_code == 404
    assert client.get("/static/none.js").status_code == 404


def test_a_page_reads_as_often_for_many_rounds_as_for_few(two_rounds: Project) -> None:
    few = count_queries(two_rounds)
    for _ in range(2):
        go_round(two_rounds)
    assert len(status(two_rounds)["rounds"]) == len(models(two_rounds)) == 4
    assert count_queries(two_rounds) == few


def count_queries(project: Project) -> tuple[int, int]:
    """Statements that `status` and `models` send."""
    sent: list[str] = []

    def remember(_c: object, _u: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(project.database.engine, "before_cursor_execute", remember)
    try:
        status(project)
        first = len(sent)
        models(project)
    finally:
        event.remove(project.database.engine, "before_cursor_execute", remember)
    return first, len(sent) - first
