"""How far a job is, or what it came to, as a sentence. No torch here."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any


def in_words(progress: Mapping[str, Any]) -> str:
    """What a job's row says of its progress, for the command line and the dashboard.

    Args:
        progress: {"done", "total"} and, of a fine-tune, what `atlas.finetune` tells of a step; or
            the result of a job that is over.
    """
    if "promoted" in progress:
        done = "answers now" if progress["promoted"] else "was not promoted"
        return f"{progress['model']} {done}: {progress['reason']}"
    if {"done", "total"} <= progress.keys():
        counted = f"{progress['done']:,} of {progress['total']:,}"
        if "stage" not in progress:
            return counted
        if progress["stage"] != "fine-tuning":
            return f"{progress['stage']}: {counted}"
        left = timedelta(seconds=round(progress["eta_s"]))
        told = "; ".join((learning(progress), *progress["notes"]))
        return f"{progress['stage']}: {counted} steps, {left} left; {told}"
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in progress.items())


def learning(progress: Mapping[str, Any]) -> str:
    """What one step of a fine-tune says of itself, beside how many there are."""
    loss = f"loss {progress['supervised']:.3f}"
    if progress["sure"]:  # never without UDA
        loss += f" on labels, {progress['consistency']:.3f} on {progress['sure']:.0%} of the rest"
    return f"epoch {progress['epoch']:.1f}; {loss}; {progress['images_per_s']:.0f} images/s"
