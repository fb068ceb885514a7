"""Opens the database, brings its schema up to date, hands out sessions.

On SQLite and on PostgreSQL alike one transaction writes at a time and waits for its turn, and a
reader sees one moment. So "read, then write" needs no lock of its own anywhere else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from atlas.errors import DiskFull, ProjectError, SettingsError

BUSY_TIMEOUT_S = 30.0
CONNECT_TIMEOUT_S = 10
# A writer whose machine vanished in the middle holds the others back for so long.
SILENT_WRITER_S = 60
WRITER = 1_098_148_211  # "Atls" in ASCII: the first key of PostgreSQL's lock for writers
NO_ROOM = ("database or disk is full", "No space left on device")


class Database:
    """A migrated database.

    Args:
        url: an SQLAlchemy URL, of SQLite or PostgreSQL (`postgresql+psycopg://…`).

    Raises:
        ProjectError: the schema is newer than this Atlas.
        SettingsError: the URL is malformed or nothing answers there.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.engine = _engine(url)
            self._open()
        except (ArgumentError, DatabaseError, ImportError) as error:
            said = " ".join(str(error.args[0]).split())
            raise SettingsError(
                f"cannot open the database {shown(url)}: {said}; mend store.url"
            ) from error
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._readers = sessionmaker(self._reading_engine())

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session that commits at the end of the block, or undoes all of it.

        Raises:
            DiskFull: the database had no room to write.
        """
        with self._sessions() as session:
            try:
                with session.begin():
                    yield session
            except OperationalError as error:
                if any(said in str(error) for said in NO_ROOM):
                    raise DiskFull(
                        f"no space left for the database {shown(self.url)}; "
                        "free some room and repeat"
                    ) from error
                raise

    @contextmanager
    def reader(self) -> Iterator[Session]:
        """A session that sees one moment of the database and blocks no writer."""
        with self._readers() as session:
            yield session

    def _reading_engine(self) -> Engine:
        if self.engine.dialect.name == "sqlite":
            return self.engine.execution_options(reading=True)
        # PostgreSQL shows each statement the newest rows unless asked for one moment.
        return self.engine.execution_options(
            reading=True, isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    def _open(self) -> None:
        try:
            self._migrate()
        except Exception:
            self.engine.dispose()
            raise

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        scripts = ScriptDirectory.from_config(config)
        with self._reading_engine().connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        if current == scripts.get_current_head():
            return
        if current is not None:
            try:
                scripts.get_revision(current)
            except CommandError as error:
                raise ProjectError(
                    f"this project was last used with a newer Atlas (its database is at "
                    f"{current!r}, this Atlas knows up to {scripts.get_current_head()!r}); "
                    "upgrade Atlas"
                ) from error
        with self.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def shown(url: str) -> str:
    """The URL without its password."""
    try:
        return make_url(url).render_as_string()
    except ArgumentError:
        return url.rpartition("@")[2]


def _engine(text: str) -> Engine:
    url = make_url(text)
    if url.get_backend_name() == "sqlite":
        return _sqlite(url)
    if url.get_backend_name() == "postgresql":
        return _postgresql(url)
    raise ArgumentError(
        f"{url.get_backend_name()} is not known here; sqlite:///… or postgresql+psycopg://… is"
    )


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # sqlite3 itself begins nothing; the hook below does
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin_immediate(connection: Connection) -> None:
        # A read that later writes fails at once with "locked" in SQLite's deferred mode,
        # whatever the timeout; taking the write lock first makes writers queue instead.
        connection.exec_driver_sql("BEGIN" if _is_reading(connection) else "BEGIN IMMEDIATE")

    return engine


def _postgresql(url: URL) -> Engine:
    # A connection that the server closed (it restarted) is noticed and replaced before its use.
    engine = create_engine(
        url, pool_pre_ping=True, connect_args={"connect_timeout": CONNECT_TIMEOUT_S}
    )

    @event.listens_for(engine, "begin")
    def wait_for_the_writer(connection: Connection) -> None:
        # By itself PostgreSQL lets two transactions read the same rows, then write both, and
        # fails at the second insert or loses the first update. The lock goes with the transaction.
        if not _is_reading(connection):
            connection.exec_driver_sql(
                f"SET LOCAL lock_timeout = '{BUSY_TIMEOUT_S:.0f}s';"
                f"SET LOCAL idle_in_transaction_session_timeout = '{SILENT_WRITER_S}s';"
                f"SELECT pg_advisory_xact_lock({WRITER}, hashtext(current_schema()))"
            )

    return engine


def _is_reading(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("reading", False))
