"""Which labelled images judge a fine-tune: those that taught no backbone it descends from."""

import hashlib
from typing import Any

from sqlalchemy import select

from atlas.answering import TUNED, backbone_settings
from atlas.project import Project
from atlas.settings import FinetuneSettings
from atlas.store.tables import ModelRow

HELD_OUT = "held_out"
"""Key in what a fine-tune says of itself in its model's metrics: the share that it did not learn
from, nor any backbone before it."""


def is_held_out(image_id: str, share: float) -> bool:
    """Whether a labelled image judges fine-tunes instead of teaching them.

    By a hash of its id, so that it is the same in every fine-tune: one that starts from a tuned
    backbone is judged by images which that backbone has not seen either.

    Args:
        image_id: any.
        share: in [0, 1], of all images; what a smaller one holds out, a larger one does too.
    """
    digest = hashlib.sha256(f"held out {image_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def untaught_share(project: Project) -> float:
    """The largest share, in (0, 1], of which nothing taught the backbone that answers now.

    1 for one that no fine-tune has made. A higher `finetune.held_out` counts as this one.
    """
    checkpoint = backbone_settings(project).checkpoint
    run = ModelRow.metrics["finetune"]["run"].as_string()
    with project.database.reader() as session:
        tuned = session.scalars(select(ModelRow.metrics).where(run.is_not(None))).all()
    return min((_share(one) for one in tuned if _where(project, one) == checkpoint), default=1.0)


def how_to_have_more_judges(project: Project) -> str:
    """A sentence for whoever has too few labels that may judge."""
    share, most = project.settings.finetune.held_out, untaught_share(project)
    if share >= most:
        return (
            f"Label more; to raise finetune.held_out ({share}) would not help, as the present "
            f"backbone has learned from all but a share of {most}"
        )
    end = (
        "" if most == 1 else f", to {most} at most: the present backbone has learned from the rest"
    )
    return f"Label more, or raise finetune.held_out ({share}){end}"


def _share(metrics: dict[str, Any]) -> float:
    # early models do not say theirs; most had the default
    return float(metrics["finetune"].get(HELD_OUT, FinetuneSettings().held_out))


def _where(project: Project, metrics: dict[str, Any]) -> str:
    return project.absolute(metrics[TUNED]["checkpoint"])
