"""Queries as Label Studio tasks."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from atlas.errors import OracleError
from atlas.oracle._pictures import picture_url
from atlas.oracle._regions import region
from atlas.project import Project
from atlas.store.tables import QueryRow
from atlas.types import Query

if TYPE_CHECKING:
    from atlas.oracle._label_studio_api import LabelStudioApi

Json = dict[str, Any]


def model_version(project: Project, queries: Sequence[Query]) -> str:
    """The name under which the guesses of the queries' round are shown; later rounds sort later.

    Raises:
        OracleError: none of the queries is in the database.
    """
    with project.database.reader() as session:
        uids = [query.uid for query in queries[:500]]
        number = session.scalar(
            select(func.max(QueryRow.round_number)).where(QueryRow.uid.in_(uids))
        )
    if number is None:
        raise OracleError(f"query {queries[0].uid} belongs to no round; record it before the push")
    return f"round {number:05d}"


def in_order(queries: Sequence[Query]) -> list[Query]:
    """First asked first."""
    return sorted(queries, key=lambda query: query.priority)


def task(project: Project, query: Query, version: str) -> Json:
    """The task of a query."""
    return {
        "data": {
            "image": picture_url(project, query),
            "uid": query.uid,
            "image_id": query.image_id,
            "reason": reason(query),
        },
        "predictions": [
            {
                "model_version": version,
                "score": float(query.priority),  # Label Studio asks for the lowest score first
                "result": [
                    region(name, value, project.taxonomy) for name, value in query.guess.items()
                ],
            }
        ],
    }


def reason(query: Query) -> str:
    """The sentence beneath the picture: why this image was asked (ADR 7).

    The guess is not told here: it may change while the task waits, and this text cannot.
    """
    return f"Chosen by Atlas: {query.reason}" if query.reason else "Chosen by Atlas"


def without_twins(api: "LabelStudioApi", tasks: Sequence[Json]) -> list[Json]:
    """One task a query: of tasks with the same uid the oldest stays, if no other has an answer.

    Twins come from an import that was still under way when it was repeated.
    """
    by_uid: dict[str, list[Json]] = defaultdict(list)
    for task in tasks:
        by_uid[task["data"]["uid"]].append(task)
    kept = []
    for twins in by_uid.values():
        answered = [task for task in twins if answers_to(task)]
        keep = min(answered or twins, key=lambda task: int(task["id"]))
        kept.append(keep)
        for task in twins:
            if task is not keep and not answers_to(task):
                api.delete_task(int(task["id"]))
    return kept


def answers_to(task: Json) -> int:
    """How often a task was answered or skipped."""
    return int(task["total_annotations"]) + int(task["cancelled_annotations"])
