"""The whole of a fine-tune, from its material to the weights on the disk."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
import time
from typing import Never

from safetensors.torch import save
import torch

from atlas.backbone import Backbone
from atlas.errors import Stopped, TrainingError
from atlas.losses import encode
from atlas.settings import BackboneSettings, Settings
from atlas.training.finetune.batches import Batch, Batches
from atlas.training.finetune.checkpoint import load_checkpoint, save_checkpoint, write_whole
from atlas.training.finetune.interruption import never
from atlas.training.finetune.learner import Learner
from atlas.training.finetune.material import (
    FinetuneResult,
    Material,
    Progress,
    backbone_file,
    identity,
)
from atlas.training.finetune.processes import Processes, join_processes
from atlas.training.finetune.stream import stream_batches
from atlas.training.finetune.trainer import Trainer

Report = Callable[[Progress], None]


def run_finetune(
    material: Material,
    settings: Settings,
    *,
    folder: Path,
    progress: Report | None = None,
    should_stop: Callable[[], bool] = never,
) -> FinetuneResult:
    """Train backbone and head on labelled pictures and, with UDA, on unlabelled ones.

    Started again with the same folder it goes on from the last checkpoint and, on a CPU, ends with
    the weights of a run that was never interrupted; a finished one gives its result again at once.
    Under `torchrun` the first process calls this, and alone writes; the others call `take_part`.

    Args:
        material: what is learned from.
        settings: of the project: `seed`, `backbone`, `finetune` and `uda`.
        folder: for the checkpoint and the weights; one fine-tune's own.
        progress: called after every step.
        should_stop: asked before every step, between layers and twice a second while pictures are
            waited for, so it should answer at once.

    Raises:
        Stopped: `should_stop()` said so; the checkpoint is of the last step.
        TrainingError: no labels, an image that cannot be read, a loss that is not finite, too
            little memory for one image, or a checkpoint in the folder that is another fine-tune's.
        SettingsError: `finetune.unfreeze_from` names no layer, or fewer images in a batch than
            processes.
        BackboneError: see `Backbone`.
        DiskFull: no room; the checkpoint from before is kept.
    """
    if not material.labels:
        raise TrainingError("no labels to train on yet; label some queries first")
    with (
        torch.random.fork_rng(devices=[]),  # steps seed torch's generator
        join_processes(settings.backbone) as (processes, backbone_settings),
    ):
        processes.from_first((material, settings, folder))
        run = _Run(material, settings, Backbone(backbone_settings), processes, folder)
        run.train(progress, should_stop)
        return run.finish()


def take_part(device: BackboneSettings) -> None:
    """Train with the first process of `torchrun`, until it is done, is stopped or dismisses us.

    Args:
        device: whose `device` is used; the rest comes from the first process.

    Raises:
        Stopped, TrainingError, SettingsError, BackboneError: as `run_finetune` there.
    """
    with (
        torch.random.fork_rng(devices=[]),
        join_processes(device) as (processes, mine),
    ):
        given = processes.from_first(None)
        if given is None:
            return
        material, settings, folder = given
        backbone = settings.backbone.model_copy(update={"device": mine.device})
        run = _Run(material, settings, Backbone(backbone), processes, folder)
        run.train(None, never)
        run.finish()


def dismiss(device: BackboneSettings) -> None:
    """Let those that `take_part` go, where there is nothing to train.

    Args:
        device: as theirs.
    """
    with join_processes(device) as (processes, _):
        processes.from_first(None)


class _Run:
    """A fine-tune in one process, gone on with where there is a checkpoint."""

    def __init__(
        self,
        material: Material,
        settings: Settings,
        backbone: Backbone,
        processes: Processes,
        folder: Path,
    ) -> None:
        self.material, self.settings = material, settings
        self.processes, self.folder = processes, folder
        self.identity = identity(material, settings, backbone)
        self.batches = Batches(material, settings, backbone, processes.share)
        self.trainer = Trainer(
            Learner(backbone, material.head, settings.finetune),
            encode(material.labels, material.head.taxonomy),
            self.batches,
            settings,
            processes,
        )
        state = load_checkpoint(folder, self.identity)
        if state is not None:
            self.trainer.load(state)
        elif settings.uda.weight and not material.unlabelled:
            self.trainer.notes.append("no unlabelled image: plain fine-tuning, without UDA")

    def train(self, progress: Report | None, should_stop: Callable[[], bool]) -> None:
        trainer, settings = self.trainer, self.settings.finetune
        started, first = time.monotonic(), trainer.done
        saved = started
        stream = stream_batches(
            self.batches,
            range(first, settings.steps),
            workers=settings.workers,
            pin=trainer.learner.device.type == "cuda",
        )
        with closing(stream):
            for _ in range(first, settings.steps):
                self._step(self._next(stream, should_stop), should_stop)
                if time.monotonic() - saved >= settings.checkpoint_every_s:
                    self.save()
                    saved = time.monotonic()
                if progress is not None:
                    progress(self._progress(time.monotonic() - started, trainer.done - first))

    def save(self) -> None:
        if self.processes.first:
            save_checkpoint(self.folder, self.trainer.state(), self.identity)

    def finish(self) -> FinetuneResult:
        self.save()
        average, path = self.trainer.average.module, backbone_file(self.folder)
        if self.processes.first:
            content = save(average.backbone.weights())
            write_whole(path, lambda file: file.write(content))
        self.processes.wait()
        return FinetuneResult(
            self.settings.backbone.model_copy(update={"checkpoint": str(path)}),
            average.head.cpu().eval(),
            self.trainer.history.numpy(),
            tuple(self.trainer.notes),
        )

    def _next(self, stream: Iterator[Batch | None], should_stop: Callable[[], bool]) -> Batch:
        """The next batch, once every process has its own; whether to go on is asked meanwhile."""
        batch: Batch | None = None
        while True:
            if batch is None:
                batch = next(stream)
            error = "" if batch is None else batch.error
            flags = [should_stop(), bool(error), batch is None]
            stop, unreadable, wait = self.processes.any(flags, self.trainer.learner.device)
            if stop:
                self._stop()
            if unreadable:
                self.save()
                raise TrainingError(
                    f"{error or 'another process cannot read an image'}; put the image back and "
                    f"start again to go on after step {self.trainer.done}, or begin again without "
                    "images that are gone: `atlas finetune --anew`"
                )
            if batch is not None and not wait:
                return batch

    def _stop(self) -> Never:
        self.save()
        done = self.trainer.done
        raise Stopped(f"fine-tuning stopped after step {done}; start it again to go on")

    def _step(self, batch: Batch, should_stop: Callable[[], bool]) -> None:
        try:
            self.trainer.step(batch, should_stop)
        except Stopped:
            self._stop()

    def _progress(self, seconds: float, steps: int) -> Progress:
        trainer, sizes = self.trainer, self.batches.sizes
        supervised, consistency, sure = trainer.history[trainer.done - 1].tolist()
        total = len(trainer.history)
        return Progress(
            step=trainer.done,
            steps=total,
            epoch=trainer.done * self.batches.labelled_size / len(self.material.labelled),
            supervised=supervised,
            consistency=consistency,
            sure=sure,
            images_per_s=steps * sum(sizes.values()) / seconds,
            eta_s=(total - trainer.done) * seconds / steps,
            notes=tuple(trainer.notes),
        )
