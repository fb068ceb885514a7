"""How many audit images a round carries: as many as the accuracy's interval needs, and no more.

The half-width of Wilson's interval (Wilson 1927) at accuracy p over n labels is
z / (n + z²) · √(p·(1 − p)·n + z²/4). It falls with n, so that the number of labels at which it
reaches what is wanted has a closed form. p is what the present model was measured at; as long as
nothing is known it is 1/2, where the interval is widest. No torch here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf, sqrt

from scipy.stats import norm
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atlas.accuracy import CONFIDENCE, accuracy_of
from atlas.labels import audit_labels
from atlas.project import Project
from atlas.promotion import current_id
from atlas.settings import AuditSettings
from atlas.store.tables import Image, QueryRow
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL

Z = float(norm.ppf((1 + CONFIDENCE) / 2))
WIDEST = 0.5
POINTS = 100


@dataclass(frozen=True)
class AuditShare:
    """Where the audit stands, at the level or attribute whose interval is widest.

    Attributes:
        labelled: audit images with a label.
        left: audit images that were not asked about yet.
        task: of the widest interval.
        half_width: of its interval in [0, 1]; infinite without a label or a model.
        needed: further labels until the half-width is what is wanted at every one.
        wanted: that half-width; 0: none is.
    """

    labelled: int
    left: int
    task: str
    half_width: float
    needed: int
    wanted: float

    def of_round(self, per_round: int) -> int:
        """How many audit images the next round carries, at most `per_round`."""
        return min(per_round, self.left, self.needed if self.wanted else per_round)

    def in_words(self) -> str:
        """Such as "audit: 120 labelled, ±7.1 points at species; 56 more for ±5"."""
        if not self.labelled + self.left:
            return "audit: no image is set apart, nothing is measured"
        if self.half_width == inf:
            known = f"audit: {self.labelled} labelled, {self.left} left"
            return f"{known}; {self.task} is not measured yet"
        known = f"audit: {self.labelled} labelled, ±{_points(self.half_width)} points"
        said = f"{known} at {self.task}"
        if not self.wanted:
            return said
        if not self.needed:
            return f"{said}; enough for ±{_points(self.wanted)}"
        more = f"{said}; {self.needed} more for ±{_points(self.wanted)}"
        missing = self.needed - self.left
        if missing <= 0:
            return more
        left = f"only {self.left} {'is' if self.left == 1 else 'are'}" if self.left else "none is"
        images = "image" if missing == 1 else "images"
        return f"{more}, but {left} left: the audit set needs {missing} more {images}"


def half_width(accuracy: float, n: float) -> float:
    """Half the width of Wilson's interval over n > 0 labels; it is in (0, 1/2)."""
    return Z / (n + Z**2) * sqrt(accuracy * (1 - accuracy) * n + Z**2 / 4)


def labels_for(accuracy: float, wanted: float) -> int:
    """The least number of labels at which the half-width is `wanted`, in (0, 1/2), or less."""
    spread = accuracy * (1 - accuracy)
    root = sqrt(spread**2 + wanted**2 * (1 - 4 * spread))
    with_z = Z**2 * (spread + root) / (2 * wanted**2)
    return max(ceil(round(with_z - Z**2, 9)), 1)


def audit_share(session: Session, project: Project) -> AuditShare:
    """Where the audit of the present model stands."""
    labels = list(audit_labels(session).values())
    reached = reaching(labels, project.taxonomy)
    asked = select(QueryRow).where(QueryRow.image_id == Image.id, QueryRow.state != "skipped")
    left = session.scalar(select(func.count()).where(Image.split == "audit", ~asked.exists()))
    measured = accuracy_of(
        session,
        current_id(session),
        min_labels=project.settings.audit.min_labels,
        tasks=list(reached),
    )
    return share_of(
        reached,
        {task: one.accuracy for task, one in measured.items()},
        project.settings.audit,
        labelled=sum(LABEL in values for values in labels),
        left=left or 0,
    )


def share_of(
    reached: Mapping[str, int],
    accuracy: Mapping[str, float | None],
    settings: AuditSettings,
    *,
    labelled: int,
    left: int,
) -> AuditShare:
    """The share from counts.

    Args:
        reached: level or attribute → audit labels that say something of it.
        accuracy: the same → of the present model, in [0, 1]; None where it was not measured.
        settings: the half-width that is wanted, and the least number of labels.
        labelled: audit images with a label.
        left: audit images that were not asked about yet.
    """
    widths, needed = {}, 0
    for task, n in reached.items():
        known = accuracy[task]
        widths[task] = inf if known is None or not n else half_width(known, n)
        if settings.half_width:
            wanted = labels_for(WIDEST if known is None else known, settings.half_width)
            needed = max(needed, max(wanted, settings.min_labels) - n)
    worst = max(widths, key=lambda name: widths[name])
    return AuditShare(labelled, left, worst, widths[worst], needed, settings.half_width)


def reaching(labels: Sequence[Mapping[str, str]], taxonomy: Taxonomy) -> dict[str, int]:
    """Level or attribute → how many of the labels say something of it.

    An attribute that none of them has is left out: nobody fills it in, so more would not tell.
    """
    paths = [values[LABEL] for values in labels if LABEL in values]
    levels = {
        level: sum(taxonomy.at_level(path, level) is not None for path in paths)
        for level in taxonomy.levels
    }
    attributes = {name: sum(name in values for values in labels) for name in taxonomy.attributes}
    return levels | {name: n for name, n in attributes.items() if n}


def _points(share: float) -> str:
    return f"{POINTS * share:.1f}".removesuffix(".0")
