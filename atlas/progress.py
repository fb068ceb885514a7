"""How far a job is, or what it came to, as a sentence. No torch here."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any


def in_words(progress: Mapping[str, Any]) -> str:
    """What a job's row says of its progress, for the command line and the dashboard.

    Args:
        progress: {"done", "total"} and, of a fine-tune, its stage, losses, speed and time left; or
            the result of a job that is over.
    """
    if "promoted" in progress:
        done = "answers now" if progress["promoted"] else "was not promoted"
        return f"{progress['model']} {done}: {progress['reason']}"
    if {"done", "total"} <= progress.keys():
        counted = f"{progress['done']:,} of {progress['total']:,}"
        if "stage" not in progress:
            return counted
        return f"{progress['stage']}: {counted}{_losses(progress)}"
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in progress.items())


def _losses(progress: Mapping[str, Any]) -> str:
    if progress["stage"] != "fine-tuning":
        return ""
    left = timedelta(seconds=round(progress["eta_s"]))
    return (
        f" steps, {left} left; loss {progress['supervised']:.3f} on labels, "
        f"{progress['consistency']:.3f} on {progress['sure']:.0%} of the rest; "
        f"{progress['images_per_s']:.0f} images/s"
    )
