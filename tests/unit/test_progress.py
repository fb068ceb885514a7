"""Progress of jobs in words."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest

from atlas.errors import Stopped
from atlas.progress import STAGES, Stages, in_words

STEP = {
    "stage": "training",
    "done": 120,
    "total": 1000,
    "epoch": 3.84,
    "supervised": 0.4121,
    "consistency": 0.02,
    "sure": 0.68,
    "images_per_s": 410.4,
    "eta_s": 183.7,
    "notes": ["half the batch at a time"],
}


@pytest.mark.parametrize(
    ("progress", "words"),
    [
        ({}, ""),
        ({"done": 1200, "total": 50000}, "1,200 of 50,000"),
        ({"closed": 3, "label_to_queue": 0.5}, "closed 3, label to queue 0.5"),
        (
            {"labels": 98, "seconds": {"read": 0.12, "fit": 1.82}, "parts": {"a": 1}},
            "labels 98, 1.9 s",
        ),
        (
            STEP,
            "training: 120 of 1,000 steps, 0:03:04 left; epoch 3.8; "
            "loss 0.412 on labels, 0.020 on 68% of the rest; 410 images/s; "
            "half the batch at a time",
        ),
        (
            STEP | {"consistency": 0.0, "sure": 0.0, "notes": []},  # plain fine-tuning
            "training: 120 of 1,000 steps, 0:03:04 left; epoch 3.8; loss 0.412; 410 images/s",
        ),
        ({"stage": "embedding", "done": 5, "total": 9}, "embedding: 5 of 9 images"),
        (
            {"stage": "embedding", "done": 500, "total": 50000, "eta_s": 3600.2},
            "embedding: 500 of 50,000 images, 1:00:00 left",
        ),
        ({"stage": "judging"}, "judging: both on labelled images that neither has seen"),
        (  # another may answer by now
            {"model": "m0005", "promoted": True, "reason": "better at kind, worse at none"},
            "m0005 was promoted: better at kind, worse at none",
        ),
        (
            {"model": "m0004", "promoted": False, "reason": "worse at kind"},
            "m0004 was not promoted: worse at kind",
        ),
    ],
)
def test_a_sentence_for_each_kind_of_progress(progress: dict[str, object], words: str) -> None:
    assert in_words(progress) == words


def test_each_stage_is_told_and_says_what_it_does() -> None:
    for stage in STAGES:
        assert in_words({"stage": stage}).startswith(f"{stage}: ")


def test_a_stage_that_counts_tells_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """300 of 900 are there already; 100 take 2 s, so the 500 that are left take 10 s."""
    told: list[Mapping[str, Any]] = []
    now_s = iter([7.0, 9.0])
    monkeypatch.setattr("atlas.progress.time", SimpleNamespace(monotonic=lambda: next(now_s)))
    counted = Stages(told.append, lambda: False).counting("embedding")
    counted(300, 900)
    counted(400, 900)
    assert told == [
        {"stage": "embedding"},
        {"stage": "embedding", "done": 300, "total": 900},
        {"stage": "embedding", "done": 400, "total": 900, "eta_s": 10.0},
    ]


def test_a_stage_ends_where_it_should_stop() -> None:
    told: list[Mapping[str, Any]] = []
    stages = Stages(told.append, lambda: len(told) >= 2)
    counted = stages.counting("embedding")
    with pytest.raises(Stopped, match="stopped at embedding; start it again to go on"):
        counted(1, 9)  # it was told that
    with pytest.raises(Stopped, match="stopped at fitting"):
        stages.enter("fitting")
    assert [at["stage"] for at in told] == ["embedding", "embedding"]
