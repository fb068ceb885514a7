"""What is said of the model that answers now, and is no longer so."""

from collections.abc import Iterator

from sqlalchemy.orm import Session

from atlas.accuracy import has_audit_news, measured_at
from atlas.analysis.stored import stale_model
from atlas.project import Project
from atlas.promotion import current_id
from atlas.store.tables import Job
from services import embedded
from services.holding import is_held


def outdated(session: Session, project: Project) -> Iterator[str]:
    """Kinds of the jobs that bring it up to date, the most urgent first."""
    for kind, is_due in (("measure", _is_measuring_due), ("analyse", _is_analysis_due)):
        if is_due(session, project) and not is_held(session, kind, ""):
            yield kind


def _is_measuring_due(session: Session, project: Project) -> bool:
    """Whether an answer about an audit image came, or was taken back, since it was measured."""
    model_id = current_id(session)
    if model_id is None or not (project.models / model_id).exists():
        return False
    since, last = measured_at(session, model_id), session.get(Job, "measure")
    if since is None:
        return False
    if last is not None and last.state == "done" and last.progress.get("model") == model_id:
        # A number of another backbone stands, however often one looks: see `measure_current`.
        since = max(since, last.started_at or since)
    return has_audit_news(session, since)


def _is_analysis_due(session: Session, project: Project) -> bool:
    """Whether the pages about the model and the pool lack something that can be had now."""
    return embedded.is_done(session, project) and stale_model(project, session) is not None
