"""Schedules that train when new images drift."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from retraining_support import HOUR, LEAVES, NOON, bare_project, end, label, model, said
from sqlalchemy import update

from atlas.analysis.stored import Guesses, root_of, save_guesses
from atlas.project import Project
from atlas.promotion import promote
from atlas.store.tables import Image
from services.retraining.keeping import carry_out, overview, set_schedule


@pytest.fixture
def bare(tmp_path: Path) -> Project:
    return bare_project(tmp_path / "project")


def test_images_that_came_since_the_last_training_drift(bare: Project) -> None:
    """60 images at 0.9 when the schedule was set; 49 and then 50 came since, at 0.7."""
    set_schedule(bare, "finetune", {"drift": {"shape": 0.15}}, now=NOON)
    label(bare, 0, 110)
    model(bare, "m0001", NOON, 5)
    guess(bare, "m0001", [0.9] * 60 + [0.7] * 50)
    with bare.database.session() as session:
        promote(session, "m0001", reason="trained")
        session.execute(update(Image).values(added_at=NOON))
    came(bare, range(61, 110), NOON + HOUR)
    guess(bare, "m0001", [0.9] * 60 + [0.7] * 50)  # as the worker does where images have come
    assert carry_out(bare, now=NOON + HOUR) == []
    came(bare, range(60, 61), NOON + HOUR)
    guess(bare, "m0001", [0.9] * 60 + [0.7] * 50)
    assert carry_out(bare, now=NOON + 2 * HOUR) == ["finetune"]
    end(bare, "finetune")
    assert carry_out(bare, now=NOON + 3 * HOUR) == []  # all of them came before it
    assert said(bare) == [
        (False, "not retrained: drift of shape is not known: 49 of 50 new images"),
        (True, "drift of shape 20.0 of 15 points"),
        (False, "not retrained: drift of shape is not known: 0 of 50 new images"),
    ]


def test_without_a_model_or_its_guesses_drift_is_not_known(bare: Project) -> None:
    set_schedule(bare, "finetune", {"drift": {"shape": 0.15}}, now=NOON)
    label(bare, 0, 60)
    unknown = "not retrained: drift of shape is not known: 0 of 50 new images"
    assert overview(bare)["finetune"]["now"] == unknown
    model(bare, "m0001", NOON, 5)
    with bare.database.session() as session:
        promote(session, "m0001", reason="trained")
    assert overview(bare)["finetune"]["now"] == unknown
    guess(bare, "m0001", [0.5] * 60)  # all are new: nothing to compare with
    assert overview(bare)["finetune"]["now"].endswith("not known: 60 of 50 new images")
    (root_of(bare) / "m0001" / "pool.npz").write_bytes(b"half of a fi")
    assert overview(bare)["finetune"]["now"] == unknown
    assert carry_out(bare) == []  # and the clock goes on


def guess(project: Project, model_id: str, sure: list[float]) -> None:
    """The guesses of a model that was so sure of the pool's images, in order."""
    ids = tuple(f"img_{number}" for number in range(len(sure)))
    found = Guesses(
        ids,
        {"shape": LEAVES},
        {"shape": np.zeros(len(sure), dtype=np.int16)},
        {"shape": np.array(sure, dtype=np.float32)},
    )
    save_guesses(root_of(project) / model_id, found)


def came(project: Project, numbers: range, at: datetime) -> None:
    names = [f"img_{number}" for number in numbers]
    with project.database.session() as session:
        session.execute(update(Image).where(Image.id.in_(names)).values(added_at=at))
