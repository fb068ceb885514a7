"""Unsupervised data augmentation (UDA, Xie et al., 1904.12848): its losses, and nothing else.

An unlabelled image is predicted twice, as it is (clean) and augmented. The clean prediction,
sharpened and without gradient, is the target of the other, where it is sure enough.
"""

from collections.abc import Collection
from math import exp
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from atlas.heads import Head
from atlas.losses import MISSING, Targets
from atlas.settings import UdaSettings
from atlas.taxonomy import Taxonomy
from atlas.types import LABEL

Annealing = Literal["off", "linear", "log", "exp"]
STEEPNESS = 5.0


def consistency(clean: Tensor, augmented: Tensor, settings: UdaSettings) -> Tensor:
    """Mean over all rows of mask · KL(softmax(clean / T) ‖ softmax(augmented)), ().

    No gradient reaches `clean`. Rows that the mask leaves out count in the mean, as in the paper,
    so few sure predictions make a small loss.

    Args:
        clean: (N, K) logits, N ≥ 1.
        augmented: (N, K) logits of the same images.
        settings: T and the threshold of `confident`.
    """
    clean = clean.detach()
    target = F.log_softmax(clean / settings.temperature, dim=1)
    predicted = F.log_softmax(augmented, dim=1)
    divergence = F.kl_div(predicted, target, reduction="none", log_target=True).sum(dim=1)
    return (confident(clean, settings) * divergence).mean()


def confident(clean: Tensor, settings: UdaSettings) -> Tensor:
    """(N, K) logits → (N,) bool: the best class has more than the threshold, before sharpening."""
    return F.softmax(clean.detach(), dim=1).amax(dim=1) > settings.threshold


def consistency_scores(head: Head, x: Tensor, tasks: Collection[str]) -> dict[str, Tensor]:
    """Standardised (N, D) → task → (N, K) logits of every softmax that the head trains.

    The leaves under the name `label` where all levels come from one softmax, else each level; and
    each attribute. Quantities have no softmax and are left out.

    Args:
        head: what is trained.
        x: standardised (N, D).
        tasks: those that some label speaks of, as `Head.present` names them. The layers of another
            would learn nothing but what their random start says.
    """
    scores = head.scores(x, [task for task in tasks if task in head.taxonomy.tasks])
    if LABEL in tasks:
        scores[LABEL] = head.leaf_scores(x)
    return scores


def annealing_threshold(schedule: Annealing, progress: float, classes: int) -> float:
    """η: a label whose class is already more probable than this does not train now; in (0, 1].

    η = a (1 − 1/K) + 1/K with a = r, e^{5(r−1)} or 1 − e^{−5r} for linear, exp and log; 1 for off.

    Args:
        schedule: how the signal is let in; exp late, for few labels, log early.
        progress: r in [0, 1], the share of the training that is done.
        classes: K.
    """
    share = {
        "off": 1.0,
        "linear": progress,
        "exp": exp(STEEPNESS * (progress - 1)),
        "log": 1 - exp(-STEEPNESS * progress),
    }[schedule]
    return share * (1 - 1 / classes) + 1 / classes


def annealed(
    head: Head, x: Tensor, targets: Targets, schedule: Annealing, progress: float
) -> Targets:
    """The targets without the labels that the head is sure of already (training signal annealing).

    A head's own mean over labelled rows then divides by the labels that are left. K is that of the
    level: with one softmax for all levels, of the level at which the row's label stops.

    Args:
        head: what is trained.
        x: standardised (N, D).
        targets: N labels; those of quantities stay.
        schedule: see `annealing_threshold`.
        progress: in [0, 1].
    """
    if schedule == "off":
        return targets
    with torch.no_grad():
        scores = consistency_scores(head, x, head.present(targets))
        under, classes = targets.under, dict(targets.classes)
        if LABEL in scores:
            limits = _limits(targets, head.taxonomy, schedule, progress)
            known = _node_probability(scores.pop(LABEL), under) > limits
            under = under & ~known[:, None]
        for task, z in scores.items():
            wanted = classes[task]
            limit = annealing_threshold(schedule, progress, z.shape[1])
            of_wanted = F.softmax(z, dim=1).gather(1, wanted.clamp(min=0)[:, None])[:, 0]
            classes[task] = torch.where(of_wanted > limit, MISSING, wanted)
    return Targets(under, classes, targets.numbers)


def _limits(targets: Targets, taxonomy: Taxonomy, schedule: Annealing, progress: float) -> Tensor:
    """(N,) thresholds, each by the number of classes at the level where the row's label stops."""
    limits = torch.ones(len(targets), device=targets.under.device)
    for level, classes in taxonomy.classes.items():  # coarse to fine: the deepest one stays
        limit = annealing_threshold(schedule, progress, len(classes))
        limits = torch.where(targets.classes[level] != MISSING, limit, limits)
    return limits


def _node_probability(leaf_scores: Tensor, under: Tensor) -> Tensor:
    """(N, n_leaves) scores and labels → (N,) probability of the labelled node, 0 without one."""
    return (F.softmax(leaf_scores, dim=1) * under).sum(dim=1)
