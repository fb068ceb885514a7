"""Figures for Prometheus, read from the database when it asks: several processes say the same."""

from collections.abc import Iterator
from datetime import timedelta

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atlas import pool
from atlas.accuracy import accuracy_of
from atlas.project import Project
from atlas.promotion import current_id
from atlas.round_state import count_labels, waiting_by_round
from atlas.store.tables import AnnotationRow, Job, Round
from atlas.types import utc_now
from services import embedded
from services.api import answers
from services.pulse import seconds_since_tick

HOUR = timedelta(hours=1)

reading = APIRouter()
TEXT: answers.Responses = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


@reading.get("/metrics", response_class=Response, responses=TEXT)
def metrics(request: Request) -> Response:
    """Queue, labels, jobs, round trips, cache and accuracy, in Prometheus's text format."""
    registry: CollectorRegistry = request.app.state.metrics
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class ProjectCollector(Collector):
    """Reads one project's figures at every scrape.

    Args:
        project: whose.
    """

    def __init__(self, project: Project) -> None:
        self._project = project

    def describe(self) -> list[Metric]:
        """Nothing: registering must not read the database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every figure, all of one moment."""
        with self._project.database.reader() as session:
            yield from _labelling(session)
            yield from _round_trips(session)
            yield from _jobs(session)
            yield from _cache(session)
            yield from self._accuracy(session)

    def _accuracy(self, session: Session) -> Iterator[Metric]:
        """Of the model that answers, where it may be quoted."""
        found = accuracy_of(
            session,
            current_id(session),
            min_labels=self._project.settings.audit.min_labels,
            tasks=list(self._project.taxonomy.tasks),
        )
        gauge = GaugeMetricFamily(
            "atlas_accuracy", "Accuracy on the audit set, 0 to 1", labels=["level"]
        )
        for level, one in found.items():
            if one.state == "ok" and one.accuracy is not None:
                gauge.add_metric([level], one.accuracy)
        yield gauge


def registry_of(project: Project) -> CollectorRegistry:
    """A registry with the project's figures alone."""
    registry = CollectorRegistry()
    registry.register(ProjectCollector(project))
    return registry


def _labelling(session: Session) -> Iterator[Metric]:
    waiting = sum(waiting_by_round(session).values())
    lately = session.scalar(
        select(func.count(func.distinct(AnnotationRow.image_id))).where(
            AnnotationRow.event == "submitted", AnnotationRow.received_at > utc_now() - HOUR
        )
    )
    yield _gauge("atlas_queue_depth", "Queries that wait for an answer", waiting)
    yield _gauge("atlas_labels_last_hour", "Images answered within the last hour", lately)
    yield _gauge("atlas_labels", "Labelled images of the pool", count_labels(session))
    images = GaugeMetricFamily("atlas_images", "Images of a project", labels=["split"])
    for split in ("pool", "audit"):
        images.add_metric([split], pool.count(session, split))
    yield images


def _round_trips(session: Session) -> Iterator[Metric]:
    """From the last label of a round to the next queue, of every round that was measured."""
    found = session.scalars(select(Round.label_to_queue_s).order_by(Round.number))
    seconds = [one for one in found if one is not None]
    yield SummaryMetricFamily(
        "atlas_round_trip_seconds",
        "From the last label of a round to the next queue",
        count_value=len(seconds),
        sum_value=sum(seconds),
    )
    if seconds:
        said = "As atlas_round_trip_seconds, of the latest round"
        yield _gauge("atlas_last_round_trip_seconds", said, seconds[-1])


def _jobs(session: Session) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("atlas_jobs", "Jobs by what became of them", labels=["kind", "state"])
    counted = select(Job.kind, Job.state, func.count()).group_by(Job.kind, Job.state)
    for kind, state, count in session.execute(counted):
        jobs.add_metric([kind, state], count)
    yield jobs
    since_s = seconds_since_tick(session)
    if since_s is not None:
        said = "Since a worker last carried out the clock's tick"
        yield _gauge("atlas_tick_age_seconds", said, since_s)


def _cache(session: Session) -> Iterator[Metric]:
    """Of the last time that the bottlenecks were brought up to date."""
    found = embedded.last(session)
    if found is None:
        return
    cache = GaugeMetricFamily(
        "atlas_bottleneck_cache", "Images of the last embedding, by cache result", labels=["result"]
    )
    cache.add_metric(["hit"], max(found.images - found.computed, 0))
    cache.add_metric(["miss"], found.computed)
    yield cache


def _gauge(name: str, said: str, value: float | None) -> Metric:
    return GaugeMetricFamily(name, said, value=value or 0)
