"""A real Celery worker on the folder broker: jobs are done once, whatever dies in between."""

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import shutil
import signal
import subprocess

from celery import Celery
import pytest
from sqlalchemy import select
from worker_support import StartWorker, job_of, state_of, wait_until, workers

from atlas.errors import SettingsError
from atlas.pool import ingest
from atlas.project import Project
from atlas.settings_file import change_setting
from atlas.store import lease as leases
from atlas.store.tables import Image, Job, Meta, QueryRow, Round
from services import jobs, steps, tasks
from services.celery_config import QUEUE, build_app, folder
from services.ports import take_port
from services.sending import request_and_send, send


@pytest.fixture(scope="module")
def start_worker() -> Iterator[StartWorker]:
    """Starts a worker that takes what wants no accelerator."""
    with workers(QUEUE) as start:
        yield start


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, project_template: Path, start_worker: StartWorker
) -> Project:
    """A project with a worker."""
    directory = tmp_path_factory.mktemp("served") / "project"
    shutil.copytree(project_template, directory)
    project = Project(directory)
    start_worker(project)
    return project


@pytest.fixture
def slow_project(empty_project: Project, draw_pool: Callable[..., Path]) -> Project:
    """400 images that are embedded one by one: some seconds of work."""
    change_setting(empty_project.directory, "backbone", "batch_size", 1)
    project = Project(empty_project.directory)
    ingest(project, draw_pool(project.directory / "pool", per_leaf=100), truth="folders")
    return project


def test_a_job_is_done(served: Project) -> None:
    job_id = request_and_send(served, "embed")
    wait_until(lambda: state_of(served, job_id) == "done", 30.0)
    job = job_of(served, job_id)
    assert (job.attempts, job.progress["total"], job.progress["computed"]) == (1, 40, 0)


def test_a_message_that_comes_three_times_is_one_run(served: Project) -> None:
    app = build_app(served)
    job_id = jobs.request(served.database, "embed")
    for _ in range(3):
        assert send(app, served, jobs.Due(job_id, "embed"))
    wait_until(lambda: not list(folder(served).iterdir()), 30.0)
    wait_until(lambda: state_of(served, job_id) == "done", 30.0)
    assert job_of(served, job_id).attempts == 1


def test_a_lost_message_is_sent_by_the_tick(served: Project) -> None:
    job_id = jobs.request(served.database, "embed")  # the row is there, the message never was
    assert state_of(served, job_id) == "queued"
    build_app(served).send_task("atlas.tick")
    wait_until(lambda: state_of(served, job_id) == "done", 30.0)


def test_a_worker_killed_in_the_middle_is_made_good(
    slow_project: Project, start_worker: StartWorker
) -> None:
    project = slow_project
    worker = start_worker(project)
    job_id = request_and_send(project, "embed")
    wait_until(lambda: job_of(project, job_id).progress.get("done", 0) > 0, 60.0)
    os.kill(worker.pid, signal.SIGKILL)  # its child dies with it
    worker.wait()
    before = job_of(project, job_id)
    assert before.state == "running"
    assert before.progress["done"] < before.progress["total"] == 400

    start_worker(project)
    app = build_app(project)
    wait_until(lambda: tick(app, project, job_id) != "running", leases.LEASE_S + 5)
    wait_until(lambda: state_of(project, job_id) == "done", 60.0)
    job = job_of(project, job_id)
    assert job.attempts == 2
    # What the first run finished is not done again, but for the batch it was at (one image).
    assert job.progress["computed"] <= 400 - before.progress["done"] + 1


def tick(app: Celery, project: Project, job_id: str) -> str:
    tasks.look_around(app, project)
    return state_of(project, job_id)


def test_label_studio_away_is_tried_again_later(project: Project) -> None:
    job_id = jobs.request(project.database, "advance", key="0")
    tasks.carry_out(project, job_id, steps.advance)  # opens round 1, then cannot push it
    job = job_of(project, job_id)
    assert job.state == "queued"
    assert "no Label Studio is running" in job.error
    assert jobs.due(project.database) == []  # not at once
    with project.database.reader() as session:
        assert session.scalars(select(Round.state)).all() == ["open"]
        assert set(session.scalars(select(QueryRow.state))) == {"chosen"}
    tasks.carry_out(project, job_id, steps.advance)  # pushes the round that is open already
    assert job_of(project, job_id).state == "queued"
    assert job_of(project, job_id).attempts == 2


def test_a_mistake_of_the_user_fails_the_job_with_its_sentence(project: Project) -> None:
    change_setting(project.directory, "round", "cold_start", "palm_reading")
    project = Project(project.directory)
    job_id = jobs.request(project.database, "advance", key="0")
    tasks.carry_out(project, job_id, steps.advance)
    job = job_of(project, job_id)
    assert job.state == "failed"
    assert "unknown sampler 'palm_reading'; known: " in job.error


def test_two_never_advance_at_once(project: Project) -> None:
    job_id = jobs.request(project.database, "advance", key="0")
    with leases.lease(project.database, leases.PROJECT, "somebody else"):
        tasks.carry_out(project, job_id, steps.advance)
    assert state_of(project, job_id) == "queued"
    assert "somebody else holds the lease" in job_of(project, job_id).error
    with project.database.reader() as session:
        assert session.scalars(select(Round)).all() == []


def test_what_is_wanted_follows_from_the_rows(project: Project) -> None:
    assert steps.wanted(project) == [("embed", "")]
    job_id = jobs.request(project.database, "embed")
    tasks.carry_out(
        project,
        job_id,
        lambda owner: steps.embed(owner, progress=nothing, should_stop=lambda: False),
    )
    assert steps.wanted(project) == []  # Label Studio is not set up
    with project.database.session() as session:
        session.add(Meta(key=steps.ORACLE_PROJECT, value="1"))
    assert steps.wanted(project) == [("advance", "0")]
    advance = jobs.request(project.database, "advance", key="0")
    tasks.carry_out(project, advance, steps.advance)  # opens round 1; Label Studio is away
    assert steps.wanted(project) == []  # it is tried again, and pushes then
    with project.database.session() as session:
        session.get_one(Job, advance).state = "done"
    assert steps.wanted(project) == [("push", "")]
    with project.database.session() as session:
        for query in session.scalars(select(QueryRow)):
            query.state, query.task_id = "pushed", "7"
    assert steps.wanted(project) == [("reconcile", "")]
    with project.database.session() as session:
        for query in session.scalars(select(QueryRow)):
            query.state = "answered"
    assert steps.wanted(project) == [("advance", "1"), ("reconcile", "")]


def test_a_failed_job_is_not_asked_for_again_at_once(project: Project) -> None:
    job_id = jobs.request(project.database, "embed")
    assert jobs.start(project.database, job_id, holder="a")
    jobs.fail(project.database, job_id, "no space left")
    assert steps.wanted(project) == []


def test_an_exhausted_pool_is_a_state(project: Project) -> None:
    with project.database.session() as session:
        session.add(Meta(key=steps.ORACLE_PROJECT, value="1"))
        session.add(Job(id="embed", kind="embed", key="", state="done", **nothing_else(40)))
        session.query(Image).filter_by(split="pool").update({"split": "audit"})
    job_id = jobs.request(project.database, "advance", key="0")
    tasks.carry_out(project, job_id, steps.advance)
    assert job_of(project, job_id).progress == {"pool_exhausted": True}
    assert steps.wanted(project) == []


def test_a_broker_that_celery_cannot_use_is_named(project: Project) -> None:
    change_setting(project.directory, "service", "broker_url", "pigeon://coop")
    with pytest.raises(SettingsError, match=r"service\.broker_url begins with 'pigeon'"):
        build_app(Project(project.directory))


def test_a_redis_broker(project: Project, start_worker: StartWorker, redis_url: str) -> None:
    change_setting(project.directory, "service", "broker_url", redis_url)
    project = Project(project.directory)
    start_worker(project)
    job_id = request_and_send(project, "embed")
    wait_until(lambda: state_of(project, job_id) == "done", 30.0)
    assert not folder(project).exists()


def test_a_broker_that_is_away_loses_nothing(project: Project) -> None:
    change_setting(project.directory, "service", "broker_url", "redis://127.0.0.1:1/0")
    project = Project(project.directory)
    job_id = request_and_send(project, "embed")
    job = job_of(project, job_id)
    assert (job.state, job.sent_at) == ("queued", None)


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    """A real Redis on a port of its own."""
    program = shutil.which("redis-server")
    if program is None:
        reason = "there is no redis-server; install it with `apt-get install redis-server`"
        if os.environ.get("ATLAS_REQUIRE_LIVE") == "1":
            pytest.fail(f"ATLAS_REQUIRE_LIVE=1, but {reason}")
        pytest.skip(reason)
    port = take_port("127.0.0.1", 0, "service.broker_url")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    with (tmp_path / "redis.log").open("wb") as log:
        process = subprocess.Popen([*command, "--dir", str(tmp_path)], stdout=log, stderr=log)
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait()


def nothing(_done: int, _total: int) -> None:
    """Progress that nobody follows."""


def nothing_else(total: int) -> dict[str, object]:
    return {"arguments": {}, "progress": {"total": total}}
