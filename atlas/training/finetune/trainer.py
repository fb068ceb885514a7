"""The steps of a fine-tune: gradients, the optimiser, the moving average, and their state."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from math import ceil, isfinite
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from atlas.errors import Stopped, TrainingError
from atlas.losses import Targets
from atlas.settings import Settings, UdaSettings
from atlas.training.finetune.average import MovingAverage
from atlas.training.finetune.batches import NETWORK, WHOLE, Batch, Batches, seed_of
from atlas.training.finetune.interruption import Watch, is_out_of_memory, never
from atlas.training.finetune.learner import Learner, new_optimizer, new_schedule
from atlas.training.finetune.objective import Losses, Part, Whole, left_to_learn, part_losses, split
from atlas.training.finetune.processes import Processes

T = TypeVar("T")
SMALLER = (
    "train fewer layers (finetune.unfreeze_from), smaller pictures (backbone.image_size) or a "
    "smaller backbone"
)


class Trainer:
    """Takes steps; all chance in a step comes from the seed and the step's number.

    Args:
        learner: trained in place.
        targets: N labels, on the CPU.
        batches: makes the batches that `step` is given, in order.
        settings: of the project.
        processes: which share of a batch is this one's.

    Attributes:
        done: steps taken.
        chunk: most images in a forward; halved where memory runs out.
        notes: what the user should know.
        history: (steps, 3) float32, see `FinetuneResult`; NaN for steps to come.
        average: the learner's moving average.
    """

    def __init__(
        self,
        learner: Learner,
        targets: Targets,
        batches: Batches,
        settings: Settings,
        processes: Processes,
    ) -> None:
        self.learner, self.targets, self.batches = learner.train(), targets, batches
        self.settings, self.processes = settings, processes
        self.tasks = learner.head.present(targets)
        self.parameters = learner.trained()
        self.optimizer = new_optimizer(learner)
        self.schedule = new_schedule(self.optimizer, settings.finetune)
        self.average = MovingAverage(learner, settings.finetune.ema_decay)
        self.watch = Watch(learner.network)  # after the copy, which nobody stops
        self.done = 0
        self.chunk = settings.finetune.chunk_size
        self.notes: list[str] = []
        self.history = torch.full((settings.finetune.steps, len(Losses._fields)), torch.nan)

    def step(self, batch: Batch, should_stop: Callable[[], bool]) -> None:
        """Train on the next batch.

        Raises:
            Stopped: `should_stop()` said so between two layers; the step was not taken. Several
                processes do not ask: all would have to at the same time.
            TrainingError: a loss that is not finite, or too little memory for a single image; the
                step was not taken. Or too little for what the optimiser remembers; then it was
                taken in part, and only a checkpoint from before is of use.
        """
        losses = self._gradients(batch, should_stop)
        norm = get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        *parts, size = torch.cat([losses, norm.reshape(1)]).tolist()  # waits for the GPU once
        if not all(isfinite(value) for value in (*parts, size)):
            raise TrainingError(
                f"the loss is not finite at step {self.done + 1}; lower finetune.learning_rate "
                f"(now {self.settings.finetune.learning_rate:g}) or set finetune.precision to "
                "float32; the checkpoint from before is kept"
            )
        if size > self.settings.finetune.clip_norm:
            clip_grads_with_norm_(self.parameters, self.settings.finetune.clip_norm, norm)
        self.schedule.step(self.done)
        self._step()
        self.history[self.done] = torch.tensor(parts)
        self.done += 1
        self.average.update(self.done)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on. Chance and schedule follow from the step's number."""
        return {
            "done": self.done,
            "chunk": self.chunk,
            "notes": self.notes,
            "history": self.history,
            "learner": self.learner.state_dict(),
            "average": self.average.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a `state`."""
        self.done, self.chunk = state["done"], min(self.chunk, state["chunk"])
        self.notes, self.history = list(state["notes"]), state["history"]
        self.learner.load_state_dict(state["learner"])
        self.average.module.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _gradients(self, batch: Batch, should_stop: Callable[[], bool]) -> Tensor:
        """Leave the whole batch's gradients in the parameters; its losses, (3,)."""
        moving = self.settings.finetune.batch_norm == "train"
        kept = [buffer.clone() for buffer in self.learner.buffers()] if moving else []
        with self.watch.asking(should_stop if self.processes.share.world == 1 else never):
            try:
                while (losses := self._backward_or_nothing(batch)) is None:
                    self._take_back(kept)
                    self._halve(len(batch.labelled) + len(batch.augmented))
            except Stopped:
                self._take_back(kept)
                raise
        self.processes.sum_gradients(self.parameters)
        return self.processes.sum(losses)

    def _take_back(self, buffers: Sequence[Tensor]) -> None:
        """A step that breaks off can be redone: it leaves no trace."""
        self.optimizer.zero_grad()
        for buffer, before in zip(self.learner.buffers(), buffers, strict=False):
            buffer.copy_(before)

    def _backward_or_nothing(self, batch: Batch) -> Tensor | None:
        """None where memory ran out, here or in another process."""
        head, share, uda = self.learner.head, self.processes.share, self.settings.uda
        self._seed(seed_of(self.settings.seed, NETWORK, self.done, share.rank))
        self.optimizer.zero_grad()
        mine = Part(batch, self.targets[torch.from_numpy(self.batches.rows(self.done, share))])
        all_targets = self.targets[torch.from_numpy(self.batches.rows(self.done, WHOLE))]
        whole = Whole.of(all_targets, head, self.batches.unlabelled_size, self.tasks)
        present = tuple(whole.labels)
        if uda.annealing != "off" and (share.world > 1 or mine.pictures > self.chunk):
            left = self._or_nothing(partial(self._left_to_learn, mine))
            if left is None:
                return None
            mine = Part(batch, left)
            whole = replace(whole, labels=self._count(left, present))
            uda = uda.model_copy(update={"annealing": "off"})
        return self._or_nothing(partial(self._backward, mine, whole, present, uda))

    def _or_nothing(self, work: Callable[[], T]) -> T | None:
        result = None
        try:
            result = work()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        (too_large,) = self.processes.any([result is None], self.learner.device)
        return None if too_large else result

    def _left_to_learn(self, part: Part) -> Targets:
        return left_to_learn(self.learner, part, self.settings.uda, self._progress(), self.chunk)

    def _count(self, targets: Targets, tasks: Sequence[str]) -> dict[str, int]:
        """Task → labels in all processes."""
        counts = torch.tensor([int(targets.labelled(task).sum()) for task in tasks])
        summed = self.processes.sum(counts.to(self.learner.device))
        return dict(zip(tasks, summed.tolist(), strict=True))

    def _backward(
        self, mine: Part, whole: Whole, present: Sequence[str], uda: UdaSettings
    ) -> Tensor:
        # part of the sum over processes, so each adds its part of it
        rest = self.learner.head.penalty(present) / self.processes.share.world
        if rest.requires_grad:  # not where no label is of a task that the head knows
            rest.backward()  # type: ignore[no-untyped-call]
        total = torch.stack([rest.detach(), rest.new_zeros(()), rest.new_zeros(())])
        for part in split(mine.batch, mine.targets, self.chunk):
            losses = part_losses(self.learner, part, whole, uda, self._progress())
            loss = losses.supervised + uda.weight * losses.consistency
            if loss.requires_grad:  # not where no label is left and there are no other images
                loss.backward()  # type: ignore[no-untyped-call]
            total += torch.stack(losses).detach()
        return total

    def _progress(self) -> float:
        return self.done / len(self.history)

    def _step(self) -> None:
        try:
            self.optimizer.step()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            # its memory is laid out in the first step; smaller forwards would not make room for it
            raise TrainingError(
                f"out of memory at what the optimiser remembers of each weight; {SMALLER}"
            ) from error

    def _seed(self, seed: int) -> None:
        if self.learner.device.type == "cpu":
            # on the CPU alone torch.manual_seed spends a millisecond on accelerators not in use
            torch.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def _halve(self, images: int) -> None:
        before = min(self.chunk, images)
        if before <= 1:
            raise TrainingError(f"out of memory with a single image a forward; {SMALLER}")
        self.chunk = before // 2
        if self.learner.device.type == "cuda":
            torch.cuda.empty_cache()
        self.notes.append(
            f"out of memory at step {self.done + 1}: {before} images a forward halved to "
            f"{self.chunk}, gradients accumulated over {ceil(images / self.chunk)} forwards"
        )
