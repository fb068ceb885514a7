"""The tables. One database holds one project.

`annotations` and `promotions` are append-only; `labels` is what the annotations resolve to.
"""

from datetime import UTC, datetime
import math
from typing import Any

from sqlalchemy import JSON, DateTime, Float, ForeignKey, Index, Integer, String, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from atlas.types import utc_now


class UtcDateTime(TypeDecorator[datetime]):
    """A time in UTC: SQLite drops the zone, PostgreSQL gives its own, so it is put back."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store UTC; a time without a zone is a mistake in the caller."""
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class FiniteJson(TypeDecorator[Any]):
    """JSON; what is no number (NaN, infinity) is null in it, as PostgreSQL takes no other."""

    impl = JSON
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Replace what JSON cannot say."""
        return _finite(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


class Base(DeclarativeBase):
    """Parent of every table."""

    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: FiniteJson, list[str]: FiniteJson}


class Meta(Base):
    """Facts about the project as a whole, such as the audit threshold."""

    __tablename__ = "meta"
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str]


class Image(Base):
    """An image of the pool or of the audit set. `truth` serves simulations alone."""

    __tablename__ = "images"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64), unique=True)
    location: Mapped[str]
    split: Mapped[str] = mapped_column(String(8), index=True)  # pool | audit; -pool, -audit: lost
    width: Mapped[int]
    height: Mapped[int]
    details: Mapped[dict[str, Any]]
    truth: Mapped[dict[str, Any]]
    added_at: Mapped[datetime] = mapped_column(default=utc_now)


class LeftOut(Base):
    """A file that was found and not taken, with the reason."""

    __tablename__ = "left_out"
    location: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    seen_at: Mapped[datetime] = mapped_column(default=utc_now)


class Round(Base):
    """Query, annotate, train, evaluate. `steps` names what finished, so that repeating is safe."""

    __tablename__ = "rounds"
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    state: Mapped[str] = mapped_column(String(8), index=True)  # open | closed
    sampler: Mapped[str]
    note: Mapped[str] = mapped_column(default="")
    steps: Mapped[list[str]]
    opened_at: Mapped[datetime] = mapped_column(default=utc_now)
    pushed_at: Mapped[datetime | None]
    last_label_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    labels: Mapped[int] = mapped_column(default=0)
    model_id: Mapped[str | None] = mapped_column(String(32))
    label_to_queue_s: Mapped[float | None] = mapped_column(Float)


class QueryRow(Base):
    """An image sent to be labelled."""

    __tablename__ = "queries"
    uid: Mapped[str] = mapped_column(String(40), primary_key=True)
    round_number: Mapped[int] = mapped_column(ForeignKey("rounds.number"), index=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), index=True)
    kind: Mapped[str] = mapped_column(String(8))  # query | audit
    # chosen | pushed | disputed (one more is wanted, the oracle not told yet) | answered | skipped
    state: Mapped[str] = mapped_column(String(10), index=True)
    blind: Mapped[bool] = mapped_column(default=False)  # asked without a guess, as audit images
    priority: Mapped[int]
    score: Mapped[float]
    reason: Mapped[str]
    guess: Mapped[dict[str, Any]]
    # the model that made it, or "heads on 12 labels"; "": none was made, or nobody kept it
    guess_by: Mapped[str] = mapped_column(String(64), default="")
    confidence: Mapped[dict[str, Any]]
    task_id: Mapped[str | None] = mapped_column(String(32))
    overlap: Mapped[int] = mapped_column(default=1)  # people that are asked
    extra: Mapped[bool] = mapped_column(default=False)  # one of them because others disagreed
    surplus: Mapped[int] = mapped_column(default=0)  # people who answered unasked
    __table_args__ = (UniqueConstraint("round_number", "image_id"),)


class AnnotationRow(Base):
    """One version of one person's answer; rows are never changed."""

    __tablename__ = "annotations"
    id: Mapped[int] = mapped_column(primary_key=True)
    external_id: Mapped[str] = mapped_column(String(64))
    query_uid: Mapped[str] = mapped_column(ForeignKey("queries.uid"))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), index=True)
    event: Mapped[str] = mapped_column(String(10))
    values: Mapped[dict[str, Any]]
    annotator: Mapped[str]
    updated_at: Mapped[datetime]
    received_at: Mapped[datetime] = mapped_column(default=utc_now)
    received_by: Mapped[str] = mapped_column(String(10))  # webhook | poll | simulated
    lead_time_s: Mapped[float | None]
    prefill: Mapped[str] = mapped_column(String(10))
    __table_args__ = (UniqueConstraint("external_id", "event", "updated_at"),)


class PersonRow(Base):
    """What the oracle calls somebody who answers; annotations hold the id alone."""

    __tablename__ = "people"
    id: Mapped[str] = mapped_column(primary_key=True)  # as in AnnotationRow.annotator
    name: Mapped[str]


class LabelRow(Base):
    """What the annotations of an image resolve to, one row a task."""

    __tablename__ = "labels"
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), primary_key=True)
    task: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str]
    agreement: Mapped[float]
    annotations: Mapped[int]


class ModelRow(Base):
    """A registered model bundle."""

    __tablename__ = "models"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    round_number: Mapped[int | None]
    head: Mapped[str]
    fingerprint: Mapped[str]
    labels: Mapped[int]
    metrics: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=utc_now)


class Promotion(Base):
    """Which model answers from when on; the last row is the current one."""

    __tablename__ = "promotions"
    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"))
    reason: Mapped[str]
    promoted_at: Mapped[datetime] = mapped_column(default=utc_now)


class AccuracyRow(Base):
    """How many audit images a model got right at a level."""

    __tablename__ = "accuracies"
    model_id: Mapped[str] = mapped_column(ForeignKey("models.id"), primary_key=True)
    level: Mapped[str] = mapped_column(String(64), primary_key=True)
    correct: Mapped[int]
    n: Mapped[int]
    measured_at: Mapped[datetime] = mapped_column(default=utc_now)


class Job(Base):
    """What should be done; Celery only carries it out."""

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    key: Mapped[str] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(8))  # queued | running | done | failed | stopped
    arguments: Mapped[dict[str, Any]]
    progress: Mapped[dict[str, Any]]
    attempts: Mapped[int] = mapped_column(default=0)
    error: Mapped[str] = mapped_column(default="")
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    sent_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    stop_asked_at: Mapped[datetime | None]
    __table_args__ = (Index("ix_jobs_state_kind", "state", "kind"),)


class Lease(Base):
    """Who may train; it runs out by itself when its holder dies."""

    __tablename__ = "leases"
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    holder: Mapped[str] = mapped_column(String(64))
    expires_at: Mapped[datetime]


class TokenRow(Base):
    """Who may ask the web API for what. The secret itself is kept nowhere."""

    __tablename__ = "tokens"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str]
    role: Mapped[str] = mapped_column(String(20))
    sha256: Mapped[str] = mapped_column(String(64))  # of the secret
    created_at: Mapped[datetime] = mapped_column(default=utc_now)
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class ScheduleRow(Base):
    """When to train by itself; one row a kind, none where nobody asked for it."""

    __tablename__ = "schedules"
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)  # heads | finetune
    content: Mapped[dict[str, Any]]
    set_at: Mapped[datetime]


class DecisionRow(Base):
    """Why a schedule trained or did not; a row only where that changed."""

    __tablename__ = "decisions"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    at: Mapped[datetime]
    run: Mapped[bool]
    reason: Mapped[str]
    labels: Mapped[int]  # labelled pool images then
    __table_args__ = (Index("ix_decisions_kind_run", "kind", "run"),)


class ReminderRow(Base):
    """An answer to a time of the reminders' schedule: told, or why not."""

    __tablename__ = "reminders"
    id: Mapped[int] = mapped_column(primary_key=True)
    occasion: Mapped[datetime] = mapped_column(unique=True)  # of several schedulers one answers
    at: Mapped[datetime]
    send: Mapped[bool]
    reason: Mapped[str]
    waiting: Mapped[int]  # images then
    deliveries: Mapped[dict[str, Any]]  # channel → "delivered", or what went wrong
    tries: Mapped[int] = mapped_column(default=0)
    tried_at: Mapped[datetime | None]
    over: Mapped[bool]  # nothing is left to deliver
