"""Job rows and leases against real databases, SQLite and PostgreSQL, from several threads."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
import time

import pytest

from atlas.errors import BusyError, ServiceError
from atlas.store import lease as leases
from atlas.store.database import Database
from atlas.store.tables import Job, Lease
from atlas.types import utc_now
from services import jobs
from tests.servers import Postgres


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = Database(store_url)
    yield opened
    opened.engine.dispose()


def job_of(database: Database, job_id: str) -> Job:
    with database.reader() as session:
        return session.get_one(Job, job_id)


def ids(due: list[jobs.Due]) -> list[str]:
    return [one.id for one in due]


def test_asking_twice_is_asking_once(database: Database) -> None:
    first = jobs.request(database, "advance", key="3", arguments={"by": "test"})
    assert jobs.request(database, "advance", key="3") == first == "advance-3"
    assert jobs.request(database, "advance", key="4") == "advance-4"
    assert job_of(database, first).arguments == {"by": "test"}
    assert ids(jobs.due(database)) == ["advance-3", "advance-4"]


def test_one_of_many_starts_it(database: Database) -> None:
    job_id = jobs.request(database, "embed")
    with ThreadPoolExecutor(8) as threads:
        started = list(
            threads.map(lambda i: jobs.start(database, job_id, holder=f"h{i}"), range(8))
        )
    assert sum(started) == 1
    assert (job_of(database, job_id).state, job_of(database, job_id).attempts) == ("running", 1)


def test_a_finished_job_asked_again_runs_again(database: Database) -> None:
    job_id = jobs.request(database, "reconcile")
    assert jobs.start(database, job_id, holder="a")
    jobs.finish(database, job_id, {"new": 2})
    assert job_of(database, job_id).progress == {"new": 2}
    assert not jobs.start(database, job_id, holder="a")
    assert jobs.request(database, "reconcile") == job_id
    assert jobs.start(database, job_id, holder="a")


def test_a_running_job_asked_again_stays_running(database: Database) -> None:
    job_id = jobs.request(database, "push")
    assert jobs.start(database, job_id, holder="a")
    jobs.request(database, "push")
    assert job_of(database, job_id).state == "running"
    assert jobs.due(database) == []


def test_a_message_is_sent_again_when_it_seems_lost(database: Database) -> None:
    job_id = jobs.request(database, "push")
    now = utc_now()
    assert ids(jobs.due(database, now=now)) == [job_id]
    jobs.sent(database, job_id)
    assert jobs.due(database, now=now + timedelta(seconds=20)) == []
    assert ids(jobs.due(database, now=now + timedelta(seconds=31))) == [job_id]


def test_back_off_doubles_to_a_minute(database: Database) -> None:
    assert [jobs.backoff_s(n) for n in (1, 2, 3, 5, 6, 100)] == [2, 4, 8, 32, 60, 60]
    job_id = jobs.request(database, "push")
    assert jobs.start(database, job_id, holder="a")
    jobs.postpone(database, job_id, "Label Studio does not answer")
    now = utc_now()
    assert jobs.due(database, now=now) == []
    assert ids(jobs.due(database, now=now + timedelta(seconds=2))) == [job_id]


def test_a_run_whose_lease_is_gone_is_queued_again(database: Database) -> None:
    job_id = jobs.request(database, "embed")
    assert jobs.start(database, job_id, holder="a")
    jobs.progress(database, job_id, {"done": 64, "total": 100})
    assert jobs.due(database) == []  # its lease has 15 s left
    end_leases(database)
    assert ids(jobs.due(database)) == [job_id]
    assert job_of(database, job_id).progress == {"done": 64, "total": 100, "lost": 1}
    assert jobs.start(database, job_id, holder="b")


def test_a_job_that_kills_its_worker_is_given_up(database: Database) -> None:
    job_id = jobs.request(database, "embed")
    for _ in range(jobs.MAX_LOST):
        assert jobs.start(database, job_id, holder="a")
        end_leases(database)
        jobs.due(database)
    assert job_of(database, job_id).state == "failed"
    assert "ended 5 times" in job_of(database, job_id).error


def test_what_was_given_up_cannot_finish(database: Database) -> None:
    job_id = jobs.request(database, "push")
    assert jobs.start(database, job_id, holder="a")
    jobs.fail(database, job_id, "token refused")
    jobs.finish(database, job_id)
    assert job_of(database, job_id).state == "failed"
    assert job_of(database, job_id).error == "token refused"


def test_a_lease_is_held_by_one(database: Database) -> None:
    with (
        leases.lease(database, "project", "a"),
        pytest.raises(BusyError, match="a holds the lease 'project'"),
        leases.lease(database, "project", "b"),
    ):
        pass
    with leases.lease(database, "project", "b"):
        pass


def test_of_two_who_want_a_lease_at_once_one_gets_it(database: Database) -> None:
    def take(holder: str) -> bool:
        with database.session() as session:
            return leases.take(session, "project", holder, 10.0)

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(take, [f"h{i}" for i in range(8)])) == 1


def test_a_lease_is_renewed_while_held_and_runs_out_when_not(database: Database) -> None:
    with leases.lease(database, "project", "a", 0.6) as lost:
        time.sleep(1.2)  # twice its length
        with database.session() as session:
            assert not leases.take(session, "project", "b", 0.6)
        assert not lost.is_set()
    with database.session() as session:
        assert leases.take(session, "project", "b", 0.2)
    time.sleep(0.25)
    with database.session() as session:
        assert leases.take(session, "project", "c", 0.2)


def test_a_lost_lease_is_noticed(database: Database) -> None:
    with leases.lease(database, "project", "a", 0.3) as lost:
        with database.session() as session:
            row = session.get_one(Lease, "project")
            row.holder, row.expires_at = "b", utc_now() + timedelta(seconds=30)
        assert lost.wait(2.0)


def test_a_lease_outlives_a_restart_of_postgresql(postgres: Postgres) -> None:
    database = Database(postgres.new_database())
    with leases.lease(database, "project", "a", 9.0) as lost:
        time.sleep(0.5)
        postgres.stop()
        time.sleep(3.0)  # it is due to be renewed 3 s after it was taken, and again at 6 s
        postgres.start()
        time.sleep(3.5)
        assert not lost.is_set()
        with database.session() as session:
            # taken at 0, renewed at 6: without that it would have run out by 9
            assert session.get_one(Lease, "project").expires_at > utc_now() + timedelta(seconds=4)
    database.engine.dispose()


def end_leases(database: Database) -> None:
    """What fifteen seconds without a living holder do."""
    with database.session() as session:
        for lease in session.query(Lease):
            lease.expires_at = utc_now() - timedelta(seconds=1)


def test_a_job_that_waits_is_stopped_at_once(database: Database) -> None:
    job_id = jobs.request(database, "finetune")
    assert jobs.stop(database, job_id) == "stopped"
    assert jobs.due(database) == []
    assert not jobs.start(database, job_id, holder="a")
    assert jobs.request(database, "finetune") == job_id
    assert jobs.start(database, job_id, holder="a")


def test_a_running_job_hears_that_it_should_stop_and_says_that_it_did(database: Database) -> None:
    job_id = jobs.request(database, "finetune")
    assert jobs.start(database, job_id, holder="a")
    assert not jobs.is_asked_to_stop(database, job_id)
    assert jobs.stop(database, job_id) == "running"
    assert jobs.is_asked_to_stop(database, job_id)
    jobs.stopped(database, job_id, "stopped at step 7")
    assert (job_of(database, job_id).state, job_of(database, job_id).error) == (
        "stopped",
        "stopped at step 7",
    )
    assert jobs.stop(database, job_id) == "stopped"
    jobs.request(database, "finetune")
    assert not jobs.is_asked_to_stop(database, job_id)


def test_a_worker_that_ends_before_it_could_stop_leaves_the_job_stopped(database: Database) -> None:
    job_id = jobs.request(database, "finetune")
    assert jobs.start(database, job_id, holder="a")
    jobs.stop(database, job_id)
    with database.session() as session:
        leases.drop(session, jobs.lease_name(job_id), "a")
    assert jobs.due(database) == []
    assert job_of(database, job_id).state == "stopped"


def test_only_a_known_job_can_be_stopped(database: Database) -> None:
    jobs.request(database, "embed")
    with pytest.raises(ServiceError, match="no job 'finetune'; known: embed"):
        jobs.stop(database, "finetune")
