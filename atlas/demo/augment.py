"""Varies batches of source pictures while the small backbone trains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

_CHUNK = 16
_MARGIN = 6
_REDRAWN_SHARE = 0.25


@dataclass(frozen=True)
class Varied:
    """A varied batch: pictures (B, 3, H, W) uint8, outlines (B, 1, H, W) uint8, and two (B,).

    `order` says which picture of the batch each one was made from. Where `faithful` is False,
    colours or geometry changed, so that the outline and the facts no longer hold.
    """

    pictures: Tensor
    outlines: Tensor
    order: Tensor
    faithful: Tensor


def vary(layers: Tensor, is_thing: Tensor) -> Varied:
    """Shift every picture; flip things, and RandAugment some of them, chunk by chunk.

    A spectrogram is only shifted in time: turned or mirrored it would be another event.

    Args:
        layers: (B, 4, H, W) uint8, red, green, blue and outline.
        is_thing: (B,) bool.
    """
    things, events = torch.nonzero(is_thing).flatten(), torch.nonzero(~is_thing).flatten()
    chunks, faithful = [], []
    for chunk in torch.split(things, _CHUNK):
        varied, unchanged = _vary_things(layers[chunk])
        chunks.append(varied)
        faithful.append(torch.full((len(chunk),), unchanged))
    for chunk in torch.split(events, _CHUNK):
        chunks.append(_shift(layers[chunk], up=0))
        faithful.append(torch.ones(len(chunk), dtype=torch.bool))
    together = torch.cat(chunks)
    order = torch.cat([things, events])
    return Varied(together[:, :3], together[:, 3:], order, torch.cat(faithful))


def _vary_things(layers: Tensor) -> tuple[Tensor, bool]:
    shifted = _shift(layers, up=_draw(_MARGIN))
    if torch.rand(()) < 0.5:
        shifted = shifted.flip(-1)
    if torch.rand(()) >= _REDRAWN_SHARE:
        return shifted, True
    changed = v2.RandAugment(num_ops=2, magnitude=6)(shifted[:, :3])
    return torch.cat([changed, shifted[:, 3:]], dim=1), False


def _shift(layers: Tensor, *, up: int) -> Tensor:
    height, width = layers.shape[-2:]
    left = _MARGIN + _draw(_MARGIN)
    padded: Tensor = v2.functional.pad(layers, [_MARGIN], padding_mode="reflect")
    top = _MARGIN + up
    return padded[:, :, top : top + height, left : left + width]


def _draw(reach: int) -> int:
    return int(torch.randint(-reach, reach + 1, ()))
