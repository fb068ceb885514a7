"""A person chooses which model answers: only one whose files are all there. No torch here."""

from sqlalchemy.orm import Session

from atlas import promotion
from atlas.answering import TUNED
from atlas.errors import ModelError
from atlas.project import Project
from atlas.store.tables import ModelRow

BUNDLE = ("model.json", "head.safetensors")


def switch(project: Project, model_id: str, *, reason: str) -> None:
    """Let a model answer from now on.

    Raises:
        ModelError: no such model, or a file of it is missing.
    """
    with project.database.session() as session:
        promotion.promote(session, model_id, reason=reason)
        _check(session, project, model_id)


def switch_back(project: Project) -> str:
    """Let the model answer that did before; gives its id.

    Raises:
        ModelError: there was none before, or a file of it is missing.
    """
    with project.database.session() as session:
        model_id = promotion.roll_back(session)
        _check(session, project, model_id)
    return model_id


def _check(session: Session, project: Project, model_id: str) -> None:
    """Raising undoes the promotion, which is of the same transaction."""
    wanted = [project.models / model_id / name for name in BUNDLE]
    tuned = session.get_one(ModelRow, model_id).metrics.get(TUNED)
    if tuned is not None:
        wanted.append(project.directory / tuned["checkpoint"])
    missing = [str(one.relative_to(project.directory)) for one in wanted if not one.is_file()]
    if missing:
        raise ModelError(
            f"model {model_id} cannot answer, as the project lacks {' and '.join(missing)}; put "
            "that back from a backup, or choose another model (`atlas models`)"
        )
