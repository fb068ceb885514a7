"""What a fine-tune is given, and what it gives back."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
import hashlib
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from atlas.backbone import Backbone
from atlas.heads import Head
from atlas.settings import BackboneSettings, Settings

# What may differ between a stop and its resumption: the result is the same to rounding.
_FREE = {
    "finetune": {"chunk_size", "workers", "checkpoint_every_s"},
    "backbone": {"batch_size", "device", "checkpoint"},
    "head": {"views", "views_sample"},  # the head that a fine-tune starts from does without
}


@dataclass(frozen=True)
class Material:
    """What is learned from.

    Attributes:
        head: trained on bottlenecks of the backbone that is to be fine-tuned; left as it is.
        labelled: N locations of images, see `atlas.images`.
        labels: N mappings task → value, each of one value or more.
        unlabelled: M locations; not looked at where `uda.weight` is 0.
        content: location → SHA-256 of its bytes, by which a resumption knows an image that has
            moved; where there is none, the location is what it is known by.
    """

    head: Head
    labelled: Sequence[str]
    labels: Sequence[Mapping[str, str]]
    unlabelled: Sequence[str] = ()
    content: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Where a fine-tune is.

    Attributes:
        step: steps done, of `steps`.
        epoch: how often each labelled image was seen.
        supervised: the tasks' losses and the head's penalty, at this step.
        consistency: UDA's loss before its weight, at this step; 0 without unlabelled images.
        sure: share in [0, 1] of unlabelled images whose target was sure enough, over the tasks.
        images_per_s: pictures labelled and unlabelled, since this process began.
        eta_s: seconds that are left at this speed.
        notes: what the user should know, such as a halved batch.
    """

    step: int
    steps: int
    epoch: float
    supervised: float
    consistency: float
    sure: float
    images_per_s: float
    eta_s: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class FinetuneResult:
    """A finished fine-tune. All weights are the moving averages (EMA).

    Attributes:
        backbone: settings whose checkpoint is the fine-tuned network, ready for `Backbone`.
        head: trained along, on the CPU; its temperature and moments are still the old ones.
        history: (steps, 3) float32: supervised loss, consistency loss and share sure of each step.
        notes: see `Progress`.
    """

    backbone: BackboneSettings
    head: Head
    history: NDArray[np.float32]
    notes: tuple[str, ...]


def identity(material: Material, settings: Settings, backbone: Backbone) -> dict[str, str]:
    """Name of each thing that decides the result → 24 hex digits of what it is.

    Nothing of it is where things lie, or the outcome of a computation. The head that is started
    from is told by what it is made from: another processor rounds its weights otherwise, and a
    checkpoint carries them anyway.
    """
    sections = {"seed", "finetune", "uda", "backbone", "head"}
    chosen = settings.model_dump(mode="json", include=sections)
    for section, keys in _FREE.items():
        for key in keys:
            del chosen[section][key]
    head = [chosen.pop("head"), asdict(material.head.taxonomy)]
    labelled, unlabelled = (
        [material.content.get(location, location) for location in locations]
        for locations in (material.labelled, material.unlabelled if settings.uda.weight else ())
    )
    return {
        "settings": _digest(chosen),
        "labels": _digest([labelled, [dict(values) for values in material.labels]]),
        "unlabelled images": _digest(unlabelled),
        "head": _digest(head),
        "backbone": backbone.fingerprint,
    }


def backbone_file(folder: Path) -> Path:
    """Where a fine-tune in `folder` leaves the network's weights."""
    return folder / "backbone.safetensors"


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
