"""How far a job is, or what it came to, as a sentence; the stages of a fine-tune. No torch here."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
import time
from typing import Any

from atlas.errors import Stopped

Tell = Callable[[Mapping[str, Any]], None]

STAGES = {  # stage of a fine-tune → what it counts, or what it does where it is too short to count
    "waiting": "for one that ran a moment ago, to see whether it still does",
    "preparing": "the backbone, and a head on it to compare with",
    "training": "steps",
    "embedding": "images",
    "embedding views": "views",
    "fitting": "a head on the new bottlenecks",
    "judging": "both on labelled images that neither has seen",
    "registering": "a model on every label, measured on the audit set",
}


class Stages:
    """Tells the stages of a fine-tune one by one, and ends it where it should stop.

    Args:
        tell: told {"stage"}; where the stage counts also {"done", "total"} and, from the second
            time on, {"eta_s"}.
        should_stop: asked before every stage, and as often as one tells how far it is.
    """

    def __init__(self, tell: Tell, should_stop: Callable[[], bool]) -> None:
        self._tell, self._should_stop = tell, should_stop

    def enter(self, stage: str) -> None:
        """Begin a stage.

        Raises:
            Stopped: it should stop.
        """
        self._go_on(stage)
        self._tell({"stage": stage})

    def counting(self, stage: str) -> Callable[[int, int], None]:
        """Begin a stage; what is given back is told how much is done, of how much.

        Raises:
            Stopped: as `enter`; so does what is given back.
        """
        self.enter(stage)
        first: tuple[int, float] | None = None

        def tell(done: int, total: int) -> None:
            nonlocal first
            now_s = time.monotonic()
            first = first or (done, now_s)
            facts: dict[str, Any] = {"stage": stage, "done": done, "total": total}
            if done > first[0]:
                facts["eta_s"] = (total - done) * (now_s - first[1]) / (done - first[0])
            self._tell(facts)
            self._go_on(stage)

        return tell

    def _go_on(self, stage: str) -> None:
        if self._should_stop():
            raise Stopped(f"fine-tuning stopped at {stage}; start it again to go on")


def in_words(progress: Mapping[str, Any]) -> str:
    """What a job's row says of its progress, for the command line and the dashboard.

    Args:
        progress: {"done", "total"}, and of a fine-tune what `atlas.finetune` tells; or the result
            of a job that is over.
    """
    if "promoted" in progress:
        done = "was promoted" if progress["promoted"] else "was not promoted"
        return f"{progress['model']} {done}: {progress['reason']}"
    if "stage" in progress:
        return _stage(progress)
    if {"done", "total"} <= progress.keys():
        return _counted(progress)
    return ", ".join(_facts(progress))


def _facts(progress: Mapping[str, Any]) -> Iterator[str]:
    """What a result says, one by one; what it says in parts is for a log, but for how long."""
    for key, value in progress.items():
        if not isinstance(value, Mapping):
            yield f"{key.replace('_', ' ')} {value}"
        elif key == "seconds":
            yield f"{sum(value.values()):.1f} s"


def _stage(progress: Mapping[str, Any]) -> str:
    stage = progress["stage"]
    if "done" not in progress:
        return f"{stage}: {STAGES[stage]}"
    told = f"{stage}: {_counted(progress)} {STAGES[stage]}"
    if "eta_s" in progress:
        told += f", {timedelta(seconds=round(progress['eta_s']))} left"
    if stage != "training":
        return told
    return "; ".join((told, learning(progress), *progress["notes"]))


def _counted(progress: Mapping[str, Any]) -> str:
    return f"{progress['done']:,} of {progress['total']:,}"


def learning(progress: Mapping[str, Any]) -> str:
    """What one step of a fine-tune says of itself, beside how many there are."""
    loss = f"loss {progress['supervised']:.3f}"
    if progress["sure"]:  # never without UDA
        loss += f" on labels, {progress['consistency']:.3f} on {progress['sure']:.0%} of the rest"
    return f"epoch {progress['epoch']:.1f}; {loss}; {progress['images_per_s']:.0f} images/s"
