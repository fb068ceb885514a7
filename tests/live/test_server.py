"""compose.yaml's commands as processes, on real PostgreSQL, Redis and Label Studio.

Commands and environment are the file's; only hosts, ports and folders are this machine's.
"""

from collections.abc import Callable, Iterator
import json
import os
from pathlib import Path
import secrets
import subprocess
from threading import Event, Thread
import time
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from atlas.errors import ServiceError
from atlas.pool import ingest
from atlas.project import Project
from atlas.settings import Settings
from atlas.settings_file import change_setting
from atlas.store.tables import AnnotationRow, Job, Meta, Round
from atlas.taxonomy import Taxonomy
from atlas.tokens import Role, create
from services import label_studio
from services.annotator import annotate_queue
from services.demo import answer_of
from tests import compose
from tests.live.composed import Server
from tests.servers import Postgres, find_postgres, free_port, missing, running_redis

pytestmark = [pytest.mark.live, pytest.mark.slow]

AUDIT, BATCH = 4, 4  # a round asks 8 questions: `settings` of the root conftest
STOPS_WITHIN_S = 12.0  # soft: running jobs are given 5 s of it


def wait_until(condition: Callable[[], Any], timeout_s: float) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s, f"still not so after {timeout_s} s"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[str, str], Any]]:
    """PostgreSQL and Redis as the file sets them up: accounts, databases, passwords."""
    names = [name for name, (mark, _) in compose.variables().items() if mark == "?"]
    values = {name: secrets.token_hex(12) for name in names}
    values |= {"LABEL_STUDIO_USERNAME": "admin@example.org", "IMAGES": "/images"}
    postgres = Postgres(find_postgres(), host_auth="scram-sha-256")
    try:
        service = compose.services(values)["postgres"]
        environment = {**os.environ, **service["environment"]}
        environment |= {"PGHOST": str(postgres.folder), "PGPORT": str(postgres.port)}
        environment["PATH"] = f"{postgres.programs}:{environment['PATH']}"
        script = compose.ROOT / "deploy" / "postgres" / "make-databases.sh"
        subprocess.run([str(script)], env=environment, check=True)
        program, *options = compose.services(values)["redis"]["command"]
        assert program == "redis-server"
        with running_redis(tmp_path_factory.mktemp("redis"), *options) as redis:
            yield values, (postgres, redis)
    finally:
        postgres.remove()


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
    stores: tuple[dict[str, str], tuple[Postgres, int]],
    settings: Settings,
    taxonomy: Taxonomy,
    tiny_pool: Path,
) -> Iterator[Server]:
    """A project of 40 pictures on the server's stores; nothing runs yet."""
    values, (postgres, redis) = stores
    directory = tmp_path_factory.mktemp("server") / "project"
    port = free_port()
    places = {
        "postgres:5432": f"127.0.0.1:{postgres.port}",
        "redis:6379": f"127.0.0.1:{redis}",
        "api:8090": f"127.0.0.1:{free_port()}",
        "label-studio:8080": f"127.0.0.1:{port}",
        "/project": str(directory),
        "/data": str(directory.parent / "label-studio-data"),
    }
    Path(places["/data"]).mkdir()
    values = {**values, "LABEL_STUDIO_URL": f"http://127.0.0.1:{port}"}
    found = Server(directory, values, places)
    environment = found.service("api")["environment"]
    with pytest.MonkeyPatch.context() as patch:
        for key, value in environment.items():
            if key.startswith("ATLAS_"):
                patch.setenv(key, value)
        made = Project.create(directory, Settings(**settings.model_dump()), taxonomy)
        made.database.engine.dispose()
        change_setting(directory, "service", "tick_s", 1.0)
        change_setting(directory, "service", "reconcile_s", 3.0)
        project = Project(directory)
        ingest(project, tiny_pool, truth="folders")
        try:
            yield found
        finally:
            found.kill_all()
            project.database.engine.dispose()


@pytest.fixture(scope="module")
def project(server: Server) -> Iterator[Project]:
    project = Project(server.directory)
    yield project
    project.database.engine.dispose()


@pytest.fixture(scope="module")
def token(project: Project) -> str:
    with project.database.session() as session:
        return create(session, Role.ENGINEER).token


def count(project: Project, table: type) -> int:
    with project.database.reader() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def test_no_password_gets_into_the_folder(server: Server, project: Project) -> None:
    text = (server.directory / "atlas.toml").read_text()
    assert not [name for name, value in server.values.items() if value in text]
    assert "[store]" not in text
    assert project.settings.store.url.startswith("postgresql+psycopg://atlas:")


@pytest.mark.parametrize("name", ["worker", "schedule", "connect"])
def test_a_part_says_what_it_lacks(server: Server, name: str) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    without_broker = server.run(name, ATLAS_SERVICE__BROKER_URL=f"redis://:geheim@{nobody}/0")
    assert without_broker.returncode == 2
    said = " ".join(without_broker.stderr.split())
    assert f"{nobody}/0 does not answer" in said and "mend service.broker_url" in said
    assert "geheim" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["api", "worker", "schedule"])
def test_a_part_without_its_database_says_so(server: Server, name: str) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    url = f"postgresql+psycopg://atlas:geheim@{nobody}/atlas"
    done = server.run(name, ATLAS_STORE__URL=url)
    assert done.returncode == 2
    said = " ".join(done.stderr.split())
    assert "cannot open the database postgresql+psycopg://atlas:***@" in said
    assert "mend store.url" in said
    assert "geheim" not in said and "Traceback" not in said


def test_a_wrong_password_is_refused(server: Server) -> None:
    url = f"postgresql+psycopg://atlas:wrong@{server.places['postgres:5432']}/atlas"
    done = server.run("schedule", ATLAS_STORE__URL=url)
    assert done.returncode == 2
    assert "password authentication failed" in " ".join(done.stderr.split())


def test_the_api_answers_a_job_runs_and_the_clock_ticks(server: Server, project: Project) -> None:
    for name in ("api", "worker", "schedule"):
        server.start(name)
    wait_until(lambda: answers(f"{server.api}/healthz"), 240.0)
    # nobody asked for it by hand: the schedule ticked, the worker saw pictures and embedded them
    wait_until(lambda: count(project, Job) > 0, 240.0)
    wait_until(lambda: state_of(project, "embed") == "done", 240.0)
    with project.database.reader() as session:
        assert session.get_one(Job, "embed").progress["total"] == 40
    command, environment = server.command("worker")
    check = server.service("worker")["healthcheck"]["test"]
    assert check[:2] == ["CMD", "atlas"]
    done = subprocess.run(
        [command[0], *check[2:]], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5.0).is_success
    except httpx.TransportError:
        return False


def state_of(project: Project, job_id: str) -> str:
    with project.database.reader() as session:
        job = session.get(Job, job_id)
        return "" if job is None else job.state


def test_reading_needs_a_token_where_others_can_reach_it(server: Server, token: str) -> None:
    url = f"{server.api}/api/v1/status"
    assert httpx.get(url, trust_env=False).status_code == 401
    headers = {"Authorization": f"Bearer {token}"}
    status = httpx.get(url, headers=headers, trust_env=False, timeout=30.0).json()
    assert status["images"] == {"pool": 32, "audit": 8, "left_out": 0}


def test_label_studio_is_connected_and_rounds_are_labelled(
    server: Server, project: Project
) -> None:
    try:
        label_studio.find_command(project)
    except ServiceError as error:
        missing(str(error))
    server.start("label-studio")
    label_studio.wait_until_healthy(server.label_studio, 500.0, lambda waited_s: None)
    connected = server.run("connect", timeout_s=240.0)
    assert connected.returncode == 0, connected.stderr
    again = server.run("connect", timeout_s=240.0)
    assert again.stderr.splitlines()[-1] == connected.stderr.splitlines()[-1]
    with project.database.reader() as session:
        number = int(session.get_one(Meta, "label_studio_project").value)
    stop = Event()
    token = server.values["LABEL_STUDIO_TOKEN"]

    def annotate() -> None:
        annotate_queue(server.label_studio, token, number, answer_of(project), stop=stop)

    thread = Thread(target=annotate)
    thread.start()
    try:
        wait_until(lambda: closed(project) >= 2, 400.0)
    finally:
        stop.set()
        thread.join()
    with project.database.reader() as session:
        ways = set(session.scalars(select(AnnotationRow.received_by)))
        labels = session.scalars(
            select(Round.labels).where(Round.state == "closed").order_by(Round.number)
        ).all()
    assert "webhook" in ways
    assert labels[:2] == [BATCH, 2 * BATCH]


def closed(project: Project) -> int:
    with project.database.reader() as session:
        done = select(func.count()).where(Round.state == "closed")
        return session.scalar(done) or 0


def test_every_part_speaks_json_and_stops_when_it_should(server: Server) -> None:
    for name in ("schedule", "worker", "api"):
        assert server.stop(name) < STOPS_WITHIN_S, name
        lines = server.log(name).read_text().splitlines()
        # Celery itself says "worker: Warm shutdown" after an empty line
        said = [line for line in lines if line and not line.startswith("worker: ")]
        records = [json.loads(line) for line in said]
        for record in records:
            assert {"time", "level", "event"} <= set(record)
            assert record["part"] == name
        assert not [record for record in records if record["level"] in ("error", "critical")]
        secrets_of = [value for key, value in server.values.items() if "PASSWORD" in key]
        text = server.log(name).read_text()
        assert not [secret for secret in secrets_of if secret in text]
