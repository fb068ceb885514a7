"""The loss of a step, computed in parts that fit into memory and sum to the loss of the whole."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

from atlas.heads import Head
from atlas.losses import Targets
from atlas.settings import UdaSettings
from atlas.training.finetune.batches import Batch
from atlas.training.finetune.learner import Learner
from atlas.training.finetune.uda import annealed, confident, consistency, consistency_scores


@dataclass(frozen=True)
class Whole:
    """What the parts of a step's batch are parts of, over all processes.

    Attributes:
        labels: task with a label in the batch → how many; of those that annealing leaves, where
            that is known before the parts are.
        unlabelled: images in the batch.
        tasks: those with a label in some batch; no other is made consistent.
    """

    labels: Mapping[str, int]
    unlabelled: int
    tasks: Collection[str]

    @classmethod
    def of(cls, targets: Targets, head: Head, unlabelled: int, tasks: Collection[str]) -> "Whole":
        """Counted on the labels of the whole batch."""
        labels = {task: int(targets.labelled(task).sum()) for task in head.present(targets)}
        return cls(labels, unlabelled, tasks)


@dataclass(frozen=True)
class Part:
    """What goes through the network at once.

    Attributes:
        batch: n labelled and m unlabelled pictures.
        targets: n labels, on the CPU.
    """

    batch: Batch
    targets: Targets

    @property
    def pictures(self) -> int:
        """With gradient, n + m."""
        return len(self.targets) + len(self.batch.augmented)


class Losses(NamedTuple):
    """A part's share of the whole batch's figures, each ().

    Attributes:
        supervised: sum over tasks of the mean loss over labelled rows.
        consistency: sum over tasks of `uda.consistency`.
        sure: mean over tasks of the share of unlabelled images with a sure target.
    """

    supervised: Tensor
    consistency: Tensor
    sure: Tensor


def split(batch: Batch, targets: Targets, chunk: int) -> Iterator[Part]:
    """A batch in parts of like size and mixture, none empty; some may lack one kind of picture.

    Args:
        batch: n labelled and m unlabelled images, n + m ≥ 1.
        targets: n labels.
        chunk: pictures with gradient in a part at most, ≥ 1.
    """
    labelled, both = len(targets), len(targets) + len(batch.augmented)
    number = ceil(both / chunk)
    ends = [both * place // number for place in range(number + 1)]
    # of the first `end` pictures of both kinds, that share is labelled which is of all
    cuts = [end * labelled // both for end in ends]
    for i in range(number):
        mine = slice(cuts[i], cuts[i + 1])
        others = slice(ends[i] - cuts[i], ends[i + 1] - cuts[i + 1])
        rows = torch.arange(mine.start, mine.stop)
        pictures = Batch(batch.labelled[mine], batch.clean[others], batch.augmented[others])
        yield Part(pictures, targets[rows])


def part_losses(
    learner: Learner, part: Part, whole: Whole, uda: UdaSettings, progress: float
) -> Losses:
    """The losses of a part, such that those of all parts sum to those of the whole batch.

    Annealing looks at a part alone, so it is for a batch in one part; see `left_to_learn`.

    Args:
        learner: in training mode.
        part: of the batch.
        whole: what its means are taken over.
        uda: the losses' settings.
        progress: share of the training that is done, in [0, 1].
    """
    head, device = learner.head, learner.device
    clean = _clean_scores(learner, part.batch.clean, whole.tasks) if len(part.batch.clean) else {}
    pictures = (part.batch.labelled, part.batch.augmented)
    x = learner(torch.cat([one.to(device, non_blocking=True) for one in pictures]))
    labelled, augmented = x.tensor_split([len(part.targets)])
    supervised = agreement = sure = x.new_zeros(())
    targets = _moved(part.targets, device)
    targets = annealed(head, labelled.detach(), targets, uda.annealing, progress)
    for task, loss in head.losses(labelled, targets).items():
        share = int(part.targets.labelled(task).sum()) / whole.labels[task]
        supervised = supervised + loss * share
    if clean:
        share = len(augmented) / whole.unlabelled
        for task, scores in consistency_scores(head, augmented, whole.tasks).items():
            agreement = agreement + consistency(clean[task], scores, uda) * share
            sure = sure + confident(clean[task], uda).float().mean() * (share / len(clean))
    return Losses(supervised, agreement, sure)


@torch.no_grad()
def left_to_learn(
    learner: Learner, part: Part, uda: UdaSettings, progress: float, chunk: int
) -> Targets:
    """The labels that annealing leaves, by a forward without gradient of its own; on the CPU.

    Means are over the labels that are left of the whole batch. Where it is in several parts or
    processes, that many have to be known before the first backward.

    Args:
        learner: in training mode; running statistics end as they began.
        part: all labelled pictures of this process.
        uda: says how labels are let in.
        progress: share of the training that is done, in [0, 1].
        chunk: pictures a forward at most.
    """
    kept = [buffer.clone() for buffer in learner.buffers()]
    pictures = part.batch.labelled.tensor_split(ceil(len(part.targets) / chunk))  # of like size
    x = torch.cat([learner(some) for some in pictures])
    targets = _moved(part.targets, learner.device)
    left = annealed(learner.head, x, targets, uda.annealing, progress)
    for buffer, before in zip(learner.buffers(), kept, strict=True):
        buffer.copy_(before)
    return _moved(left, torch.device("cpu"))


@torch.no_grad()
def _clean_scores(learner: Learner, pictures: Tensor, tasks: Collection[str]) -> dict[str, Tensor]:
    """A forward of its own: in one with the augmented pictures batch norm would mix the two."""
    return consistency_scores(learner.head, learner(pictures), tasks)


def _moved(targets: Targets, device: torch.device) -> Targets:
    return Targets(
        targets.under.to(device),
        {task: values.to(device) for task, values in targets.classes.items()},
        {task: values.to(device) for task, values in targets.numbers.items()},
    )
