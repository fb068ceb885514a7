"""A database that an older Atlas filled opens in this one, with everything in it."""

from datetime import UTC, datetime
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

import atlas.store
from atlas.store.database import Database, _engine
from atlas.store.tables import AnnotationRow, QueryRow

NOW = datetime(2026, 11, 21, tzinfo=UTC)

FILLED = [
    "INSERT INTO images (id, sha256, location, split, width, height, details, truth, added_at)"
    " VALUES ('i1', 'a', 'a.png', 'pool', 8, 8, '{}', '{}', :now),"
    " ('i2', 'b', 'b.png', 'audit', 8, 8, '{}', '{}', :now)",
    "INSERT INTO rounds (number, state, sampler, note, steps, opened_at, labels)"
    " VALUES (1, 'open', 'margin', '', '[]', :now, 0)",
    "INSERT INTO queries (uid, round_number, image_id, kind, state, priority, score, reason,"
    " guess, confidence) VALUES ('q1', 1, 'i1', 'query', 'answered', 1, 0.5, '', '{}', '{}'),"
    " ('q2', 1, 'i2', 'audit', 'pushed', 2, 0, '', '{}', '{}')",
    'INSERT INTO annotations (id, external_id, query_uid, image_id, event, "values", annotator,'
    " updated_at, received_at, received_by, prefill)"
    " VALUES (1, 'e1', 'q1', 'i1', 'created', '{}', 'p', :now, :now, 'poll', 'manual')",
]


def upgraded(url: str, revision: str) -> None:
    config = Config()
    folder = Path(atlas.store.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    engine = _engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        for statement in FILLED:
            connection.execute(text(statement), {"now": NOW})
    engine.dispose()


def test_a_database_with_answers_from_before_overlap_and_blind_queries(store_url: str) -> None:
    upgraded(store_url, "0004")
    database = Database(store_url)
    with database.reader() as session:
        query = session.get(QueryRow, "q1")
        assert query is not None
        assert (query.overlap, query.extra, query.surplus) == (1, False, 0)
        assert (query.blind, query.guess_by) == (False, "")
        assert session.get_one(QueryRow, "q2").blind  # audit images never had a guess
        assert session.get(AnnotationRow, 1) is not None
    database.engine.dispose()
