"""The pages of a real project, read without a browser: what they say and what their forms do."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
import re

from fastapi.testclient import TestClient
import pytest
from sqlalchemy import event, select

from atlas import promotion
from atlas.project import Project
from atlas.status import models, status
from atlas.store.tables import AnnotationRow, Job, Meta, ModelRow, QueryRow
from atlas.types import utc_now
from services import jobs
from services.addresses import labelling_url
from services.api import create_app
from services.celery_config import folder
from services.dashboard.job_views import view_of
from services.dashboard.people import people
from services.retraining import keeping
from services.run_files import write_state
from tests.dashboard_support import Page, faults, send, sign_in, token
from tests.rounds_support import go_round

PAGES = ("/", "/models", "/schedule", "/jobs", "/sign-in")


@pytest.fixture
def client(project: Project) -> Iterator[TestClient]:
    with TestClient(create_app(project.directory), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def engineer(client: TestClient, project: Project) -> TestClient:
    sign_in(client, token(project))
    return client


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


def add_job(project: Project, kind: str, **values: object) -> None:
    row = {"key": "", "state": "failed", "arguments": {}, "progress": {}, **values}
    with project.database.session() as session:
        session.merge(Job(id=kind, kind=kind, **row))


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
    assert f'<th scope="row">{one.name}</th>' in page


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
    found = {one.name: one for one in people(two_rounds)}
    assert found[before.name] == before
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


def test_a_schedule_is_edited_in_the_page(project: Project, engineer: TestClient) -> None:
    fields = {
        "cron": "0 3 * * mon-fri",
        "zone": "Europe/Berlin",
        "after_labels": "50",
        "below.shape": "80",
        "below.family": "",
        "pause_h": "6",
        "quiet_from": "08:00",
        "quiet_to": "18:00",
        "per_day": "2",
    }
    assert send(engineer, "/schedule/heads", "/schedule", **fields)[0] == 303
    saved = keeping.overview(project)["heads"]["schedule"]
    assert saved == {
        "cron": "0 3 * * mon-fri",
        "zone": "Europe/Berlin",
        "after_labels": 50,
        "below": {"shape": 0.8},
        "pause_s": 21600.0,
        "quiet": "08:00-18:00",
        "per_day": 2,
    }
    page = Page(engineer.get("/schedule").text)
    shown = {
        one["name"]: one["value"]
        for one in page.all("input")
        if one.get("id", "").startswith("heads-")
    }
    assert shown == fields
    runs = [one for one in page.all("time") if "li" in one["within"].split()]
    assert len(runs) == 5 and all(one["text"].endswith("03:00") for one in runs)
    assert {one["text"][:3] for one in runs} == {"Mon", "Tue", "Wed", "Thu", "Fri"}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cron": "0 3 * *"}, "has 4 fields"),
        ({"zone": "Europe/Atlantis", "after_labels": "5"}, "no time zone"),
        ({"after_labels": "many"}, "after_labels"),
        ({"pause_h": "long"}, "the pause: expected a number"),
        ({"after_labels": "5", "quiet_from": "08:00"}, "quiet hours"),
        ({}, "nothing starts it"),
    ],
)
def test_a_wrong_schedule_is_said_where_it_is(
    project: Project, engineer: TestClient, wrong: dict[str, str], said: str
) -> None:
    status_code, page = send(engineer, "/schedule/heads", "/schedule", **wrong)
    assert status_code == 422
    (alert,) = [one for one in Page(page).all("p") if one.get("role") == "alert"]
    assert said in alert["text"]
    assert faults(page) == []
    for value in wrong.values():
        assert f'value="{value}"' in page  # what was typed is not lost
    assert keeping.overview(project)["heads"]["schedule"] is None


def test_a_schedule_is_removed_and_its_decisions_stay(
    two_rounds: Project, engineer: TestClient
) -> None:
    keeping.set_schedule(two_rounds, "heads", {"after_labels": 50})
    keeping.carry_out(two_rounds)
    assert "not retrained: 0 of 50 labels" in engineer.get("/schedule").text
    answered = send(engineer, "/schedule/heads", "/schedule", remove="1")
    assert answered == (303, "/schedule?done=unscheduled")
    page = engineer.get("/schedule").text
    assert "not retrained: 0 of 50 labels" in page and "there is no schedule" in page
    assert send(engineer, "/schedule/naps", "/schedule")[0] == 404


def test_jobs_are_stopped_and_asked_for_again(project: Project, engineer: TestClient) -> None:
    jobs.request(project.database, "finetune", arguments={"reason": "new lights", "by": "Bo"})
    assert "Bo: new lights" in engineer.get("/jobs").text
    answered = send(engineer, "/jobs/finetune/stop", "/jobs/finetune")
    assert answered == (303, "/jobs/finetune?done=stopping")
    assert state(project, "finetune") == "stopped"
    page = engineer.get("/jobs/finetune").text
    assert "Try again" in page and "/stop" not in page
    assert send(engineer, "/jobs/finetune/retry", "/jobs/finetune")[0] == 303
    assert state(project, "finetune") == "queued"
    with project.database.reader() as session:
        assert session.get_one(Job, "finetune").arguments["reason"] == "new lights"
    assert len(list(folder(project).iterdir())) == 1  # its message
    assert send(engineer, "/jobs/nothing/stop", "/jobs")[0] == 404


def state(project: Project, job_id: str) -> str:
    with project.database.reader() as session:
        return session.get_one(Job, job_id).state


def test_a_training_is_asked_for(project: Project, engineer: TestClient) -> None:
    assert send(engineer, "/retrain/heads", "/jobs") == (303, "/jobs/train?done=asked")
    with project.database.reader() as session:
        row = session.get_one(Job, "train")
    assert (row.state, row.arguments["by"]) == ("queued", "Ada")
    assert send(engineer, "/retrain/naps", "/jobs")[0] == 404


def test_a_job_shows_its_log(project: Project, client: TestClient) -> None:
    add_job(project, "train", error="no labels")
    (project.run / "worker.log").write_text(
        "09:00 [info] job done \x1b[36mjob\x1b[0m=\x1b[35mtrain\x1b[0m seconds=2\n"
        "09:01 [info] job done job=train-2 seconds=2\n"
        "09:02 [error] job failed job=train error=<b>\n"
    )
    page = client.get("/jobs/train").text
    (shown,) = Page(page).all("pre")
    assert shown["text"] == (
        "09:00 [info] job done job=train seconds=2\n09:02 [error] job failed job=train error=<b>"
    )
    assert client.get("/jobs/nothing").status_code == 404


def test_progress_is_a_bar_and_a_sentence(project: Project, client: TestClient) -> None:
    add_job(project, "embed", state="running", progress={"done": 120, "total": 480})
    part = client.get("/parts/active").text
    assert 'max="480" value="120" aria-label="Compute bottlenecks: 25.0% done"' in part
    assert "120 of 480" in part
    for path in ("/parts/jobs", "/parts/jobs?state=running", "/parts/jobs/embed"):
        assert "120 of 480" in client.get(path).text, path
    assert "There is none." in client.get("/parts/jobs?state=failed").text
    assert "<html" not in part


def test_a_job_that_ends_soon_says_so() -> None:
    asked = datetime(2026, 1, 1, tzinfo=UTC)
    row = Job(
        id="train",
        kind="train",
        key="",
        state="running",
        arguments={},
        progress={},
        error="",
        started_at=asked,
        stop_asked_at=asked,
    )
    view = view_of(row)
    assert (view.said, view.may_stop, view.may_retry) == ("stopping", False, False)
    assert view.runs_s(asked + timedelta(seconds=90)) == 90.0


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
