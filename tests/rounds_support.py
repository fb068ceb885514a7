"""What the tests of rounds share."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import select

from atlas.batches import Ask
from atlas.errors import (
    OracleUnreachable,
)
from atlas.labels import record
from atlas.oracle.simulated import SimulatedOracle
from atlas.project import Project
from atlas.round_state import is_complete
from atlas.rounds import (
    close_round,
    collect,
    open_round,
    push_round,
)
from atlas.store.tables import Image, QueryRow, Round
from atlas.types import Annotation, Query, utc_now


def go_round(project: Project, ask: Ask | None = None) -> str | None:
    """Open, push, answer everything, close."""
    oracle = SimulatedOracle(project)
    number = open_round(project, ask)
    push_round(project, oracle)
    collect(project, oracle)
    with project.database.reader() as session:
        assert is_complete(session, number)
    return close_round(project)


def queries(project: Project, number: int, kind: str = "query") -> list[QueryRow]:
    with project.database.reader() as session:
        found = select(QueryRow).where(QueryRow.round_number == number, QueryRow.kind == kind)
        return list(session.scalars(found.order_by(QueryRow.priority)))


def asked(project: Project, number: int) -> set[str]:
    return {row.image_id for row in queries(project, number)}


def round_row(project: Project, number: int) -> Round:
    with project.database.reader() as session:
        return session.get_one(Round, number)


def say(project: Project, rows: Sequence[QueryRow], event: str, **values: str) -> None:
    with project.database.session() as session:
        given = [
            Annotation(f"{event}-{row.uid}", row.uid, event, utc_now(), values)  # type: ignore[arg-type]
            for row in rows
        ]
        record(session, given, received_by="poll", taxonomy=project.taxonomy)


class Notes(SimulatedOracle):
    """Notes every push; may lose its answer on the way back."""

    def __init__(self, project: Project) -> None:
        super().__init__(project)
        self.pushed: list[list[Query]] = []
        self.answers_get_lost = False

    def push(self, queries: Sequence[Query]) -> dict[str, str]:
        self.pushed.append(list(queries))
        if self.answers_get_lost:
            raise OracleUnreachable("the answer got lost")
        return super().push(queries)


def location_of(project: Project, row: QueryRow) -> Path:
    with project.database.reader() as session:
        return Path(project.absolute(session.get_one(Image, row.image_id).location))


def crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
