"""Which jobs the clock leaves alone, though the state of the project asks for them."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import InstrumentedAttribute, Session

from atlas.answering import TUNED
from atlas.store.tables import AnnotationRow, Image, Job, ModelRow, Promotion, Round
from atlas.types import utc_now
from services.jobs import id_of

RETRY_FAILED_S = 60.0

News = Callable[[Session, datetime], bool]  # whether something came after that moment


def is_held(session: Session, kind: str, key: str) -> bool:
    """Whether the job failed within the last minute, or somebody stopped it and nothing is new.

    One that failed has to be mended by somebody. One that was stopped comes back with the news that
    `COMES_BACK` names, or when somebody asks for it.
    """
    job = session.get(Job, id_of(kind, key))
    if job is None or job.finished_at is None or job.state not in ("failed", "stopped"):
        return False
    if job.state == "failed" and job.stop_asked_at is None:
        return job.finished_at + timedelta(seconds=RETRY_FAILED_S) > utc_now()
    _, news = _NEWS.get(kind, ("", ()))
    return bool(news) and not any(came(session, job.finished_at) for came in news)


def _since(moment: InstrumentedAttribute[datetime]) -> News:
    later = select(moment).limit(1)  # of many that came since, one is enough
    return lambda session, then: session.scalar(later.where(moment > then)) is not None


def _another_backbone(session: Session, then: datetime) -> bool:
    """Whether the model that answers now reads another backbone than the one that did then."""
    latest = select(ModelRow).join(Promotion).order_by(Promotion.id.desc()).limit(1)
    now = session.scalar(latest)
    before = session.scalar(latest.where(Promotion.promoted_at <= then))
    return _tuned(now) != _tuned(before)


def _tuned(model: ModelRow | None) -> object:
    return None if model is None else model.metrics.get(TUNED)


_IMAGES, _ANSWERS = _since(Image.added_at), _since(AnnotationRow.received_at)
_MODELS, _ROUNDS = _since(Promotion.promoted_at), _since(Round.opened_at)
_NEWS: dict[str, tuple[str, tuple[News, ...]]] = {  # kind → what brings a stopped one back
    "embed": ("new images or another backbone come", (_IMAGES, _another_backbone)),
    "advance": ("an answer or new images come", (_ANSWERS, _IMAGES)),
    "push": ("a round is opened or an answer comes", (_ROUNDS, _ANSWERS)),
    "rescore": ("an answer or another model comes", (_ANSWERS, _MODELS)),
    "measure": ("an answer or another model comes", (_ANSWERS, _MODELS)),
    "analyse": ("another model or new images come", (_MODELS, _IMAGES)),
}
COMES_BACK = {kind: said for kind, (said, _) in _NEWS.items()}
