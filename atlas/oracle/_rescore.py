"""A new order and new guesses for tasks that are in Label Studio already.

Every task gets a prediction under a new model version, then the project is told to show that
version: this one change is the moment at which order and guesses switch. A version that is no
longer shown stays a while: somebody may have a task open, and Label Studio refuses an answer whose
guess is gone.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from label_studio_sdk.core.api_error import ApiError

from atlas.errors import OracleError, OracleRefused, OracleUnreachable
from atlas.oracle._label_studio_api import LabelStudioApi
from atlas.oracle._regions import region
from atlas.oracle.label_studio import LabelStudioOracle
from atlas.queue_state import Place
from atlas.taxonomy import Taxonomy
from atlas.types import utc_now

OURS = "round "  # every version of Atlas begins so
KEPT = timedelta(hours=12)  # a task that is open for longer has to be loaded again

Json = dict[str, Any]


class LabelStudioQueue(LabelStudioOracle):
    """The oracle, and the order in which it asks."""

    def reorder(self, places: Sequence[Place], *, round_number: int, turn: int) -> None:
        """Ask in this order from now on and show these guesses, all at once.

        Tasks that somebody deleted by hand are passed over.

        Args:
            places: of every waiting query, without which it would come last.
            round_number: which round is open.
            turn: a number that was not used in this round.

        Raises:
            OracleError: it may or may not have happened; repeat it with the next turn.
        """
        if not places:
            return
        version = version_of(round_number, turn)
        taxonomy = self.project.taxonomy
        try:
            self._api.import_guesses(self._project_id, predictions(places, version, taxonomy))
        except (OracleUnreachable, OracleRefused):
            raise
        except OracleError:
            left = self._still_there(places)
            if not left or len(left) == len(places):
                raise
            version += " again"  # some guesses of the first may be in
            self._api.import_guesses(self._project_id, predictions(left, version, taxonomy))
        self._api.update_project(self._project_id, model_version=version)

    def tidy(self, *, now: datetime | None = None) -> int:
        """Delete the oldest version's guesses if it was replaced long ago; returns how many.

        It is slow: Label Studio takes longer to delete a prediction than to make ten.

        Raises:
            OracleError: unreachable, or the Label Studio project is gone.
        """
        project = self._api.project(self._project_id)
        shown = (project or {}).get("model_version") or ""
        before = (now or utc_now()) - KEPT
        old = sorted(
            version
            for version, latest in self._api.versions(self._project_id).items()
            if version.startswith(OURS) and version < shown and latest < before
        )
        return self._api.delete_version(self._project_id, old[0]) if old else 0

    @cached_property
    def _api(self) -> "GuessApi":
        there = self.connection
        return GuessApi(there.url, there.token, managed=there.managed)

    def _still_there(self, places: Sequence[Place]) -> list[Place]:
        tasks = self._api.tasks(self._project_id, [place.uid for place in places])
        present = {str(task["id"]) for task in tasks}
        return [place for place in places if place.task_id in present]


class GuessApi(LabelStudioApi):
    """The calls that are about predictions of tasks that are there."""

    def import_guesses(self, project_id: int, predictions: Sequence[Json]) -> None:
        """Add predictions to tasks; all of them, or on an error perhaps some."""
        with self._explained():
            answer = self._sdk.projects.import_predictions(project_id, request=list(predictions))
        if answer.created != len(predictions):
            raise OracleError(
                f"Label Studio at {self.url} took {answer.created} of {len(predictions)} guesses; "
                "look into its log"
            )

    def versions(self, project_id: int) -> dict[str, datetime]:
        """Model version → when its latest prediction was made."""
        found = self._call("GET", project_id, params={"extended": "true"})["static"]
        return {one["model_version"]: datetime.fromisoformat(one["latest"]) for one in found}

    def delete_version(self, project_id: int, version: str) -> int:
        """Delete a version's predictions; returns how many there were."""
        answer = self._call("DELETE", project_id, json={"model_version": version})
        return int(answer["deleted_predictions"])

    def _call(self, method: str, project_id: int, **content: Any) -> Any:
        """The SDK has no call for model versions, but it knows how to show the token."""
        with self._explained():
            answer = self._sdk._client_wrapper.httpx_client.request(
                f"api/projects/{project_id}/model-versions/", method=method, **content
            )
            if answer.is_error:
                raise ApiError(status_code=answer.status_code, body=answer.text)
            return answer.json()


def version_of(round_number: int, turn: int) -> str:
    """The name of a turn's guesses: later ones sort later, after those the round began with."""
    return f"{OURS}{round_number:05d}.{turn:05d}"


def predictions(places: Sequence[Place], version: str, taxonomy: Taxonomy) -> list[Json]:
    """Places, first asked first, as Label Studio's JSON.

    It asks for the lowest score first, and refuses scores above 1.
    """
    return [
        {
            "task": int(place.task_id),
            "model_version": version,
            "score": rank / len(places),
            "result": [region(name, value, taxonomy) for name, value in place.guess.items()],
        }
        for rank, place in enumerate(places)
    ]
