"""Progress of jobs in words."""

import pytest

from atlas.progress import in_words

STEP = {
    "stage": "fine-tuning",
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
            STEP,
            "fine-tuning: 120 of 1,000 steps, 0:03:04 left; epoch 3.8; "
            "loss 0.412 on labels, 0.020 on 68% of the rest; 410 images/s; "
            "half the batch at a time",
        ),
        (
            STEP | {"consistency": 0.0, "sure": 0.0, "notes": []},  # plain fine-tuning
            "fine-tuning: 120 of 1,000 steps, 0:03:04 left; epoch 3.8; loss 0.412; 410 images/s",
        ),
        # what the steps said stays in the row beside what the embedding says
        (STEP | {"stage": "embedding", "done": 5, "total": 9}, "embedding: 5 of 9"),
        (
            {"model": "m0004", "promoted": False, "reason": "worse at kind"},
            "m0004 was not promoted: worse at kind",
        ),
    ],
)
def test_a_sentence_for_each_kind_of_progress(progress: dict[str, object], words: str) -> None:
    assert in_words(progress) == words
