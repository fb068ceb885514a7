"""Trains the small backbone that ships with the demo, on drawn things the demo does not hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
import json
from pathlib import Path
import time

import numpy as np
from safetensors.torch import save
from timm import create_model
from timm.data import resolve_model_data_config
from timm.scheduler import CosineLRScheduler
import torch
from torch import Tensor, nn

from atlas.demo.augment import Varied, vary
from atlas.demo.source import CLASSES, FACTS, THINGS, SourceSet, draw_source

IMAGE_SIZE = 64
OUTLINE_CELLS = 8

# Where a thing is teaches what a thing is: without it the first epochs learn nothing.
_OUTLINE_WEIGHT = 2.0
_FACTS_WEIGHT = 0.5
_VALIDATION_SHARE = 0.08


@dataclass(frozen=True)
class PretrainSettings:
    """The recipe; the defaults are what the shipped weights were made with."""

    arch: str = "test_byobnet"
    things: int = 24_000
    homes: int = 120
    epochs: int = 16
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    seed: int = 0
    threads: int = 1


QUICK = PretrainSettings(things=300, homes=4, epochs=4, batch_size=50)

Progress = Callable[[int, int], None]


class Pupil(nn.Module):
    """A timm backbone with three small layers on top that are dropped after the training."""

    def __init__(self, arch: str) -> None:
        super().__init__()
        self.backbone = create_model(arch, pretrained=False, num_classes=0)
        config = resolve_model_data_config(self.backbone)
        self.mean, self.std = tuple(config["mean"]), tuple(config["std"])
        with torch.no_grad():
            spread = self.backbone.eval().forward_features(
                torch.zeros(1, 3, IMAGE_SIZE, IMAGE_SIZE)
            )
            self.features = int(self.backbone.forward_head(spread).shape[1])
        self.classes = nn.Linear(self.features, len(CLASSES))
        self.facts = nn.Linear(self.features, len(FACTS))
        self.finer = OUTLINE_CELLS // spread.shape[-1]
        self.outline = nn.Conv2d(spread.shape[1], self.finer**2, 1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map (B, 3, H, W) in [0, 255] to class logits (B, C), facts (B, F), outline (B, 1, 8, 8).

        Pixels are normalised as timm says for the architecture, so that loading needs no more.
        """
        shift, scale = (torch.tensor(v).view(3, 1, 1) * 255 for v in (self.mean, self.std))
        normal = ((pixels - shift) / scale).contiguous(memory_format=torch.channels_last)
        spread = self.backbone.forward_features(normal)
        features = self.backbone.forward_head(spread)
        outline = nn.functional.pixel_shuffle(self.outline(spread), self.finer)
        return self.classes(features), self.facts(features), outline


def pretrain_demo(
    out: Path,
    *,
    quick: bool = False,
    settings: PretrainSettings | None = None,
    progress: Progress | None = None,
) -> dict[str, object]:
    """Train and write `backbone.safetensors` (float16) and `backbone.json` into `out`.

    The same settings give the same recipe; the weights agree bit by bit on one machine with one
    thread. `quick` takes QUICK instead of the shipped recipe where no settings are given.
    `progress` is told how many pictures were drawn and trained on, and how many there will be.
    The caller's torch random state and threads are left as they were.

    Returns:
        What `backbone.json` holds: arch, image_size, mean, std, features, parameters, seed, source
        accuracy on held-back pictures in [0, 1], the loss of every epoch, minutes and settings.
    """
    started = time.monotonic()
    chosen = settings or (QUICK if quick else PretrainSettings())
    tell = _Teller(chosen, progress)
    out.mkdir(parents=True, exist_ok=True)
    source = draw_source(
        things=chosen.things, homes=chosen.homes, seed=chosen.seed, progress=tell.drawn
    )
    training, validation = _split(len(source.classes), chosen.seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(chosen.threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(chosen.seed)
            pupil = Pupil(chosen.arch).to(memory_format=torch.channels_last)
            losses = _train(pupil, source, training, settings=chosen, tell=tell)
        pupil.half().float()  # what is measured is what is shipped
        accuracy = _source_accuracy(pupil, source, validation)
    finally:
        torch.set_num_threads(threads)
    facts = _save(out, pupil, chosen)
    facts |= {"source_accuracy": accuracy, "loss_by_epoch": losses}
    facts["minutes"] = round((time.monotonic() - started) / 60, 1)
    (out / "backbone.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts


class _Teller:
    """Counts pictures, drawn once and then trained on once an epoch."""

    def __init__(self, settings: PretrainSettings, progress: Progress | None) -> None:
        self.pictures = settings.things + settings.things // 3
        self.total = self.pictures * (1 + settings.epochs)
        self.progress = progress or (lambda done, total: None)

    def drawn(self, done: int, total: int) -> None:
        self.progress(done, self.total)

    def trained(self, epoch: int, share: float) -> None:
        self.progress(int(self.pictures * (1 + epoch + share)), self.total)


def _split(count: int, seed: int) -> tuple[Tensor, Tensor]:
    order = torch.from_numpy(np.random.default_rng([seed, count]).permutation(count))
    held_back = int(_VALIDATION_SHARE * count)
    return order[held_back:], order[:held_back]


def _train(
    pupil: Pupil,
    source: SourceSet,
    training: Tensor,
    *,
    settings: PretrainSettings,
    tell: _Teller,
) -> list[float]:
    layers = np.concatenate([source.pictures, source.outlines[:, :, :, None]], axis=3)
    pictures = torch.from_numpy(layers).permute(0, 3, 1, 2)
    classes, facts = torch.from_numpy(source.classes), _standardised(source, training)
    steps = len(training) // settings.batch_size
    optimizer = torch.optim.AdamW(
        pupil.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=steps * settings.epochs,
        warmup_t=max(1, steps * settings.epochs // 20),
        warmup_lr_init=settings.learning_rate / 50,
        t_in_epochs=False,
    )
    losses = []
    for epoch in range(settings.epochs):
        pupil.train()
        total = 0.0
        order = training[torch.randperm(len(training))]
        for step in range(steps):
            schedule.step_update(epoch * steps + step)
            batch = order[step * settings.batch_size : (step + 1) * settings.batch_size]
            varied = vary(pictures[batch], classes[batch] < len(THINGS))
            kept = batch[varied.order]
            loss = _loss(pupil, varied, classes[kept], facts[kept])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(pupil.parameters(), 2.0)
            optimizer.step()
            total += float(loss.detach())
            tell.trained(epoch, (step + 1) / steps)
        losses.append(round(total / steps, 4))
    return losses


def _standardised(source: SourceSet, training: Tensor) -> Tensor:
    known = source.facts[training.numpy()]
    scaled = (source.facts - np.nanmean(known, axis=0)) / np.nanstd(known, axis=0)
    return torch.from_numpy(scaled)


def _loss(pupil: Pupil, varied: Varied, classes: Tensor, facts: Tensor) -> Tensor:
    """Classes with label smoothing, and facts and outlines where they are known and still hold."""
    logits, guessed, outline = pupil(varied.pictures.float())
    known = ~torch.isnan(facts) & varied.faithful[:, None]
    missed = (guessed - facts.nan_to_num())[known]
    drawn = varied.faithful & (classes < len(THINGS))
    cells = varied.outlines[drawn].float() / 255
    covered = nn.functional.adaptive_avg_pool2d(cells, OUTLINE_CELLS)
    outside = nn.functional.binary_cross_entropy_with_logits(
        outline[drawn], covered, reduction="sum"
    )
    wrong = nn.functional.cross_entropy(logits, classes, label_smoothing=0.1)
    facts_loss = (missed**2).sum() / max(1, missed.numel())
    outline_loss = outside / max(1, covered.numel())
    total: Tensor = wrong + _FACTS_WEIGHT * facts_loss + _OUTLINE_WEIGHT * outline_loss
    return total


@torch.no_grad()
def _source_accuracy(pupil: Pupil, source: SourceSet, validation: Tensor) -> dict[str, float]:
    pupil.eval()
    pictures = torch.from_numpy(source.pictures).permute(0, 3, 1, 2)
    guessed = [
        pupil(pictures[chunk].float())[0].argmax(1) for chunk in torch.split(validation, 256)
    ]
    classes = torch.from_numpy(source.classes)[validation]
    right = (torch.cat(guessed) == classes).double()
    is_thing = classes < len(THINGS)
    return {
        "things": round(float(right[is_thing].mean()), 4),
        "valves": round(float(right[~is_thing].mean()), 4),
    }


def _save(out: Path, pupil: Pupil, settings: PretrainSettings) -> dict[str, object]:
    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in pupil.backbone.state_dict().items()
    }
    (out / "backbone.safetensors").write_bytes(save(weights, metadata={"arch": settings.arch}))
    return {
        "arch": settings.arch,
        "image_size": IMAGE_SIZE,
        "mean": list(pupil.mean),
        "std": list(pupil.std),
        "features": pupil.features,
        "parameters": sum(weight.numel() for weight in pupil.backbone.parameters()),
        "seed": settings.seed,
        "source_classes": len(CLASSES),
        "settings": asdict(settings),
    }
