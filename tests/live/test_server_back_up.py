"""The commands of docs/howto/server.md that back up and restore, run as they stand there.

Only `docker compose exec|run … SERVICE`, which says where a command runs, becomes this machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import re
import subprocess

import psycopg
import pytest
from sqlalchemy import func, select

from atlas.embedding import embed_pool
from atlas.pool import ingest
from atlas.project import Project
from atlas.serving import project_predictor
from atlas.settings import Settings
from atlas.store.tables import AnnotationRow, Base
from atlas.taxonomy import Taxonomy
from atlas.tokens import Role, create, identify
from tests import compose
from tests.rounds_support import go_round
from tests.servers import Postgres, find_postgres

pytestmark = [pytest.mark.live, pytest.mark.slow]

PAGE = compose.ROOT / "docs" / "howto" / "server.md"
VALUES = dict.fromkeys(compose.variables(), "given")
WHERE = re.compile(r"docker compose (?:exec|run)(?: -\S+)* (?:postgres|api)\b")


def commands(heading: str) -> list[list[str]]:
    """The commands of each block below a heading of the page."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"^```\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    return [block.replace("\\\n", "").splitlines() for block in blocks]


@contextmanager
def empty_server() -> Iterator[Postgres]:
    """PostgreSQL as `docker compose up postgres` makes it on an empty volume."""
    server = Postgres(find_postgres())
    try:
        script = compose.ROOT / "deploy" / "postgres" / "make-databases.sh"
        said = compose.services(VALUES)["postgres"]["environment"]
        subprocess.run([str(script)], env=environment(server) | said, check=True)
        yield server
    finally:
        server.remove()


def environment(server: Postgres) -> dict[str, str]:
    own = {"PGHOST": str(server.folder), "PGPORT": str(server.port)}
    return {**os.environ, **own, "PATH": f"{server.programs}:{os.environ['PATH']}"}


def carry_out(lines: list[str], server: Postgres, folder: Path, project: Path) -> None:
    """Run a block of the page in `folder`, where the dumps lie."""
    here = [line for line in lines if "docker compose up" not in line]
    assert len(here) >= 3
    script = WHERE.sub("", "\n".join(here)).replace("/project", str(project))
    assert "docker" not in script
    subprocess.run(["sh", "-euc", script], env=environment(server), cwd=folder, check=True)


def use(server: Postgres, directory: Path, patch: pytest.MonkeyPatch) -> None:
    url = f"postgresql+psycopg://atlas@127.0.0.1:{server.port}/atlas"
    patch.setenv("ATLAS_STORE__URL", url)
    directory.parent.mkdir()


def rows_of(project: Project) -> dict[str, int]:
    """How many rows each table has."""
    with project.database.reader() as session:
        tables = Base.metadata.sorted_tables
        return {one.name: session.scalar(select(func.count()).select_from(one)) for one in tables}


def test_a_restored_server_knows_and_does_what_the_lost_one_did(
    tmp_path: Path,
    settings: Settings,
    taxonomy: Taxonomy,
    tiny_pool: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (back_up, restore) = commands("Back-ups")
    dumps = tmp_path / "dumps"
    dumps.mkdir()
    picture = next(tiny_pool.rglob("*.png"))
    with empty_server() as server:
        use(server, tmp_path / "lost" / "project", monkeypatch)
        project = Project.create(tmp_path / "lost" / "project", settings, taxonomy)
        ingest(project, tiny_pool, truth="folders")
        embed_pool(project)
        go_round(project)
        with project.database.session() as session:
            token = create(session, Role.ENGINEER).token
        secret, rows = project.secret("webhook"), rows_of(project)
        guess = project_predictor(project).predict([str(picture)])
        with psycopg.connect(as_label_studio(server), autocommit=True) as connection:
            connection.execute("CREATE EXTENSION pg_trgm")  # as its migrations do
            connection.execute("CREATE TABLE account AS SELECT 'ada' AS name")
        carry_out(back_up, server, dumps, project.directory)
        project.database.engine.dispose()
    assert {path.stat().st_mode & 0o777 for path in dumps.iterdir()} == {0o600}

    with empty_server() as server:
        directory = tmp_path / "restored" / "project"
        use(server, directory, monkeypatch)
        directory.mkdir()
        carry_out(restore, server, dumps, directory)
        project = Project(directory)
        assert rows_of(project) == rows
        assert rows["annotations"] == 8  # 4 of the audit set and a batch of 4
        assert project.secret("webhook") == secret
        assert project.secrets_file.stat().st_mode & 0o777 == 0o600
        with project.database.session() as session:
            assert identify(session, token) is not None
        assert not project.bottlenecks.exists()
        assert project_predictor(project).predict([str(picture)]) == guess
        embed_pool(project)
        go_round(project)
        with project.database.reader() as session:
            assert session.scalar(select(func.count()).select_from(AnnotationRow)) == 16
        with psycopg.connect(as_label_studio(server)) as connection:
            assert connection.execute("SELECT name FROM account").fetchall() == [("ada",)]
        project.database.engine.dispose()


def as_label_studio(server: Postgres) -> str:
    return f"postgresql://label_studio@127.0.0.1:{server.port}/label_studio"
