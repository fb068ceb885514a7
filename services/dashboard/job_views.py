"""Jobs as pages show them: in words, with how far they are and what may be done about them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select

from atlas.progress import in_words
from atlas.project import Project
from atlas.store.tables import Job
from services import jobs
from services.holding import COMES_BACK

TITLES = {
    "advance": "Close the round and ask the next",
    "measure": "Measure the accuracy again",
    "analyse": "Draw the map and the figures",
    "embed": "Compute bottlenecks",
    "finetune": "Fine-tune the backbone",
    "push": "Send queries to Label Studio",
    "query": "Ask for more labels",
    "reconcile": "Fetch answers that no webhook brought",
    "remind": "Remind people of what waits",
    "rescore": "Order the queue by what is known now",
    "train": "Train the heads",
}
STATES = {"queued": "waiting"}  # what people call it; the others are called what they are
NEEDS_HELP = ("failed", "stopped")


@dataclass(frozen=True)
class JobView:
    """One job.

    Attributes:
        id: of its row.
        title: what it does.
        state: queued, running, done, failed or stopped: for the style sheet.
        said: the state in words.
        done: how much, with `total`; both None where it does not count.
        words: how far it is, or what it came to.
        error: why it failed or ended early, what it waits for; "" where nothing is wrong.
        asked: by whom and why, "" where the project's state asks for it.
        facts: the row, for times and attempts.
    """

    id: str
    title: str
    state: str
    said: str
    done: float | None
    total: float | None
    words: str
    error: str
    asked: str
    facts: Job

    @property
    def may_stop(self) -> bool:
        """Whether it can still be asked to stop."""
        return self.state in jobs.ACTIVE and self.facts.stop_asked_at is None

    @property
    def may_retry(self) -> bool:
        """Whether somebody may want it once more."""
        return self.state in NEEDS_HELP

    def runs_s(self, now: datetime) -> float | None:
        """Seconds that it ran, until now or until it ended; None before it began."""
        begun = self.facts.started_at
        if begun is None:
            return None
        return max(((self.facts.finished_at or now) - begun).total_seconds(), 0.0)


def view_of(row: Job) -> JobView:
    """A job's row in words."""
    counts = row.state == "running" and {"done", "total"} <= row.progress.keys()
    said = STATES.get(row.state, row.state)
    if row.state == "running" and row.stop_asked_at is not None:
        said = "stopping"
    untold = {jobs.LOST} if row.state == "running" else {jobs.LOST, "eta_s"}
    return JobView(
        id=row.id,
        title=TITLES.get(row.kind, row.kind),
        state=row.state,
        said=said,
        done=row.progress["done"] if counts else None,
        total=row.progress["total"] if counts else None,
        words=in_words({key: one for key, one in row.progress.items() if key not in untold}),
        error=_error(row),
        asked=_asked(row.arguments),
        facts=row,
    )


def active_jobs(project: Project) -> list[JobView]:
    """What runs, then what waits."""
    return _views(project, Job.state.in_(jobs.ACTIVE), limit=20)[::-1]


def latest_jobs(project: Project, state: str, *, limit: int) -> list[JobView]:
    """The jobs that were asked for last, the latest first; with `state` only those."""
    return _views(project, Job.state == state if state else Job.id.is_not(None), limit=limit)


def job_view(project: Project, job_id: str) -> JobView | None:
    """One job; None where there is none."""
    return next(iter(_views(project, Job.id == job_id, limit=1)), None)


def _views(project: Project, where: ColumnElement[bool], *, limit: int) -> list[JobView]:
    wanted = select(Job).where(where).order_by(Job.created_at.desc(), Job.id).limit(limit)
    with project.database.reader() as session:
        return [view_of(row) for row in session.scalars(wanted)]


def _error(row: Job) -> str:
    if row.state != "stopped" or row.kind not in COMES_BACK:
        return row.error
    again = f"stays stopped until somebody tries it again, or {COMES_BACK[row.kind]}"
    return f"{row.error}; {again}" if row.error else again


def _asked(arguments: dict[str, Any]) -> str:
    by, reason = arguments.get("by", ""), arguments.get("reason", "")
    return ": ".join(one for one in (by, reason) if one)
