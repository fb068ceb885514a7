"""What the forms of the pages do: the schedule is edited, jobs are stopped and asked for again."""

from datetime import UTC, datetime, timedelta

from fastapi.testclient import TestClient
import pytest

from atlas.project import Project
from atlas.store.tables import Job, ScheduleRow
from services import jobs
from services.celery_config import folder
from services.dashboard.job_views import view_of
from services.retraining import keeping
from tests.dashboard_support import Page, add_job, faults, send
from tests.rounds_support import go_round

DAY = "2026-01-02"


def test_a_schedule_is_edited_in_the_page(project: Project, engineer: TestClient) -> None:
    fields = {
        "cron": "0 3 * * mon-fri",
        "zone": "Europe/Berlin",
        "after_labels": "50",
        "below.shape": "80",
        "below.family": "",
        "drift.shape": "",
        "drift.family": "12.5",
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
        "drift": {"family": 0.125},
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
    project: Project, engineer: TestClient
) -> None:
    go_round(project)
    keeping.set_schedule(project, "heads", {"after_labels": 50})
    keeping.carry_out(project)
    assert "not retrained: 0 of 50 labels" in engineer.get("/schedule").text
    answered = send(engineer, "/schedule/heads", "/schedule", remove="1")
    assert answered == (303, "/schedule?done=unscheduled")
    page = engineer.get("/schedule").text
    assert "not retrained: 0 of 50 labels" in page and "there is no schedule" in page
    assert send(engineer, "/schedule/naps", "/schedule")[0] == 404


def test_a_schedule_that_cannot_be_read_is_said_and_replaced(
    project: Project, engineer: TestClient
) -> None:
    content = {"cron": "0 3 * * *", "zone": "US/Pacific-New"}
    with project.database.session() as session:
        session.add(ScheduleRow(kind="heads", content=content, set_at=datetime.now(UTC)))
    keeping.set_schedule(project, "finetune", {"cron": "0 3 * * *"})
    shown = engineer.get("/schedule")
    assert shown.status_code == 200
    assert "Not retrained: the schedule cannot be read: not a schedule: no time zone" in shown.text
    assert len([one for one in Page(shown.text).all("time") if "li" in one["within"].split()]) == 5
    assert "The schedule cannot be read." in shown.text and "Not scheduled." not in shown.text
    assert shown.text.count("Do not schedule") == 2
    assert engineer.get("/").status_code == 200
    assert send(engineer, "/schedule/heads", "/schedule", after_labels="9")[0] == 303
    assert keeping.overview(project)["heads"]["schedule"]["after_labels"] == 9


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
        f"{DAY} 09:00:00Z [info] job done \x1b[36mjob\x1b[0m=\x1b[35mtrain\x1b[0m seconds=2\n"
        f"{DAY} 09:01:00Z [info] job done job=train-2 seconds=2\n"
        f"{DAY} 09:02:00Z [error] job failed job=train error=<b>\n"
    )
    page = client.get("/jobs/train").text
    (shown,) = Page(page).all("pre")
    assert shown["text"] == (
        f"{DAY} 09:00:00Z [info] job done job=train seconds=2\n"
        f"{DAY} 09:02:00Z [error] job failed job=train error=<b>"
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
