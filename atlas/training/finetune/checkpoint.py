"""Checkpoints: written whole or not at all, and only continued by the fine-tune that wrote them."""

from collections.abc import Callable, Mapping
import os
from pathlib import Path
from typing import Any, BinaryIO

import torch

from atlas.errors import TrainingError, explain_full_disk

CHECKPOINT = "checkpoint.pt"


def save_checkpoint(folder: Path, state: Mapping[str, Any], identity: Mapping[str, str]) -> None:
    """Write `state` (tensors, numbers, text, and lists and dicts of them).

    Raises:
        DiskFull: no room; the checkpoint from before is kept.
    """
    content = {"identity": dict(identity), "state": dict(state)}
    write_whole(folder / CHECKPOINT, lambda file: _save(content, file))


def load_checkpoint(folder: Path, identity: Mapping[str, str]) -> dict[str, Any] | None:
    """What was saved last, on the CPU; None where nothing was.

    A checkpoint of other labels, images, weights or settings is refused: going on from it would
    mix two fine-tunes, and dropping it could drop hours.

    Raises:
        TrainingError: it belongs to another fine-tune, or is damaged.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        found, state = dict(content["identity"]), dict(content["state"])
    except Exception as error:  # torch's readers raise a dozen kinds for a damaged file
        raise TrainingError(
            f"{path} is damaged ({type(error).__name__}); begin again with `atlas finetune --anew`"
        ) from error
    changed = [name for name, value in identity.items() if found.get(name) != value]
    if changed:
        raise TrainingError(
            f"{path} was made with other {', '.join(changed)}; put them back as they were to go "
            "on, or begin again with `atlas finetune --anew`"
        )
    return state


def _save(content: Mapping[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(content, file)
    except RuntimeError as error:
        # torch stumbles over its unfinished archive and so hides what the disk said
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace a file so that after a crash or a power cut it is the old one or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")
    with explain_full_disk(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
