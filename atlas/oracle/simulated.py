"""An oracle that answers at once with the truth that folders or a manifest told."""

from collections.abc import Sequence

from sqlalchemy import select

from atlas.errors import OracleRefused
from atlas.project import Project
from atlas.store.tables import Image, QueryRow
from atlas.types import Annotation, Query, utc_now


class SimulatedOracle:
    """Knows the answer to every query whose image came with truth.

    Args:
        project: whose images.
    """

    name = "simulated"

    def __init__(self, project: Project) -> None:
        self.project = project

    def check(self) -> None:
        """Raise `OracleRefused` where no image came with truth."""
        with self.project.database.reader() as session:
            if not any(session.scalars(select(Image.truth))):
                raise OracleRefused(
                    "the simulated oracle needs the truth; ingest with --truth folders"
                )

    def push(self, queries: Sequence[Query]) -> dict[str, str]:
        """Every query is answerable as it is."""
        return {query.uid: query.uid for query in queries}

    def collect(self, uids: Sequence[str]) -> list[Annotation]:
        """One annotation a waiting query; a query without truth is skipped."""
        wanted = set(uids)
        with self.project.database.reader() as session:
            rows = session.execute(
                select(QueryRow.uid, Image.truth)
                .join(Image, Image.id == QueryRow.image_id)
                .where(QueryRow.state == "pushed")
            ).all()
        return [
            Annotation(
                external_id=f"sim:{row.uid}",
                query_uid=row.uid,
                event="submitted" if row.truth else "skipped",
                updated_at=utc_now(),
                values=row.truth,
                annotator="simulated",
            )
            for row in rows
            if row.uid in wanted
        ]
