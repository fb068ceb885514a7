"""Schedules on a real database: changed, decided about once, by many schedulers at once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

from celery import Celery
import pytest
from retraining_support import HOUR, NOON, bare_project, end, label, model, said
from sqlalchemy import delete, select
from structlog.testing import capture_logs

from atlas.accuracy import save_counts
from atlas.errors import SettingsError
from atlas.project import Project
from atlas.promotion import promote
from atlas.store import lease as leases
from atlas.store.tables import Job, Lease, ScheduleRow
from services import jobs, tasks
from services.retraining.keeping import carry_out, overview, remove_schedule, set_schedule

NIGHTLY = {"cron": "0 3 * * *"}


@pytest.fixture
def bare(tmp_path: Path) -> Project:
    return bare_project(tmp_path / "project")


def test_without_a_schedule_nothing_happens(bare: Project) -> None:
    label(bare, 0, 5)
    assert carry_out(bare, now=NOON) == []
    assert said(bare) == said(bare, "heads") == []
    assert jobs.due(bare.database) == []
    assert overview(bare, now=NOON)["finetune"] == {
        "schedule": None,
        "set_at": None,
        "next": [],
        "now": "not retrained: there is no schedule",
        "decisions": [],
    }


def test_a_decision_is_kept_when_it_changes(bare: Project) -> None:
    set_schedule(bare, "finetune", {"after_labels": 3}, now=NOON)
    for minute in range(5):
        assert carry_out(bare, now=NOON + minute * timedelta(minutes=1)) == []
    label(bare, 0, 2)
    for minute in range(5, 10):
        assert carry_out(bare, now=NOON + minute * timedelta(minutes=1)) == []
    label(bare, 2, 3)
    assert carry_out(bare, now=NOON + HOUR) == ["finetune"]
    assert carry_out(bare, now=NOON + HOUR) == []
    end(bare, "finetune")
    for _ in range(3):
        assert carry_out(bare, now=NOON + 2 * HOUR) == []
    assert said(bare) == [
        (False, "not retrained: there are no labels yet"),
        (False, "not retrained: 2 of 3 labels"),
        (True, "3 of 3 labels"),
        (False, "not retrained: one is queued or running"),
        (False, "not retrained: 0 of 3 labels"),
    ]
    with bare.database.reader() as session:
        job = session.get_one(Job, "finetune")
    assert job.arguments == {"reason": "3 of 3 labels", "by": "schedule"}


def test_a_schedule_changes_without_a_restart(bare: Project) -> None:
    label(bare, 0, 4)
    set_schedule(bare, "heads", {"after_labels": 5}, now=NOON)
    assert carry_out(bare, now=NOON) == []
    set_schedule(bare, "heads", {"after_labels": 4}, now=NOON)
    assert carry_out(bare, now=NOON) == ["train"]
    end(bare, "train")
    assert remove_schedule(bare, "heads")
    assert not remove_schedule(bare, "heads")
    label(bare, 4, 9)
    assert carry_out(bare, now=NOON + HOUR) == []
    assert overview(bare, now=NOON)["heads"]["decisions"][0]["reason"] == "4 of 4 labels"


def test_setting_the_same_again_forgets_no_missed_time(bare: Project) -> None:
    label(bare, 0, 1)
    set_schedule(bare, "finetune", NIGHTLY, now=NOON)
    set_schedule(bare, "finetune", {**NIGHTLY, "zone": "UTC"}, now=NOON + 24 * HOUR)
    assert carry_out(bare, now=NOON + 24 * HOUR) == ["finetune"]
    end(bare, "finetune")
    set_schedule(bare, "finetune", {"cron": "0 3,4 * * *"}, now=NOON + 48 * HOUR)
    assert carry_out(bare, now=NOON + 48 * HOUR) == []


@pytest.mark.parametrize("known", [False, True])
def test_of_many_schedulers_one_asks(bare: Project, known: bool) -> None:
    """Also where the job is over before the last of them has looked."""
    label(bare, 0, 1)
    set_schedule(bare, "finetune", NIGHTLY, now=NOON)
    if known:
        jobs.request(bare.database, "finetune")
        end(bare, "finetune")
    others = [Project(bare.directory) for _ in range(6)]
    together = Barrier(len(others))

    def look(project: Project) -> list[str]:
        together.wait()
        asked = carry_out(project, now=NOON + 24 * HOUR)
        if asked:
            end(project, asked[0])
        return asked

    with ThreadPoolExecutor(len(others)) as threads:
        asked = list(threads.map(look, others))
    assert sorted(asked) == [[]] * 5 + [["finetune"]]
    # who looked while it was queued or running said so
    assert [reason for run, reason in said(bare) if run] == ["due at 2026-06-02 03:00 UTC"]
    assert len(said(bare)) == len({reason for _, reason in said(bare)})


def test_a_training_by_hand_counts(bare: Project) -> None:
    """The fine-tune of 12:30 knew 4 labels; a model of the heads is none."""
    label(bare, 0, 5)
    set_schedule(bare, "finetune", {"after_labels": 5, "pause_s": 3600}, now=NOON)
    model(bare, "m0001", NOON + HOUR / 2, 4, finetune={"reason": "better", "promoted": True})
    model(bare, "m0002", NOON + HOUR * 3 / 4, 5)
    assert overview(bare, now=NOON + HOUR)["finetune"]["now"] == "not retrained: 1 of 5 labels"
    set_schedule(bare, "finetune", {"after_labels": 1, "pause_s": 3600}, now=NOON)
    assert overview(bare, now=NOON + HOUR)["finetune"]["now"] == (
        "not retrained: pause until 2026-06-01 13:30 UTC, though 1 of 1 labels"
    )
    assert carry_out(bare, now=NOON + HOUR * 3 / 2) == ["finetune"]


def test_heads_count_the_models_that_came_to_answer(bare: Project) -> None:
    label(bare, 0, 5)
    set_schedule(bare, "heads", {"after_labels": 2}, now=NOON)
    model(bare, "m0001", NOON, 4)
    model(bare, "m0002", NOON + HOUR, 5, finetune={"reason": "no better", "promoted": False})
    with bare.database.session() as session:
        promote(session, "m0001", reason="trained")
    assert overview(bare, now=NOON + HOUR)["heads"]["now"] == "not retrained: 1 of 2 labels"


def test_a_fine_tune_from_the_command_line_is_waited_for(bare: Project) -> None:
    label(bare, 0, 1)
    set_schedule(bare, "finetune", {"after_labels": 1}, now=NOON)
    with bare.database.session() as session:
        session.add(Lease(name=leases.FINETUNE, holder="it", expires_at=datetime.now(UTC) + HOUR))
    assert carry_out(bare, now=NOON) == []
    assert said(bare) == [(False, "not retrained: one is queued or running")]
    with bare.database.session() as session:
        session.execute(delete(Lease))
    assert carry_out(bare, now=NOON) == ["finetune"]


def test_accuracy_counts_where_enough_was_measured(bare: Project) -> None:
    label(bare, 0, 6)
    set_schedule(bare, "finetune", {"below": {"shape": 0.8}, "per_day": 1}, now=NOON)
    model(bare, "m0001", NOON, 5)
    with bare.database.session() as session:
        promote(session, "m0001", reason="trained")
        save_counts(session, "m0001", {"shape": (7, 9), "family": (1, 10)})
    assert carry_out(bare, now=NOON) == []
    with bare.database.session() as session:
        save_counts(session, "m0001", {"shape": (7, 10), "family": (1, 10)})
    assert carry_out(bare, now=NOON) == ["finetune"]
    assert said(bare) == [
        (False, "not retrained: accuracy of shape is not known yet"),
        (True, "accuracy of shape 70.0% is below 80.0%"),
    ]


def test_the_maximum_a_day_outlives_a_changed_schedule(bare: Project) -> None:
    label(bare, 0, 1)
    set_schedule(bare, "finetune", {"after_labels": 1, "per_day": 1}, now=NOON)
    assert carry_out(bare, now=NOON) == ["finetune"]
    end(bare, "finetune")
    set_schedule(bare, "finetune", {"cron": "* * * * *", "per_day": 1}, now=NOON)
    assert carry_out(bare, now=NOON + HOUR) == []
    midnight = NOON + 12 * HOUR
    assert overview(bare, now=NOON)["finetune"]["next"][:2] == [
        "2026-06-02T00:00+00:00",
        "2026-06-03T00:00+00:00",
    ]
    assert carry_out(bare, now=midnight) == ["finetune"]


def test_what_is_made_up_for_in_the_morning_leaves_the_evening(bare: Project) -> None:
    """23:00 of 1 June is trained at 08:00 the next day, which has its own 23:00 still."""
    label(bare, 0, 1)
    set_schedule(bare, "finetune", {"cron": "0 23 * * *", "per_day": 1}, now=NOON)
    assert carry_out(bare, now=NOON + 20 * HOUR) == ["finetune"]
    end(bare, "finetune")
    assert overview(bare, now=NOON + 21 * HOUR)["finetune"]["next"][:2] == [
        "2026-06-02T23:00+00:00",
        "2026-06-03T23:00+00:00",
    ]
    assert carry_out(bare, now=NOON + 35 * HOUR) == ["finetune"]
    end(bare, "finetune")
    set_schedule(bare, "finetune", {"after_labels": 1, "per_day": 1}, now=NOON)
    label(bare, 1, 3)
    assert carry_out(bare, now=NOON + 35.5 * HOUR) == []  # 2 June has had its one
    assert carry_out(bare, now=NOON + 36 * HOUR) == ["finetune"]


def unreadable(project: Project, kind: str) -> None:
    """A schedule that was saved where its zone is known."""
    content = {"cron": "0 3 * * *", "zone": "US/Pacific-New"}
    with project.database.session() as session:
        session.merge(ScheduleRow(kind=kind, content=content, set_at=NOON))


def test_a_schedule_that_cannot_be_read_is_said_once_and_the_other_goes_on(bare: Project) -> None:
    label(bare, 0, 2)
    unreadable(bare, "finetune")
    set_schedule(bare, "heads", {"after_labels": 2}, now=NOON)
    assert carry_out(bare, now=NOON) == ["train"]
    for minute in range(3):
        assert carry_out(bare, now=NOON + minute * timedelta(minutes=1)) == []
    wrong = (
        "not retrained: the schedule cannot be read: not a schedule: no time zone "
        "'US/Pacific-New'; expected one such as Europe/Berlin"
    )
    assert said(bare) == [(False, wrong)]
    shown = overview(bare, now=NOON)["finetune"]
    assert (shown["schedule"], shown["set_at"], shown["next"]) == (None, NOON.isoformat(), [])
    assert shown["now"] == wrong
    set_schedule(bare, "finetune", {"after_labels": 3}, now=NOON)
    assert carry_out(bare, now=NOON) == []
    assert said(bare)[1:] == [(False, "not retrained: 2 of 3 labels")]


@pytest.mark.parametrize("fails", ["steps.wanted", "schedules.carry_out", "reminders.carry_out"])
def test_what_is_due_is_sent_though_a_part_of_the_tick_fails(
    bare: Project, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def broken(owner: Project) -> None:
        raise SettingsError("this part is broken")

    module, name = fails.split(".")
    monkeypatch.setattr(getattr(tasks, module), name, broken)
    label(bare, 0, 1)
    set_schedule(bare, "heads", {"after_labels": 1})
    jobs.request(bare.database, "finetune")
    with capture_logs() as logs:
        tasks.look_around(Celery(broker="memory://"), bare)
    assert [one["event"] for one in logs if one["log_level"] == "error"] == [
        "a part of the tick failed"
    ]
    with bare.database.reader() as session:
        sent = set(session.scalars(select(Job.id).where(Job.sent_at.is_not(None))))
    wanted = {"embed", "finetune", "train"}
    lost = {
        "steps.wanted": {"embed"},
        "schedules.carry_out": {"train"},
        "reminders.carry_out": set(),
    }
    assert sent == wanted - lost[fails]


def test_what_is_refused(bare: Project) -> None:
    with pytest.raises(SettingsError, match="'backbone'; known: heads, finetune"):
        set_schedule(bare, "backbone", NIGHTLY)
    with pytest.raises(SettingsError, match="no level leaf; known: family, shape"):
        set_schedule(bare, "heads", {"below": {"leaf": 0.5}, "per_day": 1})
    with pytest.raises(SettingsError, match="no level leaf; known: family, shape"):
        set_schedule(bare, "heads", {"drift": {"leaf": 0.1, "shape": 0.1}})
    with pytest.raises(SettingsError, match="'all'"):
        remove_schedule(bare, "all")


@pytest.mark.parametrize("zone", ["localtime", "posixrules", "Factory"])
def test_a_zone_that_differs_from_machine_to_machine_is_refused(bare: Project, zone: str) -> None:
    """Also where this machine does not know it."""
    with pytest.raises(SettingsError, match="no time zone|may be another on each machine"):
        set_schedule(bare, "heads", {**NIGHTLY, "zone": zone})
    assert overview(bare)["heads"]["set_at"] is None
