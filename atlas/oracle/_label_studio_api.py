"""The only door to `label_studio_sdk`: the few calls Atlas makes, in plain dicts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
import json
from typing import Any

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError
from pydantic import ValidationError

from atlas.chunks import chunks
from atlas.errors import OracleError, OracleRefused, OracleUnreachable

TIMEOUT_S = 60.0
LIST_CHUNK = 200  # uids in one URL
PAGE = 1000
EXPORT_CHUNK = 500  # Label Studio answers 400 from 1000 on
IMPORT_CHUNK = 500

Json = dict[str, Any]


class LabelStudioApi:
    """Label Studio at `url`, spoken to with `token` (a legacy token or a personal access token).

    Every call raises `OracleUnreachable` (no answer), `OracleRefused` (401, 403) or
    `OracleError` (any other refusal).
    """

    def __init__(self, url: str, token: str, *, managed: bool) -> None:
        self.url = url.rstrip("/")
        # The development server answers in two packets; on a kept-alive connection the second
        # waits 40 ms for an acknowledgement, on a fresh one it does not.
        limits = httpx.Limits(max_keepalive_connections=0)
        # A proxy of the environment cannot reach a server on this machine.
        self._http = httpx.Client(timeout=TIMEOUT_S, limits=limits, trust_env=not managed)
        with self._explained():
            # The SDK would repeat a POST whose answer was lost: that is how duplicates are made.
            self._sdk = LabelStudio(
                base_url=self.url, api_key=token, httpx_client=self._http, max_retries=0
            )

    def who_am_i(self) -> str:
        """The e-mail of the token's owner."""
        with self._explained():
            return str(self._sdk.users.whoami().email)

    def users(self) -> list[Json]:
        """id, first_name, last_name and email of everybody on the server."""
        with self._explained():
            return [_plain(user) for user in self._sdk.users.list()]

    def project(self, project_id: int) -> Json | None:
        """A project, or None where there is no such id."""
        try:
            with self._explained():
                return _plain(self._sdk.projects.get(project_id))
        except OracleError as error:
            if isinstance(error.__cause__, ApiError) and error.__cause__.status_code == 404:
                return None
            raise

    def projects(self) -> list[Json]:
        """Every project the token may see."""
        with self._explained():
            return [_plain(project) for project in self._sdk.projects.list()]

    def create_project(self, **fields: Any) -> Json:
        """A new project."""
        with self._explained():
            return _plain(self._sdk.projects.create(**fields))

    def update_project(self, project_id: int, **fields: Any) -> None:
        """Change fields of a project."""
        with self._explained():
            self._sdk.projects.update(project_id, **fields)

    def tasks(self, project_id: int, uids: Sequence[str]) -> list[Json]:
        """id, data, updated_at and annotation counters of the tasks with these `data.uid`."""
        found: list[Json] = []
        for chunk in chunks(uids, LIST_CHUNK):
            wanted = _filter("data.uid", "in_list", "List", chunk)
            found += self._listed(project_id, wanted)
        return found

    def changed_tasks(self, project_id: int, since: datetime | None) -> list[Json]:
        """The same of tasks that were made, answered, edited or skipped after `since` (None: all).

        A task counts as changed when an answer of it is deleted, too.
        """
        if since is None:
            return self._listed(project_id, {})
        # Any other format is answered with HTTP 500.
        moment = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        return self._listed(project_id, _filter("updated_at", "greater", "Datetime", moment))

    def _listed(self, project_id: int, query: Json) -> list[Json]:
        found: list[Json] = []
        for page in count(1):
            with self._explained():
                tasks = self._sdk.tasks.list(
                    project=project_id,
                    query=json.dumps(query),
                    include="id,data,updated_at,total_annotations,cancelled_annotations",
                    fields="task_only",
                    page=page,
                    page_size=PAGE,
                ).items
            found += [_plain(task) for task in tasks or []]
            # The SDK's own pager asks for one page more and takes its 404 for the end.
            if not tasks or len(tasks) < PAGE:
                return found
        raise AssertionError("count() does not end")

    def import_tasks(self, project_id: int, tasks: Sequence[Json]) -> None:
        """Add tasks with their predictions; all of them or, on an error, perhaps none."""
        for chunk in chunks(tasks, IMPORT_CHUNK):
            with self._explained():
                answer = self._sdk.projects.import_tasks(project_id, request=chunk)
            predictions = sum(len(task["predictions"]) for task in chunk)
            taken = (answer.task_count, answer.prediction_count)
            if taken != (len(chunk), predictions):
                raise OracleError(
                    f"Label Studio at {self.url} took {taken[0]} of {len(chunk)} tasks and "
                    f"{taken[1]} of {predictions} guesses; look into its log"
                )

    def ask_people(self, task_id: int, people: int, *, answers: int) -> None:
        """Let so many different people answer a task; it is open while fewer `answers` stand."""
        with self._explained():
            self._sdk.tasks.update(
                str(task_id),
                request_options={
                    "additional_body_parameters": {
                        "overlap": people,
                        "is_labeled": answers >= people,
                    }
                },
            )

    def delete_task(self, task_id: int) -> None:
        """Delete one task and what hangs on it."""
        with self._explained():
            self._sdk.tasks.delete(id=str(task_id))

    def export(self, project_id: int, task_ids: Sequence[int]) -> list[Json]:
        """The tasks with all their annotations, skipped ones included."""
        found: list[Json] = []
        for chunk in chunks(task_ids, EXPORT_CHUNK):
            with self._explained():
                content = self._sdk.projects.exports.download_sync(
                    project_id,
                    export_type="JSON",
                    request_options={"additional_query_parameters": {"ids[]": chunk}},
                )
                found += json.loads(b"".join(content))
        return found

    def views(self, project_id: int) -> list[Json]:
        """The tabs of the project's data manager."""
        with self._explained():
            return [_plain(view) for view in self._sdk.views.list(project=project_id)]

    def save_view(self, project_id: int, view_id: int | None, data: Json) -> None:
        """Add a tab, or change the one with that id."""
        with self._explained():
            if view_id is None:
                self._sdk.views.create(project=project_id, data=data)
            else:
                self._sdk.views.update(str(view_id), project=project_id, data=data)

    def storages(self, project_id: int) -> list[Json]:
        """The folders from which the project may show pictures."""
        with self._explained():
            return [_plain(s) for s in self._sdk.import_storage.local.list(project=project_id)]

    def create_storage(self, project_id: int, path: str, title: str) -> None:
        """Let the project show the pictures under `path`."""
        with self._explained():
            self._sdk.import_storage.local.create(
                project=project_id, path=path, title=title, use_blob_urls=True
            )

    def delete_storage(self, storage_id: int) -> None:
        """Forget a folder; its pictures stay."""
        with self._explained():
            self._sdk.import_storage.local.delete(storage_id)

    def webhooks(self, project_id: int) -> list[Json]:
        """The webhooks of the project."""
        with self._explained():
            return [_plain(hook) for hook in self._sdk.webhooks.list(project=str(project_id))]

    def create_webhook(self, project_id: int, fields: Json) -> None:
        """Add a webhook."""
        with self._explained():
            self._sdk.webhooks.create(project=project_id, **fields)

    def update_webhook(self, webhook_id: int, fields: Json) -> None:
        """Change a webhook; `fields` must hold the actions, or it falls silent."""
        with self._explained():
            self._sdk.webhooks.update(webhook_id, **fields)

    def delete_webhook(self, webhook_id: int) -> None:
        """Remove a webhook."""
        with self._explained():
            self._sdk.webhooks.delete(webhook_id)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except httpx.HTTPError as error:
            raise OracleUnreachable(
                f"no answer from Label Studio at {self.url} ({type(error).__name__}: {error}); "
                "start it with `atlas up DIR`, or mend label_studio.url"
            ) from error
        except ApiError as error:
            if error.status_code in (401, 403):
                raise OracleRefused(
                    f"Label Studio at {self.url} refused the token ({error.status_code}: "
                    f"{_detail(error)}); put a token of its Account & Settings page into "
                    "label_studio.token"
                ) from error
            raise OracleError(
                f"Label Studio at {self.url} answered {error.status_code}: {_detail(error)}"
            ) from error
        except (ValidationError, json.JSONDecodeError) as error:
            raise OracleError(
                f"what answers at {self.url} does not speak like Label Studio 1.23 ({error}); "
                "mend label_studio.url"
            ) from error


def _detail(error: ApiError) -> str:
    if not isinstance(error.body, dict):
        return str(error.body)[:200]
    wrong = error.body.get("validation_errors")
    return f"{error.body.get('detail', error.body)}{f' {wrong}' if wrong else ''}"


def _filter(column: str, operator: str, kind: str, value: Any) -> Json:
    condition = {
        "filter": f"filter:tasks:{column}",
        "operator": operator,
        "type": kind,
        "value": value,
    }
    return {"filters": {"conjunction": "and", "items": [condition]}}


def _plain(model: Any) -> Json:
    return dict(model.model_dump()) if hasattr(model, "model_dump") else dict(model)
