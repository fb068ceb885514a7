"""People answer queries in Label Studio."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeGuard

from sqlalchemy import select

from atlas.chunks import chunks
from atlas.errors import OracleError, OracleUnreachable
from atlas.oracle import _push, _watermark
from atlas.oracle._answers import GIVEN, GONE, AnswerReader, deletion, external_id
from atlas.oracle._connection import Connection, connection
from atlas.oracle._door import door
from atlas.project import Project
from atlas.store.tables import AnnotationRow
from atlas.types import Annotation, Query

if TYPE_CHECKING:
    from atlas.oracle._label_studio_api import LabelStudioApi

FEW = 200
"""Up to so many queries are asked about one by one."""


class LabelStudioOracle:
    """Queries are tasks of one Label Studio project; annotations there are the answers.

    Args:
        project: says which server, holds the pictures' folder and what is known already.

    Attributes:
        unusable: how many values came that are not in the taxonomy (each is logged).
    """

    name = "label_studio"

    def __init__(self, project: Project) -> None:
        self.project = project
        self._reader = AnswerReader(project.taxonomy)

    @property
    def unusable(self) -> int:
        """How many values were left out so far."""
        return self._reader.unusable

    @cached_property
    def connection(self) -> Connection:
        """Which server; raises `OracleUnreachable` or `SettingsError`."""
        return connection(self.project)

    def check(self) -> None:
        """Raise unless Label Studio answers and takes the token.

        Raises:
            OracleUnreachable: nothing answers.
            OracleRefused: the token is refused.
        """
        self._api.who_am_i()

    def setup(self, *, webhook_url: str) -> int:
        """Find or make the Label Studio project and bring all of it up to date.

        Args:
            webhook_url: where Label Studio sends what annotators do, with a secret header.

        Returns:
            The Label Studio project id.

        Raises:
            OracleError: unreachable, or it refused something.
        """
        from atlas.oracle._setup import set_up

        self._api.who_am_i()
        return set_up(self.project, self._api, webhook_url)

    def push(self, queries: Sequence[Query]) -> dict[str, str]:
        """One task a query, in order of priority, with the model's guess; no task twice.

        Returns:
            Query uid → task id.

        Raises:
            OracleError: it may or may not have happened; repeat it.
            ImageError: a picture cannot be read; nothing is pushed.
        """
        if not queries:
            return {}
        version = _push.model_version(self.project, queries)
        present = self._task_ids(queries)
        missing = [query for query in queries if query.uid not in present]
        if missing:
            tasks = [_push.task(self.project, query, version) for query in _push.in_order(missing)]
            try:
                self._api.import_tasks(self._project_id, tasks)
            except OracleUnreachable:
                # The answer may be lost after the tasks are in; asking again tells.
                if len(self._task_ids(missing)) < len(missing):
                    raise
            present = self._task_ids(queries)
        lost = sorted(query.uid for query in queries if query.uid not in present)
        if lost:
            raise OracleError(
                f"Label Studio took {len(queries)} tasks but does not list {len(lost)} of them "
                f"({', '.join(lost[:3])} …); repeat the push"
            )
        self._ask_several(queries)
        self._show_guesses(version)
        return present

    def collect(self, uids: Sequence[str]) -> list[Annotation]:
        """The answers to these queries as they are now, and the known ones that are gone.

        Of many queries only those are read that changed since what is known; see `_watermark`.

        Raises:
            OracleError: unreachable, or the Label Studio project is gone.
        """
        if len(uids) <= FEW:
            # First what is known, then what is there: an answer that arrives in between must not
            # look like one that was deleted.
            known = self._known(AnnotationRow.query_uid, uids)
            tasks = self._api.tasks(self._project_id, uids)
            return _flatten(self._compare(tasks, known))
        return self._collect_changes(uids)

    def _collect_changes(self, uids: Sequence[str]) -> list[Annotation]:
        mark = _watermark.load(self.project, self._project_id)
        known = self._known(AnnotationRow.query_uid, uids)
        wanted = set(uids)
        tasks = [
            task
            for task in self._api.changed_tasks(self._project_id, mark.since)
            if task["data"].get("uid") in wanted
        ]
        if mark.since is not None:  # of the others nothing was asked, so nothing of them is gone
            changed = {_uid(task) for task in tasks}
            known = {key: row for key, row in known.items() if row.query_uid in changed}
        found = self._compare(tasks, known)
        versions = {(row.external_id, row.event, row.updated_at) for row in known.values()}
        times = [
            (
                _time(task["updated_at"]),
                all((a.external_id, a.event, a.updated_at) in versions for a in found[_uid(task)]),
            )
            for task in tasks
        ]
        _watermark.save(self.project, mark.moved(times))
        return _flatten(found)

    def _compare(
        self, tasks: Sequence[Mapping[str, Any]], known: Mapping[str, AnnotationRow]
    ) -> dict[str, list[Annotation]]:
        """Query uid → what stands in Label Studio, and what of the known is gone from it."""
        answered_here = {row.query_uid for row in known.values()}
        answered = [
            int(task["id"])
            for task in tasks
            if task["total_annotations"]
            or task["cancelled_annotations"]
            or _uid(task) in answered_here
        ]
        found: dict[str, list[Annotation]] = defaultdict(list)
        standing: set[str] = set()
        for task in self._api.export(self._project_id, answered):
            for answer in task["annotations"]:
                standing.add(external_id(answer["id"]))
                annotation = self._reader.read(answer, _uid(task))
                if annotation is not None:
                    found[_uid(task)].append(annotation)
        for row in known.values():
            if row.external_id not in standing:
                found[row.query_uid].append(deletion(row))
        return found

    def parse_webhook(self, payload: Mapping[str, Any]) -> list[Annotation]:
        """What one webhook call says, as the same records that `collect` gives.

        Calls about other things, other projects or tasks that are not Atlas's give none.
        """
        action = payload.get("action")
        if action == GONE:
            ids = [external_id(item.get("id")) for item in payload.get("annotations") or []]
            return [deletion(row) for row in self._known(AnnotationRow.external_id, ids).values()]
        if action not in GIVEN:
            return []
        uid = ((payload.get("task") or {}).get("data") or {}).get("uid")
        answer = payload.get("annotation")
        if not _is_uid(uid) or not isinstance(answer, Mapping):
            return []
        annotation = self._reader.read(answer, uid)
        return [annotation] if annotation is not None else []

    def labelling_url(self) -> str:
        """Where annotators start; the order and the locks hold there."""
        return door(self.project, self.connection.url, self._project_id)

    @cached_property
    def _api(self) -> "LabelStudioApi":
        from atlas.oracle._label_studio_api import LabelStudioApi  # a second to import

        there = self.connection
        return LabelStudioApi(there.url, there.token, managed=there.managed)

    @cached_property
    def _project_id(self) -> int:
        from atlas.oracle._setup import find_project

        found = find_project(self.project, self._api)
        if found is None:
            raise OracleError(
                f"Label Studio at {self.connection.url} has no project for "
                f"{self.project.directory}; `atlas up` makes it"
            )
        return int(found["id"])

    def _task_ids(self, queries: Sequence[Query]) -> dict[str, str]:
        tasks = self._api.tasks(self._project_id, [query.uid for query in queries])
        return {_uid(task): str(task["id"]) for task in _push.without_twins(self._api, tasks)}

    def _ask_several(self, queries: Sequence[Query]) -> None:
        # Task by task: with more than one for the whole project the server would draw among the
        # tasks that others have begun.
        several = {query.uid: query.overlap for query in queries if query.overlap > 1}
        for task in self._api.tasks(self._project_id, list(several)):
            self._api.ask_people(
                int(task["id"]), several[_uid(task)], answers=_push.answers_to(task)
            )

    def _show_guesses(self, version: str) -> None:
        project = self._api.project(self._project_id)
        if project is not None and (project["model_version"] or "") < version:
            self._api.update_project(self._project_id, model_version=version)

    def _known(self, column: Any, values: Sequence[str]) -> dict[str, AnnotationRow]:
        """External id → its latest version in the database."""
        latest: dict[str, AnnotationRow] = {}
        with self.project.database.reader() as session:
            for chunk in chunks(values):
                rows = session.scalars(
                    select(AnnotationRow)
                    .where(column.in_(chunk))
                    .where(AnnotationRow.external_id.startswith("ls:"))
                    .order_by(AnnotationRow.updated_at, AnnotationRow.id)
                )
                for row in rows:
                    if row.external_id not in latest or latest[row.external_id].event != "deleted":
                        latest[row.external_id] = row
            session.expunge_all()
        return latest


def _flatten(found: Mapping[str, list[Annotation]]) -> list[Annotation]:
    """All annotations, query by query."""
    return [annotation for annotations in found.values() for annotation in annotations]


def _time(value: datetime | str) -> datetime:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def _is_uid(said: object) -> TypeGuard[str]:
    """Whether a query may be called so; not every text may be looked for in a database."""
    return isinstance(said, str) and said.isascii() and said.isprintable()


def _uid(task: Mapping[str, Any]) -> str:
    return str(task["data"]["uid"])
