"""What the tasks do, without Celery: load, one atlas call, and what should happen next.

Functions return a small JSON-able mapping that ends up in the job's row. `atlas.rounds` brings
torch, so it is imported where it is used: the schedule and the sender of a job need none of it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import islice
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atlas import queue_state
from atlas.analysis.stored import count_images
from atlas.answering import identity, tuned_checkpoint
from atlas.errors import PoolExhausted, ServiceError
from atlas.oracle import Oracle
from atlas.project import Project
from atlas.round_state import TO_PUSH, is_complete
from atlas.settling import resettle
from atlas.store import lease as leases
from atlas.store.tables import AnnotationRow, Job, Meta, QueryRow, Round
from atlas.types import utc_now
from services import embedded, exhausted, jobs
from services.holding import is_held
from services.outdated import outdated

ORACLE_PROJECT = "label_studio_project"  # key in Meta, written by LabelStudioOracle.setup
QUIET = timedelta(minutes=5)  # nobody is labelling whom deleting old guesses would hold up
PATIENCE_S = 5.0  # longer than scoring the queue again takes, shorter than a training


def preload() -> None:
    """Import what embedding and training need (torch: seconds), so that no job waits for it."""
    import atlas.analysis.predicting
    import atlas.oracle._rescore
    import atlas.rescoring
    import atlas.rounds  # noqa: F401


def oracle_of(project: Project) -> Oracle:
    """The project's Label Studio."""
    from atlas.oracle.label_studio import LabelStudioOracle

    return LabelStudioOracle(project)


def embed(
    project: Project, *, progress: Callable[[int, int], None], should_stop: Callable[[], bool]
) -> Mapping[str, Any]:
    """Fill the bottleneck cache; a second call computes nothing.

    Raises:
        Stopped: `should_stop` said so; the next call goes on from there.
    """
    from atlas.embedding import embed_pool

    with project.database.reader() as session:
        backbone = tuned_checkpoint(project, session)  # before: it may change meanwhile
        whole = identity(project, session)
    report = embed_pool(project, progress=progress, should_stop=should_stop)
    with project.database.session() as session:
        images = count_images(session)
        # Fewer where unreadable ones were left out; more where some arrived meanwhile: those next.
        done = min(images, report.total)
        embedded.remember(session, embedded.Embedded(whole, done, report.computed))
    return {
        "done": done,
        "total": done,
        "computed": report.computed,
        "images_per_s": round(report.images_per_s, 1),
        "backbone": backbone,
    }


@contextmanager
def _alone(project: Project) -> Iterator[None]:
    """Nobody else registers a model, closes or opens a round, pushes or orders the queue.

    Raises:
        BusyError: somebody does, and takes longer than the queue does.
    """
    holder = leases.new_holder()
    with leases.lease(project.database, leases.PROJECT, holder, patience_s=PATIENCE_S):
        yield


def train(project: Project) -> Mapping[str, Any]:
    """Refit the heads on every label so far; an open round stays open, complete or not."""
    from atlas.train import train_model

    with _alone(project):
        return {"model": train_model(project)}


def finetune(
    project: Project,
    *,
    progress: Callable[[Mapping[str, Any]], None],
    should_stop: Callable[[], bool],
) -> dict[str, Any]:
    """Fine-tune the backbone; the result is promoted where it is better.

    Raises:
        Stopped: `should_stop` said so; the next call goes on from there.
    """
    progress({"stage": "preparing"})  # before torch is imported, which takes seconds
    from atlas.finetune import finetune as run

    return run(project, progress=progress, should_stop=should_stop)


def advance(project: Project) -> Mapping[str, Any]:
    """Close the open round if it is complete, open the next and push it, under the lease.

    Safe to repeat from wherever it stopped. A pool with nothing left is recorded, not an error.
    """
    from atlas import rounds

    with _alone(project):
        result: dict[str, Any] = {}
        with project.database.reader() as session:
            number, is_open = latest_round(session)
            complete = is_open and is_complete(session, number)
        if is_open and not complete:
            # An earlier try may have opened the round and not have reached the oracle.
            return {"waits_for": number, "pushed": rounds.push_round(project, oracle_of(project))}
        if is_open:
            result = {"closed": number, "model": rounds.close_round(project)}
        if not project.settings.service.auto_rounds:
            return result
        try:
            result["opened"] = rounds.open_round(project)
        except PoolExhausted:
            exhausted.remember(project.database)
            return {**result, "pool_exhausted": True}
        result["pushed"] = rounds.push_round(project, oracle_of(project))
        return result


def push(project: Project) -> Mapping[str, Any]:
    """Push the queries that are still only chosen; under the lease, as two at once make twins."""
    from atlas import rounds

    with _alone(project):
        return {"pushed": rounds.push_round(project, oracle_of(project))}


def query(project: Project, asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Open a round of so many pictures, by that sampler, at that level; `push` sends them.

    Raises:
        ServiceError: a round is open already.
    """
    from atlas import rounds
    from atlas.batches import Ask

    with _alone(project):
        with project.database.reader() as session:
            number, is_open = latest_round(session)
        if is_open:
            raise ServiceError(f"round {number} is open already; answer it first")
        ask = Ask(asked["n"], asked["sampler"], asked["level"])
        return {"opened": rounds.open_round(project, ask)}


def rescore(project: Project) -> Mapping[str, Any]:
    """Order the waiting queries by what is known now; nothing where that is the same as before."""
    from atlas.oracle._rescore import LabelStudioQueue
    from atlas.rescoring import rescore as run

    with _alone(project):
        return run(project, LabelStudioQueue(project))


def remind(project: Project, number: int) -> Mapping[str, Any]:
    """Tell people that images wait, where they have not been told."""
    from services.reminders import keeping

    return keeping.deliver(project, number)


def reconcile(project: Project) -> Mapping[str, Any]:
    """Fetch annotations, edits and deletions that no webhook brought; forget old guesses."""
    from atlas import rounds
    from atlas.oracle._people import learn_people
    from atlas.oracle._rescore import LabelStudioQueue

    new = rounds.collect(project, oracle_of(project))
    learn_people(project)
    with project.database.session() as session:
        resettle(session, project.taxonomy)
    with project.database.reader() as session:
        last = session.scalar(select(func.max(AnnotationRow.received_at)))
    if last is not None and utc_now() - last < QUIET:
        return {"new": new}
    return {"new": new, "tidied": LabelStudioQueue(project).tidy()}


def analyse(project: Project) -> Mapping[str, Any]:
    """Store what the present model says of every image, for the pages that look at it."""
    from atlas.analysis.predicting import analyse as run

    return run(project)


def measure(project: Project) -> Mapping[str, Any]:
    """Measure the model that answers now on the audit labels there are now."""
    from atlas.train import measure_current

    return {"model": measure_current(project)}


def after_labels(session: Session, project: Project) -> tuple[str, str] | None:
    """(kind, key) of the job that labels which have just come ask for."""
    number, is_open = latest_round(session)
    if is_open and is_complete(session, number):
        return "advance", str(number)
    return ("rescore", "") if queue_state.is_due(session, project) else None


def wanted(project: Project) -> list[tuple[str, str]]:
    """(kind, key) of the jobs that the state of the project asks for now.

    Not those that failed a moment ago or that somebody stopped: see `is_held`.
    """
    with project.database.reader() as session:
        found = [one for one in _wanted(session, project) if not is_held(session, *one)]
        if not found and session.get(Meta, ORACLE_PROJECT) is not None:  # nobody waits for more
            found = [(kind, "") for kind in islice(outdated(session, project), 1)]
        return found


def _wanted(session: Session, project: Project) -> list[tuple[str, str]]:
    found = []
    images = count_images(session)
    embedding = session.get(Job, "embed")
    ready = embedded.is_done(session, project)
    if images and (embedding is None or not ready or embedding.progress.get("total") != images):
        found.append(("embed", ""))
    if session.get(Meta, ORACLE_PROJECT) is None:
        return found  # Label Studio is not set up yet
    number, is_open = latest_round(session)
    if is_open and is_complete(session, number):
        found.append(("advance", str(number)))
    if not is_open and ready and _may_open(session, project):
        found.append(("advance", str(number)))
    chosen = select(QueryRow.uid).where(QueryRow.state.in_(TO_PUSH)).limit(1)
    if session.scalar(chosen) is not None and not _advancing(session):
        found.append(("push", ""))
    if not _advancing(session) and queue_state.is_due(session, project):
        found.append(("rescore", ""))
    period = timedelta(seconds=project.settings.service.reconcile_s)
    last = session.get(Job, "reconcile")
    asked = session.scalar(select(QueryRow.uid).where(QueryRow.task_id.is_not(None)).limit(1))
    if asked is not None and (last is None or last.created_at + period <= utc_now()):
        found.append(("reconcile", ""))
    return found


def latest_round(session: Session) -> tuple[int, bool]:
    """Number of the latest round (0 before the first) and whether it is open."""
    latest = session.scalar(select(Round).order_by(Round.number.desc()).limit(1))
    return (latest.number, latest.state == "open") if latest is not None else (0, False)


def _advancing(session: Session) -> bool:
    """Whether a job that pushes its own round is under way."""
    active = select(Job.id).where(Job.kind == "advance", Job.state.in_(jobs.ACTIVE)).limit(1)
    return session.scalar(active) is not None


def _may_open(session: Session, project: Project) -> bool:
    """Whether Atlas opens rounds by itself and there may be something to ask."""
    return project.settings.service.auto_rounds and not exhausted.is_known(session)
