"""Label Studio's JSON → annotations: one reading, whether it came by webhook or by asking."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
import math
from typing import Any

import structlog

from atlas.errors import TaxonomyError
from atlas.oracle._regions import value_of
from atlas.store.tables import AnnotationRow
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL, Annotation, AnnotationEvent, Prefill

# What a webhook tells of.
GIVEN = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")
GONE = "ANNOTATIONS_DELETED"

log = structlog.get_logger(__name__)

Json = Mapping[str, Any]


def external_id(annotation_id: object) -> str:
    """The name of a Label Studio annotation in Atlas's database."""
    return f"ls:{annotation_id}"


class AnswerReader:
    """Reads answers against a taxonomy.

    Label Studio checks neither values nor control names, so anything may come. What is no label
    of the taxonomy is left out and logged; an answer of which nothing is left counts as skipped,
    since otherwise its round would wait for it for ever.

    Attributes:
        unusable: how many values were left out so far.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self.unusable = 0

    def read(self, answer: Json, uid: str) -> Annotation | None:
        """The annotation that `answer` (of a webhook or an export) is, or None for no answer."""
        try:
            values, origins = self._values(answer, uid)
            event: AnnotationEvent = "submitted" if values else "skipped"
            if answer.get("was_cancelled"):
                values, event = {}, "skipped"
            return Annotation(
                external_id=external_id(_number(answer["id"])),
                query_uid=uid,
                event=event,
                updated_at=_time(answer["updated_at"]),
                values=values,
                annotator=f"ls:{_person(answer.get('completed_by'))}",
                lead_time_s=_seconds(answer.get("lead_time")),
                prefill=_prefill(origins) if values else "none",
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            self._report(uid, answer, f"{type(error).__name__}: {error}")
            return None

    def _values(self, answer: Json, uid: str) -> tuple[dict[str, str], list[str]]:
        values: dict[str, str] = {}
        origins: list[str] = []
        for region in answer.get("result") or []:
            try:
                task = region["from_name"]
                value = value_of(region, self.taxonomy)
                self.taxonomy.check({task: value})
            except (KeyError, TypeError, ValueError, TaxonomyError) as error:
                self._report(uid, answer, f"{type(error).__name__}: {error}")
                continue
            values[task] = value
            origins.append(str(region.get("origin", "")))
        if values and LABEL not in values:
            self._report(uid, answer, "no choice of the taxonomy among the values")
        return values, origins

    def _report(self, uid: str, answer: Json, problem: str) -> None:
        self.unusable += 1
        log.warning(
            "unusable answer of Label Studio",
            query=uid,
            annotation=answer.get("id"),
            problem=problem,
        )


def deletion(known: AnnotationRow) -> Annotation:
    """The annotation that says that the answer `known` is gone.

    Label Studio tells no time of a deletion; the instant after the last version known makes the
    same record whoever notices it first.
    """
    later = timedelta(microseconds=0 if known.event == "deleted" else 1)
    return Annotation(
        external_id=known.external_id,
        query_uid=known.query_uid,
        event="deleted",
        updated_at=known.updated_at + later,
        annotator=known.annotator,
    )


def _person(completed_by: Any) -> int | None:
    said = completed_by["id"] if isinstance(completed_by, Mapping) else completed_by
    return None if said is None else _number(said)


def _number(said: object) -> int:
    """An id of Label Studio; any other text might be one that no database takes."""
    if not isinstance(said, int) or not 0 <= said < 2**63:
        raise ValueError(f"{said!r:.80} is no id of Label Studio, which is a number")
    return said


def _time(said: str) -> datetime:
    found = datetime.fromisoformat(said)
    if found.tzinfo is None:
        raise ValueError(f"{said} has no time zone")
    return found.astimezone(UTC)


def _seconds(said: Any) -> float | None:
    if said is None:
        return None
    if not math.isfinite(seconds := float(said)):
        raise ValueError(f"{said} are no seconds")
    return seconds


def _prefill(origins: list[str]) -> Prefill:
    if not any(origin.startswith("prediction") for origin in origins):
        return "none"
    return "accepted" if set(origins) == {"prediction"} else "changed"
