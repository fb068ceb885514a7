"""A fine-tune of a project: judged, promoted or kept, stopped, gone on with, rolled back."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import shutil
from threading import Event
import time
from typing import Any

import numpy as np
from PIL import Image as PilImage
import pytest
from rounds_support import go_round
from sqlalchemy import select

from atlas.answering import backbone_settings
from atlas.batches import Ask
from atlas.embedding import embed_pool, open_cache, project_backbone
from atlas.errors import Stopped, TrainingError
from atlas.finetune import BEGAN, begin_anew, finetune, folder_of, is_held_out
from atlas.labels import training_labels
from atlas.pool import ingest
from atlas.project import Project
from atlas.promotion import current_id, promote, roll_back
from atlas.serving import project_predictor
from atlas.settings import Settings
from atlas.settings_file import load_settings, save_settings
from atlas.status import models
from atlas.store.lease import PROJECT, lease
from atlas.store.tables import Image, ModelRow
from atlas.taxonomy import Taxonomy
from atlas.train import train_model
from atlas.training.finetune.began import look

LABELS = 72
BEFORE = {"judging": "fitting", "registering": "judging"}  # short stage → the one before it
Draw = Callable[..., Path]


def never() -> bool:
    return False


def quiet(_: Mapping[str, Any]) -> None:
    """Is told how far it is."""


def with_finetune(project: Project, **values: object) -> Project:
    """The project with other settings of its fine-tune."""
    settings = load_settings(project.directory)
    changed = settings.finetune.model_copy(update=values)
    save_settings(settings.model_copy(update={"finetune": changed}), project.directory)
    return Project(project.directory)


@pytest.fixture(scope="module")
def template(
    tmp_path_factory: pytest.TempPathFactory,
    settings: Settings,
    taxonomy: Taxonomy,
    draw_pool: Draw,
) -> Path:
    """88 pictures, 72 of them labelled, and a model."""
    folder = tmp_path_factory.mktemp("finetune")
    uda = settings.uda.model_copy(update={"ratio": 1})
    fine = settings.finetune.model_copy(
        update={"steps": 3, "batch_size": 8, "workers": 0, "held_out": 0.3}
    )
    project = Project.create(
        folder / "p", settings.model_copy(update={"uda": uda, "finetune": fine}), taxonomy
    )
    ingest(project, draw_pool(folder / "pool", per_leaf=24), truth="folders")
    embed_pool(project)
    go_round(project, Ask(LABELS, "random"))
    project.database.engine.dispose()
    return project.directory


@pytest.fixture
def labelled(tmp_path: Path, template: Path) -> Project:
    shutil.copytree(template, tmp_path / "project")
    return Project(tmp_path / "project")


def answers_now(project: Project) -> str | None:
    with project.database.reader() as session:
        return current_id(session)


def fingerprint(project: Project) -> str:
    return project_backbone(project).fingerprint


def test_a_refused_one_is_kept_with_its_numbers_and_can_be_promoted_by_hand(
    labelled: Project,
) -> None:
    before, was = fingerprint(labelled), answers_now(labelled)
    told: list[Mapping[str, Any]] = []
    project = with_finetune(labelled, promote_p=1e-9)  # so small that nothing is good enough
    result = finetune(project, progress=told.append, should_stop=never)
    assert not result["promoted"]
    assert (answers_now(project), fingerprint(project)) == (was, before)
    assert [at["done"] for at in told if at["stage"] == "training"] == [1, 2, 3]
    stages = list(dict.fromkeys(at["stage"] for at in told))
    assert stages == ["training", "embedding", "fitting", "judging", "registering"]
    (*_, last) = [at for at in told if at["stage"] == "embedding"]
    assert (last["done"], last["total"], last["eta_s"]) == (96, 96, 0)
    assert told[-1] == {"stage": "registering"}  # what was counted before is not told again
    (kept,) = [one for one in models(project) if one["model"] == result["model"]]
    assert kept["finetune"]["reason"] == result["reason"]
    shape = kept["finetune"]["tasks"]["shape"]
    with project.database.reader() as session:
        labels = training_labels(session)
    assert shape["n"] == sum(is_held_out(image_id, 0.3) for image_id in labels)

    with project.database.session() as session:
        promote(session, result["model"], reason="promoted by hand")
    assert fingerprint(project) != before
    # what taught it never judges what descends from it
    assert look(with_finetune(project, held_out=0.9)).share == 0.3
    assert project_predictor(project).bundle.fingerprint == fingerprint(project)
    later = train_model(project)  # the next heads read the tuned bottlenecks
    assert project_predictor(project).bundle.facts["id"] == later
    assert fingerprint(project) != before
    with project.database.session() as session:
        assert roll_back(session) == result["model"]
        assert roll_back(session) == was
    assert fingerprint(project) == before
    assert project_predictor(project).bundle.fingerprint == before


def draw_stripes(folder: Path, leaves: Sequence[str], per_leaf: int) -> Path:
    """Grey stripes under noise: the leaf is their direction, which random weights hardly see."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:32, :32]
    for number, leaf in enumerate(leaves):
        (folder / leaf).mkdir(parents=True)
        across = x * np.cos(number * np.pi / 4) + y * np.sin(number * np.pi / 4)
        for image in range(per_leaf):
            wave = 40 * np.sin(across * 2 * np.pi / 6 + rng.uniform(0, 2 * np.pi))
            pixels = 128 + wave[..., None] + rng.normal(0, 60, (32, 32, 3))
            picture = PilImage.fromarray(pixels.clip(0, 255).astype(np.uint8))
            picture.save(folder / leaf / f"{image}.png")
    return folder


def test_a_better_one_answers_at_once_and_rounds_go_on(
    tmp_path: Path, settings: Settings, taxonomy: Taxonomy
) -> None:
    fine = {"steps": 40, "batch_size": 16, "workers": 0, "held_out": 0.4, "learning_rate": 0.005}
    fine |= {"layer_decay": 0.9, "flip": False, "augment_ops": 0}
    changes = {
        "finetune": settings.finetune.model_copy(update=fine),
        "uda": settings.uda.model_copy(update={"weight": 0}),
    }
    project = Project.create(tmp_path / "p", settings.model_copy(update=changes), taxonomy)
    ingest(project, draw_stripes(tmp_path / "pool", taxonomy.leaves, 40), truth="folders")
    embed_pool(project)
    go_round(project, Ask(140, "random"))
    before = fingerprint(project)
    result = finetune(project, progress=quiet, should_stop=never)
    assert result["promoted"], result["reason"]
    assert result["tasks"]["shape"]["gained"] > result["tasks"]["shape"]["lost"]
    assert answers_now(project) == result["model"]
    assert fingerprint(project) != before
    with project.database.reader() as session:
        hashes = list(session.scalars(select(Image.sha256)))
    assert not len(open_cache(project, project_backbone(project)).missing(hashes))
    assert not folder_of(project).exists()
    assert go_round(project, Ask(4)) == answers_now(project)
    again = backbone_settings(Project(project.directory))
    assert again.checkpoint.endswith(f"{fingerprint(project)}.safetensors")


def stop_after_a_step(project: Project) -> None:
    told: list[str] = []
    with pytest.raises(Stopped, match="after step 1"):
        finetune(
            project,
            progress=lambda at: told.append(at["stage"]),
            should_stop=lambda: "training" in told,
        )


def test_a_stopped_one_goes_on_where_it_was_with_the_labels_of_then(labelled: Project) -> None:
    stop_after_a_step(labelled)
    assert (folder_of(labelled) / "checkpoint.pt").exists()
    go_round(labelled, Ask(4))  # labels go on arriving
    told: list[Mapping[str, Any]] = []
    finetune(labelled, progress=told.append, should_stop=never)
    assert [at["done"] for at in told if at["stage"] == "training"] == [2, 3]
    with labelled.database.reader() as session:
        newest = session.scalars(select(ModelRow).order_by(ModelRow.id.desc())).first()
        assert newest is not None
        assert newest.labels == len(training_labels(session))  # its heads learn from all of them


@pytest.mark.parametrize("stage", BEFORE)
def test_it_stops_at_every_stage_and_goes_on_from_there(labelled: Project, stage: str) -> None:
    told: list[str] = []
    with pytest.raises(Stopped, match=f"stopped at {stage}; start it again to go on"):
        finetune(
            labelled,
            progress=lambda at: told.append(at["stage"]),
            should_stop=lambda: BEFORE[stage] in told,
        )
    with labelled.database.reader() as session:
        assert len(session.scalars(select(ModelRow.id)).all()) == 1  # no half of a model
    again: list[str] = []
    finetune(labelled, progress=lambda at: again.append(at["stage"]), should_stop=never)
    assert "training" not in again and again[-1] == "registering"


def test_killed_after_its_model_was_registered_it_is_over(
    labelled: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same fine-tune again would start from other weights, or register its model twice."""
    project = with_finetune(labelled, promote_p=0.999)

    def killed(_: Project) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("atlas.finetune._forget", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune(project, progress=quiet, should_stop=never)
    known = models(project)
    told: list[Mapping[str, Any]] = []
    result = finetune(project, progress=told.append, should_stop=never)
    assert (result["model"], told) == (known[0]["model"], [])
    assert result["reason"] == known[0]["finetune"]["reason"]
    assert models(project) == known
    assert not folder_of(project).exists()


def test_an_unfinished_one_can_be_forgotten(labelled: Project) -> None:
    stop_after_a_step(labelled)
    project = with_finetune(labelled, steps=2)
    with pytest.raises(TrainingError, match="made with other settings"):
        finetune(project, progress=quiet, should_stop=never)
    begin_anew(project)
    told: list[Mapping[str, Any]] = []
    finetune(project, progress=told.append, should_stop=never)
    assert [at["done"] for at in told if at["stage"] == "training"] == [1, 2]


@pytest.mark.parametrize("text", ['{"run": "x"', "[1, 2]", '{"run": "x"}', "\xff"])
def test_a_damaged_beginning_says_so_and_can_be_forgotten(labelled: Project, text: str) -> None:
    folder_of(labelled).mkdir()
    (folder_of(labelled) / BEGAN).write_bytes(text.encode("latin-1"))
    with pytest.raises(TrainingError, match=r"began-with.json is damaged .*atlas finetune --anew"):
        finetune(labelled, progress=quiet, should_stop=never)
    begin_anew(labelled)
    assert not folder_of(labelled).exists()


def test_another_backbone_in_atlas_toml_wins_over_a_tuned_one(
    labelled: Project, tmp_path: Path
) -> None:
    result = finetune(labelled, progress=quiet, should_stop=never)
    with labelled.database.session() as session:
        promote(session, result["model"], reason="promoted by hand")
    settings = load_settings(labelled.directory)
    other = settings.backbone.model_copy(update={"image_size": 48})
    save_settings(settings.model_copy(update={"backbone": other}), labelled.directory)
    project = Project(labelled.directory)
    assert backbone_settings(project) == other


def test_it_waits_for_a_round_that_is_closing(labelled: Project) -> None:
    """Two models registered at once would take the same id."""
    judged = Event()

    def tell(at: Mapping[str, Any]) -> None:
        if at["stage"] == "registering":
            judged.set()

    def known() -> int:
        with labelled.database.reader() as session:
            return len(session.scalars(select(ModelRow.id)).all())

    before = known()
    with ThreadPoolExecutor(1) as thread:
        with lease(labelled.database, PROJECT, "a round"):
            running = thread.submit(finetune, labelled, progress=tell, should_stop=never)
            assert judged.wait(60)
            time.sleep(1.5)  # it would have registered by now
            assert known() == before
        running.result(timeout=60)
    assert known() == before + 1


def test_too_few_labels_to_judge_by_are_refused(project: Project) -> None:
    go_round(project)
    with pytest.raises(TrainingError, match="would judge the fine-tune: at least 10 must"):
        finetune(project, progress=quiet, should_stop=never)
