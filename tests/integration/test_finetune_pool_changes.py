"""Images that come and go while a fine-tune runs: it ends all the same, and says what it lacked."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import shutil
from typing import Any

import pytest
from rounds_support import go_round
from sqlalchemy import func, select

from atlas.backbone import Backbone
from atlas.batches import Ask
from atlas.embedding import embed_pool, open_cache
from atlas.errors import CacheError, DiskFull, Stopped, TrainingError
from atlas.finetune import begin_anew, finetune, is_held_out
from atlas.labels import LabelsByImage, training_labels
from atlas.pool import ingest
from atlas.project import Project
from atlas.settings import Settings
from atlas.settings_file import change_setting
from atlas.status import models
from atlas.store.lease import PROJECT, lease
from atlas.store.tables import Image, ModelRow
from atlas.taxonomy import Taxonomy

LABELS = 72
LOST = "{} images were lost meanwhile: left out of the end, no file can be read"
ABSENT = "{} images were left out from the first: there was no file"
Draw = Callable[..., Path]


def never() -> bool:
    return False


def quiet(_: Mapping[str, Any]) -> None:
    """Is told how far it is."""


@pytest.fixture(scope="module")
def template(
    tmp_path_factory: pytest.TempPathFactory,
    settings: Settings,
    taxonomy: Taxonomy,
    draw_pool: Draw,
) -> Path:
    """4 · 24 pictures less 8 for the audit set: 88, of which 72 are labelled and 16 are not."""
    changes = {
        "uda": settings.uda.model_copy(update={"ratio": 1}),
        "finetune": settings.finetune.model_copy(
            update={"steps": 3, "batch_size": 8, "workers": 0, "held_out": 0.3}
        ),
    }
    folder = tmp_path_factory.mktemp("changes") / "p"
    project = Project.create(folder, settings.model_copy(update=changes), taxonomy)
    ingest(project, draw_pool(folder / "pool", per_leaf=24), truth="folders")
    embed_pool(project)
    go_round(project, Ask(LABELS, "random"))
    project.database.engine.dispose()
    return folder


@pytest.fixture
def labelled(tmp_path: Path, template: Path) -> Project:
    """Its pictures lie in its folder, so each test has its own."""
    shutil.copytree(template, tmp_path / "project")
    return Project(tmp_path / "project")


def labels_of(project: Project) -> LabelsByImage:
    with project.database.reader() as session:
        return training_labels(session)


def files(project: Project) -> dict[str, Path]:
    """Image id → its file, of the pool."""
    with project.database.reader() as session:
        rows = session.execute(select(Image.id, Image.location).where(Image.split == "pool"))
        return {row.id: Path(project.absolute(row.location)) for row in rows}


def one_of_each(project: Project) -> list[str]:
    """Ids of an image that teaches, one that judges and one without a label."""
    known = labels_of(project)
    teaches = next(one for one in known if not is_held_out(one, 0.3))
    judges = next(one for one in known if is_held_out(one, 0.3))
    return [teaches, judges, next(one for one in files(project) if one not in known)]


def missing(project: Project) -> int:
    """Images that the backbone of the newest model has not embedded."""
    with project.database.reader() as session:
        newest = session.scalars(select(ModelRow).order_by(ModelRow.id.desc())).first()
        hashes = list(session.scalars(select(Image.sha256)))
    assert newest is not None
    folder = project.directory / "backbones" / f"{newest.fingerprint}.safetensors"
    tuned = project.settings.backbone.model_copy(update={"checkpoint": str(folder)})
    return len(open_cache(project, Backbone(tuned)).missing(hashes))


class Tell:
    """Notes the stages, and does something once, as the first of them is told."""

    def __init__(self, stage: str = "", do: Callable[[], object] = lambda: None) -> None:
        self.stages: list[str] = []
        self._stage, self._do = stage, do

    def __call__(self, at: Mapping[str, Any]) -> None:
        self.stages.append(at["stage"])
        if self.stages.count(self._stage) == 1 and at["stage"] == self._stage:
            self._do()


def test_images_that_become_unreadable_after_the_training_are_left_out(labelled: Project) -> None:
    where, known, gone = files(labelled), labels_of(labelled), one_of_each(labelled)

    def lose() -> None:
        for image_id in gone:
            where[image_id].unlink()

    first = Tell("embedding", lose)
    with pytest.raises(Stopped, match="stopped at judging"):
        finetune(labelled, progress=first, should_stop=lambda: "fitting" in first.stages)
    assert len(files(labelled)) == 88 - 3 and len(labels_of(labelled)) == LABELS - 2

    again = Tell()
    result = finetune(labelled, progress=again, should_stop=never)
    assert "training" not in again.stages and again.stages[-1] == "registering"
    assert result["notes"] == [LOST.format(3)]
    judged = [one for one in known if is_held_out(one, 0.3) and one not in gone]
    assert result["tasks"]["shape"]["n"] == len(judged)
    assert models(labelled)[0]["labels"] == LABELS - 2


def test_too_few_left_to_judge_by_is_said_and_mended_by_putting_them_back(
    labelled: Project,
) -> None:
    where = files(labelled)
    judges = [one for one in labels_of(labelled) if is_held_out(one, 0.3)]
    gone = judges[9:]  # nine are left, ten must be

    def move() -> None:
        for image_id in gone:
            where[image_id].rename(where[image_id].with_suffix(".away"))

    with pytest.raises(TrainingError, match=f"{len(gone)} of 72 labelled images cannot be read"):
        finetune(labelled, progress=Tell("embedding", move), should_stop=never)
    for image_id in gone:
        where[image_id].with_suffix(".away").rename(where[image_id])
    again = Tell()
    result = finetune(labelled, progress=again, should_stop=never)
    assert "training" not in again.stages
    assert (result["tasks"]["shape"]["n"], result["notes"]) == (len(judges), [])


def stop_after_one_step(project: Project) -> None:
    told = Tell()
    with pytest.raises(Stopped, match="after step 1"):
        finetune(project, progress=told, should_stop=lambda: "training" in told.stages)


def lose_by_another_backbone(project: Project, image_ids: Sequence[str]) -> None:
    """Take files away and embed the rest: images without a label lose their rows."""
    where = files(project)
    for image_id in image_ids:
        where[image_id].rename(where[image_id].with_suffix(".away"))
    other = project.settings.backbone.model_copy(update={"image_size": 48})
    assert len(embed_pool(project, backbone=Backbone(other)).left_out) == len(image_ids)


def test_one_that_still_trains_says_which_image_it_lacks(labelled: Project) -> None:
    """It goes on with the image back, known to the database or not."""
    stop_after_one_step(labelled)
    where = files(labelled)
    gone = [one for one in where if one not in labels_of(labelled)]
    lose_by_another_backbone(labelled, gone)
    assert len(files(labelled)) == 88 - 16
    with pytest.raises(TrainingError, match="put the image back and start again to go on after"):
        finetune(labelled, progress=quiet, should_stop=never)
    for image_id in gone:
        where[image_id].with_suffix(".away").rename(where[image_id])
    told: list[Mapping[str, Any]] = []
    result = finetune(labelled, progress=told.append, should_stop=never)
    assert [at["done"] for at in told if at["stage"] == "training"] == [2, 3]
    assert result["notes"] == [LOST.format(16)]  # nobody has ingested them again


def test_moved_with_its_folder_it_goes_on(labelled: Project) -> None:
    stop_after_one_step(labelled)
    labelled.database.engine.dispose()
    moved = labelled.directory.rename(labelled.directory.with_name("moved"))
    told: list[Mapping[str, Any]] = []
    finetune(Project(moved), progress=told.append, should_stop=never)
    assert [at["done"] for at in told if at["stage"] == "training"] == [2, 3]


def test_begun_anew_it_leaves_out_what_has_no_file(labelled: Project) -> None:
    """Nobody can put them back, and with a bottleneck in the cache nothing else misses them."""
    stop_after_one_step(labelled)
    where, known = files(labelled), labels_of(labelled)
    gone = [one for one in where if one not in known] + one_of_each(labelled)[:1]
    for image_id in gone:
        where[image_id].unlink()
    with pytest.raises(TrainingError, match="put the image back"):
        finetune(labelled, progress=quiet, should_stop=never)
    begin_anew(labelled)
    told: list[Mapping[str, Any]] = []
    result = finetune(labelled, progress=told.append, should_stop=never)
    assert [at["done"] for at in told if at["stage"] == "training"] == [1, 2, 3]
    assert ABSENT.format(16 + 1) in result["notes"]


def test_with_hardly_a_file_it_rather_fails_than_leaves_all_out(labelled: Project) -> None:
    """As with a disk that is not mounted."""
    away = labelled.directory / "pool"
    away.rename(away.with_name("away"))
    begin_anew(labelled)
    with pytest.raises(TrainingError, match="put the image back"):
        finetune(labelled, progress=quiet, should_stop=never)
    away.with_name("away").rename(away)
    assert finetune(labelled, progress=quiet, should_stop=never)["notes"] == []


def test_another_backbone_meanwhile_is_named_though_images_have_gone(labelled: Project) -> None:
    """It is no lack of bottlenecks, which `atlas embed` could not mend."""
    stop_after_one_step(labelled)
    change_setting(labelled.directory, "backbone", "image_size", 48)
    project = Project(labelled.directory)
    lose_by_another_backbone(project, one_of_each(project))
    with pytest.raises(TrainingError, match="made with other settings.* --anew"):
        finetune(project, progress=quiet, should_stop=never)


def test_a_pool_that_is_not_embedded_yet_is_to_be_embedded_first(
    labelled: Project, draw_pool: Draw
) -> None:
    """What that embedding leaves out, the fine-tune never began with."""
    more = draw_pool(labelled.directory / "more", per_leaf=1, seed=1)
    ingest(labelled, more)
    with pytest.raises(CacheError, match="run `atlas embed`"):
        finetune(labelled, progress=quiet, should_stop=never)
    shutil.rmtree(more)
    embed_pool(labelled)
    assert finetune(labelled, progress=quiet, should_stop=never)["notes"] == []


@pytest.mark.parametrize("readable", [True, False])
def test_images_that_arrive_while_it_is_judged_are_embedded_too(
    labelled: Project, draw_pool: Draw, readable: bool
) -> None:
    more = draw_pool(labelled.directory / "more", per_leaf=3, seed=1)

    def arrive() -> None:
        assert ingest(labelled, more).added == 12
        if not readable:
            shutil.rmtree(more)

    told = Tell("judging", arrive)
    result = finetune(labelled, progress=told, should_stop=never)
    (*_, before_last, last) = dict.fromkeys(told.stages[told.stages.index("judging") :])
    assert (before_last, last) == ("registering", "embedding")
    assert told.stages[-1] == "registering"
    assert models(labelled)[0]["model"] == result["model"]
    with labelled.database.reader() as session:
        assert session.scalar(select(func.count()).select_from(Image)) == 96 + 12 * readable
    assert missing(labelled) == 0


def test_a_disk_too_small_for_the_tuned_backbone_is_said(
    labelled: Project, small_disk: Callable[[int], Path]
) -> None:
    """Its 1.6 MB do not fit; with more room the training is not done again."""
    (labelled.directory / "backbones").symlink_to(small_disk(512))
    with pytest.raises(DiskFull, match="free some room and repeat"):
        finetune(labelled, progress=quiet, should_stop=never)
    assert not list(small_disk(4096).iterdir())
    again = Tell()
    finetune(labelled, progress=again, should_stop=never)
    assert "training" not in again.stages and again.stages[-1] == "registering"


def test_it_can_be_stopped_while_it_waits_for_a_round_that_is_closing(labelled: Project) -> None:
    told = Tell()
    with lease(labelled.database, PROJECT, "a round"), ThreadPoolExecutor(1) as thread:
        running = thread.submit(
            finetune,
            labelled,
            progress=told,
            should_stop=lambda: told.stages.count("registering") == 2,
        )
        with pytest.raises(Stopped, match="stopped at registering; start it again to go on"):
            running.result(timeout=60)
    again = Tell()
    finetune(labelled, progress=again, should_stop=never)
    assert "training" not in again.stages and again.stages[-1] == "registering"
