"""Who judges a fine-tune: no image that taught the backbone it starts from, or one before that."""

from pathlib import Path
from typing import Any

import pytest
from rounds_support import go_round

from atlas.answering import TUNED, said_of
from atlas.batches import Ask
from atlas.errors import TrainingError
from atlas.finetune import finetune, is_held_out
from atlas.project import Project
from atlas.promotion import promote
from atlas.settings_file import change_setting
from atlas.store.tables import ModelRow
from atlas.training.finetune.began import look
from atlas.training.finetune.judges import untaught_share


@pytest.fixture
def labelled(project: Project) -> Project:
    """28 labels and a model."""
    go_round(project, Ask(28, "random"))
    return project


def with_share(project: Project, share: float) -> Project:
    change_setting(project.directory, "finetune", "held_out", share)
    return Project(project.directory)


def tune(project: Project, name: str, **told: Any) -> None:
    """A model as a fine-tune leaves it, which answers from now on."""
    tuned = project.settings.backbone.model_copy(
        update={"checkpoint": str(Path(project.directory) / "backbones" / f"{name}.safetensors")}
    )
    metrics = {**said_of(project, tuned), "finetune": {"run": name, **told}}
    with project.database.session() as session:
        session.add(ModelRow(id=name, head="tree", fingerprint=name, labels=28, metrics=metrics))
        session.flush()
        promote(session, name, reason="fine-tuned")


def heads_on(project: Project, name: str, tuned: str) -> None:
    """A later model whose heads read a tuned backbone."""
    with project.database.session() as session:
        said = session.get_one(ModelRow, tuned).metrics[TUNED]
        session.add(
            ModelRow(id=name, head="tree", fingerprint=tuned, labels=28, metrics={TUNED: said})
        )
        session.flush()
        promote(session, name, reason="trained")


def test_the_smallest_share_held_out_on_the_way_is_the_largest_that_judges(
    labelled: Project,
) -> None:
    project = with_share(labelled, 0.7)
    assert (untaught_share(project), look(project).share) == (1, 0.7)
    tune(project, "m0002", held_out=0.4)
    heads_on(project, "m0003", "m0002")
    assert (untaught_share(project), look(project).share) == (0.4, 0.4)
    began = look(project)
    assert began.held_out == [one for one in began.labels if is_held_out(one, 0.4)]
    assert set(began.learned) | set(began.held_out) == set(began.labels)
    assert look(with_share(project, 0.1)).share == 0.1
    tune(project, "m0004")  # of an Atlas that did not say it: the default
    assert untaught_share(project) == 0.2
    with project.database.session() as session:
        promote(session, "m0001", reason="by hand")  # on the backbone that nobody tuned
    assert look(with_share(project, 0.7)).share == 0.7


@pytest.mark.parametrize(
    ("share", "tuned", "advice"),
    [
        (0.1, None, r"Label more, or raise finetune.held_out \(0.1\)$"),
        (0.1, 0.2, r"raise finetune.held_out \(0.1\), to 0.2 at most: the present backbone has"),
        (0.7, 0.1, r"Label more; to raise finetune.held_out \(0.7\) would not help, as .* of 0.1$"),
    ],
)
def test_too_few_judges_get_advice_that_helps(
    labelled: Project, share: float, tuned: float | None, advice: str
) -> None:
    project = with_share(labelled, share)
    if tuned is not None:
        tune(project, "m0002", held_out=tuned)
    with pytest.raises(TrainingError, match=advice):
        finetune(project, progress=lambda _: None, should_stop=lambda: False)


def test_the_same_images_judge_every_time_and_their_share_is_as_asked() -> None:
    ids = [f"img_{number:016x}" for number in range(4000)]
    held = [is_held_out(one, 0.2) for one in ids]
    assert held == [is_held_out(one, 0.2) for one in ids]
    assert 0.18 < sum(held) / len(held) < 0.22  # 4 standard deviations are 0.025
    assert all(is_held_out(one, 0.3) for one, out in zip(ids, held, strict=True) if out)
