"""A fine-tune from the labels to a promoted model, or to one that was refused and kept.

Which of the two backbones is better is told by labelled images that neither the fine-tuning nor the
heads of this comparison have seen; the audit set measures the result and decides nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
import shutil
from typing import Any

from sqlalchemy import select
from tenacity import retry, retry_if_exception_type, wait_fixed

from atlas.backbone import Backbone
from atlas.bottleneck import BottleneckCache
from atlas.embedding import EmbedReport, embed_pool, open_cache, project_backbone
from atlas.errors import BusyError, CacheError
from atlas.evaluation import right_answers
from atlas.gate import Verdict, judge
from atlas.progress import Stages, Tell
from atlas.project import Project
from atlas.store.lease import FINETUNE, PROJECT, lease, new_holder
from atlas.store.tables import ModelRow
from atlas.train import TrainingData, Tuned, learn, train_model
from atlas.training.finetune.began import (
    BEGAN,
    Began,
    begun,
    enough,
    folder_of,
    left_in,
    left_the_pool,
    look,
    remember,
    run_of,
    what_lacked,
    without_absent,
)
from atlas.training.finetune.checkpoint import write_whole
from atlas.training.finetune.judges import HELD_OUT, is_held_out
from atlas.training.finetune.material import FinetuneResult, Material
from atlas.training.finetune.material import Progress as Step
from atlas.training.finetune.run import dismiss, run_finetune
from atlas.training.fit_heads import Fit
from atlas.views import training_views

__all__ = ["BEGAN", "begin_anew", "finetune", "folder_of", "is_held_out"]

LOOK_AGAIN_S = 1.0  # whether a round that is closing has let the project go


def finetune(
    project: Project, *, progress: Tell, should_stop: Callable[[], bool]
) -> dict[str, Any]:
    """Fine-tune the backbone that answers now; promote the result where it is better.

    A call that was stopped or killed goes on where it was, with the labels and the pool of then; it
    refuses to where settings have changed, see `begin_anew`. The pool is embedded again before
    anything switches, so predictions and the next round read either the old backbone and its heads
    or the new ones.

    Args:
        project: whose labels and pool.
        progress: told the present stage and how far it is, as JSON-able facts; the stages are those
            of `atlas.progress.STAGES`.
        should_stop: asked at every step, before every stage and while a round is waited for.

    Returns:
        {"model", "promoted", "reason", "tasks": what the decision rests on, "notes"}.

    Raises:
        TrainingError: too few labels, or an image that cannot be read; see `run_finetune`.
        CacheError: the pool is not embedded yet.
        DiskFull: no room; what was finished is kept.
        Stopped: `should_stop` said so; a checkpoint is kept.
        BusyError: another process fine-tunes this project.
    """
    with lease(project.database, FINETUNE, new_holder()):
        over = _registered(project)
        if over is not None:
            dismiss(project.settings.backbone)
            return over
        stages = Stages(progress, should_stop)
        images = begun(project)
        before = project_backbone(project)
        present = _present(project, before, images)
        remember(project, images)

        def tell(at: Step) -> None:
            facts = asdict(at)
            done, total = facts.pop("step"), facts.pop("steps")
            progress({"stage": "training", "done": done, "total": total, **facts})

        result = run_finetune(
            _material(project, images, present),
            project.settings.model_copy(update={"backbone": before.settings}),
            folder=folder_of(project),
            progress=tell,
            should_stop=should_stop,
        )
        tuned = _keep(project, result)
        _embed(project, tuned, stages)
        stages.enter("fitting")
        caches = open_cache(project, before), open_cache(project, tuned)
        left = left_in(images, caches[1])
        if left is not images:
            present = _fit(project, caches[0], left)
        fits = present, _fit(project, caches[1], left)
        stages.enter("judging")
        verdict = _judge(project, left, caches, fits)
        told = {
            "run": images.run,
            HELD_OUT: images.share,
            "promoted": verdict.promoted,
            "reason": verdict.reason,
            "notes": [*result.notes, *what_lacked(images, left)],
            "tasks": verdict.as_dict()["tasks"],
        }
        model_id = _register(project, Tuned(tuned, {"finetune": told}, verdict.promoted), stages)
        _forget(project)
        return _result(model_id, told)


def begin_anew(project: Project) -> None:
    """Forget an unfinished fine-tune, its checkpoint and the labels it began with.

    The next one leaves out images that have no file any more; who can, puts them back instead.

    Raises:
        BusyError: it is running.
    """
    with lease(project.database, FINETUNE, new_holder()):
        _forget(project)
        there = without_absent(project, look(project))
        if there.absent and enough(there):
            remember(project, there)


def _registered(project: Project) -> dict[str, Any] | None:
    """What came of a fine-tune that was killed after its model was registered; else None."""
    run = run_of(project)
    if run is None:
        return None
    told = ModelRow.metrics["finetune"]
    with project.database.reader() as session:
        row = session.scalars(select(ModelRow).where(told["run"].as_string() == run)).first()
    if row is None:
        return None
    _forget(project)
    return _result(row.id, row.metrics["finetune"])


def _result(model_id: str, told: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: one for key, one in told.items() if key not in ("run", HELD_OUT)}
    return {"model": model_id, **kept}


def _forget(project: Project) -> None:
    """At once, or a kill could leave a checkpoint without the labels that it belongs to."""
    folder, gone = folder_of(project), project.directory / "finetune.over"
    shutil.rmtree(gone, ignore_errors=True)
    if folder.exists():
        folder.rename(gone)
        shutil.rmtree(gone)


def _present(project: Project, before: Backbone, images: Began) -> Fit:
    """A head on the present backbone.

    Of what has left the pool since, another backbone than the one it began with may know nothing:
    what is wrong then is the backbone, as the checkpoint says.
    """
    cache = open_cache(project, before)
    gone = images.lacking(cache) & left_the_pool(project, images)
    return _fit(project, cache, images.without(gone) if gone else images)


def _embed(project: Project, tuned: Backbone, stages: Stages) -> EmbedReport:
    """Bottlenecks of the whole pool, and the views that a head trains on."""
    report = embed_pool(project, backbone=tuned, progress=stages.counting("embedding"))
    if project.settings.head.views:
        training_views(project, tuned, progress=stages.counting("embedding views"))
    return report


def _fit(project: Project, cache: BottleneckCache, images: Began) -> Fit:
    """The project's head, fitted on what the fine-tune learns from."""
    data = TrainingData(
        cache.rows(images.hashes(images.learned)),
        [images.labels[image_id] for image_id in images.learned],
        cache.rows(images.hashes(images.files)),
    )
    return learn(data, project.taxonomy, project.settings.head, seed=project.settings.seed)


def _material(project: Project, images: Began, present: Fit) -> Material:
    where = {one: project.absolute(file.location) for one, file in images.files.items()}
    return Material(
        head=present.head,
        labelled=[where[image_id] for image_id in images.learned],
        labels=[images.labels[image_id] for image_id in images.learned],
        unlabelled=[where[image_id] for image_id in where if image_id not in images.labels],
        content={where[image_id]: file.sha256 for image_id, file in images.files.items()},
    )


def _keep(project: Project, result: FinetuneResult) -> Backbone:
    """The tuned backbone, its weights copied to a file named by its fingerprint.

    Raises:
        DiskFull: no room; the next call goes on from here.
    """
    tuned = Backbone(result.backbone)
    kept = project.directory / "backbones" / f"{tuned.fingerprint}.safetensors"
    with Path(result.backbone.checkpoint).open("rb") as weights:
        write_whole(kept, lambda file: shutil.copyfileobj(weights, file))
    return Backbone(result.backbone.model_copy(update={"checkpoint": str(kept)}))


def _judge(
    project: Project,
    images: Began,
    caches: tuple[BottleneckCache, BottleneckCache],
    fits: tuple[Fit, Fit],
) -> Verdict:
    """The present backbone's head and the candidate's on the images that neither has seen."""
    hashes = images.hashes(images.held_out)
    labels = [images.labels[image_id] for image_id in images.held_out]
    present, candidate = (
        right_answers(fit.head, cache.rows(hashes), labels)
        for fit, cache in zip(fits, caches, strict=True)
    )
    return judge(present, candidate, p_below=project.settings.finetune.promote_p)


def _register(project: Project, tuned: Tuned, stages: Stages) -> str:
    """Register a model on all labels, and promote it where it shall be; its id.

    Images that have arrived since the pool was embedded are embedded first, outside the project's
    lease: rounds go on meanwhile.
    """
    while True:
        stages.enter("registering")
        try:
            return _train(project, tuned, stages)
        except CacheError:
            report = _embed(project, tuned.backbone, stages)
            if not report.computed and not report.left_out:
                raise  # what is missing is no new image


def _train(project: Project, tuned: Tuned, stages: Stages) -> str:
    """Under the project's lease: two models that are registered at once would take one id."""

    @retry(
        retry=retry_if_exception_type(BusyError),
        wait=wait_fixed(LOOK_AGAIN_S),
        before_sleep=lambda _: stages.enter("registering"),
    )
    def when_free() -> str:
        with lease(project.database, PROJECT, new_holder()):
            return train_model(project, tuned=tuned)

    return when_free()
