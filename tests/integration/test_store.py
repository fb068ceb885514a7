"""The database: its schema, its transactions, and what it says when it cannot be opened."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
import os
from pathlib import Path
import subprocess
import time

from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
import psycopg
import pytest
from sqlalchemy import func, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from atlas.errors import DiskFull, ProjectError, SettingsError
from atlas.project import Project
from atlas.settings import Settings
from atlas.store.database import Database
from atlas.store.tables import Base, Image, Meta, ModelRow, QueryRow, Round
from atlas.taxonomy import Taxonomy
from tests.servers import Postgres


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    opened = Database(store_url)
    yield opened
    opened.engine.dispose()


def count(database: Database) -> int:
    with database.reader() as session:
        return session.scalar(select(func.count()).select_from(Meta)) or 0


def test_an_empty_database_gets_every_table(database: Database) -> None:
    found = set(inspect(database.engine).get_table_names())
    assert found == {*Base.metadata.tables, "alembic_version"}


def test_the_migrations_make_what_the_tables_say(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"render_as_batch": True})
        assert compare_metadata(context, Base.metadata) == []


def test_opening_again_keeps_what_is_there(database: Database) -> None:
    with database.session() as session:
        session.add(Meta(key="a", value="1"))
    again = Database(database.url)
    assert count(again) == 1
    again.engine.dispose()


def test_many_processes_may_open_a_new_database_at_once(store_url: str) -> None:
    with ThreadPoolExecutor(6) as threads:
        opened = list(threads.map(lambda _: Database(store_url), range(6)))
    assert [count(one) for one in opened] == [0] * 6
    for one in opened:
        one.engine.dispose()


def test_a_database_from_a_newer_atlas(database: Database) -> None:
    with database.session() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ProjectError, match="newer Atlas .*'9999'.* upgrade Atlas"):
        Database(database.url)


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "magic://host/name",
        "mysql://user:geheim@host/name",
        "sqlite:////no/such/folder/atlas.db",
        "postgresql+psycopg://user:geheim@127.0.0.1:1/atlas",
    ],
)
def test_a_database_that_cannot_be_opened(url: str) -> None:
    with pytest.raises(SettingsError, match=r"cannot open the database .*mend store.url") as caught:
        Database(url)
    assert "geheim" not in str(caught.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "atlas.db").write_bytes(b"no database at all " * 100)
    with pytest.raises(SettingsError, match="cannot open the database .*not a database"):
        Database(f"sqlite:///{tmp_path / 'atlas.db'}")


def test_a_project_whose_database_cannot_be_opened_is_not_made(
    tmp_path: Path, taxonomy: Taxonomy
) -> None:
    wrong = Settings.model_validate({"store": {"url": "sqlite:////no/such/folder/atlas.db"}})
    with pytest.raises(SettingsError):
        Project.create(tmp_path / "p", wrong, taxonomy)
    Project.create(tmp_path / "p", Settings(), taxonomy)  # nothing is in the way


def test_an_exception_undoes_all_of_a_session(database: Database) -> None:
    with pytest.raises(RuntimeError), database.session() as session:
        session.add(Meta(key="a", value="1"))
        session.flush()
        raise RuntimeError
    assert count(database) == 0


def test_a_reader_sees_one_moment_and_blocks_no_writer(database: Database) -> None:
    with database.reader() as reader:
        assert reader.scalar(select(func.count()).select_from(Meta)) == 0
        with database.session() as writer:
            writer.add(Meta(key="a", value="1"))
        assert reader.scalar(select(func.count()).select_from(Meta)) == 0
    assert count(database) == 1


def test_writers_queue_up(database: Database) -> None:
    """Read, then write: in SQLite's own mode most of these would fail with "locked"."""
    with database.session() as session:
        session.add(Meta(key="n", value="0"))

    def increment(_: int) -> None:
        with database.session() as session:
            row = session.get_one(Meta, "n")
            row.value = str(int(row.value) + 1)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(increment, range(80)))
    with database.reader() as session:
        assert session.get_one(Meta, "n").value == "80"


def test_times_keep_their_moment(database: Database) -> None:
    there = datetime(2026, 3, 1, 23, 30, 0, 123456, tzinfo=timezone(timedelta(hours=-5)))
    with database.session() as session:
        session.add(Round(number=1, state="open", sampler="x", steps=["chosen"], opened_at=there))
    with database.reader() as session:
        row = session.get_one(Round, 1)
    assert row.opened_at == there
    assert row.opened_at.tzinfo == UTC
    assert row.steps == ["chosen"]


def test_what_is_no_number_becomes_null(database: Database) -> None:
    metrics = {"p": float("nan"), "of": [1.5, float("inf")], "at": {"x": float("-inf"), "n": 3}}
    with database.session() as session:
        session.add(ModelRow(id="m", head="tree", fingerprint="f", labels=1, metrics=metrics))
    with database.reader() as session:
        kept = session.get_one(ModelRow, "m").metrics
    assert kept == {"p": None, "of": [1.5, None], "at": {"x": None, "n": 3}}


def test_a_time_without_a_zone_is_a_mistake(database: Database) -> None:
    with (
        pytest.raises(StatementError, match="has no time zone"),
        database.session() as session,
    ):
        session.add(
            Round(number=1, state="open", sampler="x", steps=[], opened_at=datetime(2026, 1, 1))
        )


def test_a_query_needs_its_image_and_its_round(database: Database) -> None:
    query = {"kind": "query", "state": "chosen", "priority": 0, "score": 0.0, "reason": ""}
    with pytest.raises(IntegrityError, match="(?i)foreign key"), database.session() as session:
        session.add(
            QueryRow(uid="q", round_number=1, image_id="img_0", guess={}, confidence={}, **query)
        )


def test_one_image_is_asked_about_once_a_round(database: Database) -> None:
    query = {"kind": "query", "state": "chosen", "priority": 0, "score": 0.0, "reason": ""}
    with pytest.raises(IntegrityError, match="(?i)unique"), database.session() as session:
        session.add(Round(number=1, state="open", sampler="x", steps=[]))
        session.add(_image())
        session.flush()
        for uid in ("a", "b"):
            session.add(
                QueryRow(
                    uid=uid, round_number=1, image_id="img_0", guess={}, confidence={}, **query
                )
            )


def test_a_writer_waits_for_another_one_and_readers_do_not(database: Database) -> None:
    order = []

    def write() -> None:
        with database.session() as session:
            session.add(Meta(key="b", value="2"))
            session.flush()  # a transaction begins with its first statement
            order.append("second")

    with ThreadPoolExecutor(1) as thread:
        with database.session() as session:
            session.add(Meta(key="a", value="1"))
            session.flush()
            waiting = thread.submit(write)
            assert count(database) == 0
            time.sleep(0.3)
            order.append("first")
        waiting.result(timeout=10.0)
    assert order == ["first", "second"]
    assert count(database) == 2


def test_a_reader_of_postgresql_cannot_write(postgres: Postgres) -> None:
    database = Database(postgres.new_database())
    with database.reader() as session, pytest.raises(DBAPIError, match="read-only"):
        session.add(Meta(key="a", value="1"))
        session.flush()
    database.engine.dispose()


def test_postgresql_restarts_between_two_transactions(postgres: Postgres) -> None:
    database = Database(postgres.new_database())
    with database.session() as session:
        session.add(Meta(key="a", value="1"))
    postgres.stop()
    postgres.start()
    assert count(database) == 1
    database.engine.dispose()


@pytest.fixture
def small_space(postgres: Postgres, small_disk: Callable[[int], Path]) -> Iterator[str]:
    """A tablespace of 8 MB; gives its name."""
    folder = postgres.folder / "small"  # pytest's own folders are for their owner alone
    folder.mkdir()
    subprocess.run(["mount", "--bind", str(small_disk(8192)), str(folder)], check=True)
    postgres.own(folder)
    try:
        with psycopg.connect(postgres.plain_url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{folder}'")  # type: ignore[arg-type]
            yield "small"
            connection.execute("DROP TABLESPACE small")
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_no_room_for_postgresql(postgres: Postgres, small_space: str) -> None:
    url = postgres.new_database()
    database = Database(f"{url}?options=-cdefault_tablespace%3D{small_space}")
    with pytest.raises(DiskFull, match="no space left for the database postgresql"):
        for number in range(300):
            with database.session() as session:
                session.add(Meta(key=str(number), value=os.urandom(60_000).hex()))
    assert count(database) > 0
    database.engine.dispose()
    with psycopg.connect(postgres.plain_url("postgres"), autocommit=True) as connection:
        name = url.rpartition("/")[2]
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]


def test_a_full_disk(small_disk: Callable[[int], Path]) -> None:
    disk = small_disk(1024)
    database = Database(f"sqlite:///{disk / 'atlas.db'}")
    with pytest.raises(DiskFull, match="no space left for the database"):
        for number in range(100):
            with database.session() as session:
                session.add(Meta(key=str(number), value="x" * 50_000))
    kept = count(database)
    assert 0 < kept < 100
    small_disk(8192)
    with database.session() as session:
        session.add(Meta(key="again", value="y"))
    assert count(database) == kept + 1
    database.engine.dispose()


def _image() -> Image:
    return Image(
        id="img_0",
        sha256="0" * 64,
        location="0.png",
        split="pool",
        width=1,
        height=1,
        details={},
        truth={},
    )
