"""Opens the database, brings its schema up to date, hands out sessions."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from atlas.errors import DiskFull, ProjectError, SettingsError

BUSY_TIMEOUT_S = 30.0


class Database:
    """A migrated database.

    Args:
        url: an SQLAlchemy URL.

    Raises:
        ProjectError: the schema is newer than this Atlas.
        SettingsError: the URL is malformed or nothing answers there.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.engine = _engine(url)
            self._migrate()
        except (ArgumentError, DatabaseError, ImportError) as error:
            raise SettingsError(
                f"cannot open the database {_shown(url)}: {error.args[0]}; mend store.url"
            ) from error
        self._sessions = sessionmaker(self.engine, expire_on_commit=False)
        self._readers = sessionmaker(self.engine.execution_options(reading=True))

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A session that commits at the end of the block, or undoes all of it.

        Raises:
            DiskFull: SQLite had no room to write.
        """
        with self._sessions() as session:
            try:
                with session.begin():
                    yield session
            except OperationalError as error:
                if "database or disk is full" in str(error):
                    raise DiskFull(
                        f"no space left for the database {self.url}; free some room and repeat"
                    ) from error
                raise

    @contextmanager
    def reader(self) -> Iterator[Session]:
        """A session that sees one moment of the database and blocks no writer."""
        with self._readers() as session:
            yield session

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        scripts = ScriptDirectory.from_config(config)
        with self.engine.connect() as connection:
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


def _shown(url: str) -> str:
    """The URL without its password."""
    try:
        return make_url(url).render_as_string()
    except ArgumentError:
        return url.rpartition("@")[2]


def _engine(url: str) -> Engine:
    if make_url(url).get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # sqlite3 itself begins nothing; the hook below does
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def begin_immediate(connection: Any) -> None:
        # A read that later writes fails at once with "locked" in SQLite's deferred mode,
        # whatever the timeout; taking the write lock first makes writers queue instead.
        reading = connection.get_execution_options().get("reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine
