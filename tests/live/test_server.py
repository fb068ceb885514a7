"""What a server's parts say where something that they need is not there or not right."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from atlas.project import Project
from atlas.settings import Settings
from atlas.taxonomy import Taxonomy
from tests.live.composed import Server, made_server, running_stores
from tests.servers import free_port

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory,
    settings: Settings,
    taxonomy: Taxonomy,
    tiny_pool: Path,
) -> Iterator[Server]:
    """PostgreSQL and Redis run, and no part of Atlas."""
    folder = tmp_path_factory.mktemp("server")
    with (
        running_stores(folder) as stores,
        made_server(folder, stores, settings, taxonomy, tiny_pool) as made,
    ):
        yield made


def test_no_password_gets_into_the_folder(server: Server) -> None:
    text = (server.directory / "atlas.toml").read_text()
    assert not [name for name, value in server.values.items() if value in text]
    assert "[store]" not in text
    assert Project(server.directory).settings.store.url.startswith("postgresql+psycopg://atlas:")


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
