"""A fine-tune from the labels to a promoted model, or to one that was refused and kept.

Which of the two backbones is better is told by labelled images that neither the fine-tuning nor the
heads of this comparison have seen; the audit set measures the result and decides nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path
import shutil
from typing import Any
from uuid import uuid4

from sqlalchemy import select
from tenacity import retry, retry_if_exception_type, wait_fixed

from atlas.backbone import Backbone
from atlas.bottleneck import BottleneckCache
from atlas.embedding import embed_pool, open_cache, project_backbone
from atlas.errors import BusyError, TrainingError
from atlas.evaluation import right_answers
from atlas.gate import Verdict, judge
from atlas.labels import LabelsByImage, training_labels
from atlas.progress import Stages, Tell
from atlas.project import Project
from atlas.store.lease import FINETUNE, PROJECT, lease, new_holder
from atlas.store.tables import Image, ModelRow
from atlas.train import TrainingData, Tuned, learn, train_model
from atlas.training.finetune.checkpoint import write_whole
from atlas.training.finetune.material import FinetuneResult, Material
from atlas.training.finetune.material import Progress as Step
from atlas.training.finetune.run import dismiss, run_finetune
from atlas.training.fit_heads import Fit
from atlas.views import training_views

MIN_HELD_OUT = 10
LOOK_AGAIN_S = 1.0  # whether a round that is closing has let the project go
BEGAN = "began-with.json"  # labels and pool, so that those that arrive meanwhile change nothing


@dataclass(frozen=True)
class _Images:
    """What the database knew when the fine-tune began.

    Attributes:
        labels: of the pool's labelled images.
        hashes: image id → SHA-256, of every image.
        locations: image id → where it is.
        pool: image ids.
        learned: labelled image ids that the fine-tune learns from.
        held_out: those that it is judged by.
    """

    labels: LabelsByImage
    hashes: dict[str, str]
    locations: dict[str, str]
    pool: Sequence[str]
    learned: Sequence[str]
    held_out: Sequence[str]


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
        should_stop: asked at every step, and before every stage after the training.

    Returns:
        {"model", "promoted", "reason", "tasks": what the decision rests on, "notes"}.

    Raises:
        TrainingError: too few labels.
        CacheError: the pool is not embedded yet.
        Stopped: `should_stop` said so; a checkpoint is kept.
        BusyError: another process fine-tunes this project.
    """
    with lease(project.database, FINETUNE, new_holder()):
        over = _registered(project)
        if over is not None:
            dismiss(project.settings.backbone)
            return over
        stages = Stages(progress, should_stop)
        images = _look(project)
        before = project_backbone(project)
        present = _fit(project, open_cache(project, before), images)

        def tell(at: Step) -> None:
            facts = asdict(at)
            done, total = facts.pop("step"), facts.pop("steps")
            progress({"stage": "training", "done": done, "total": total, **facts})

        result = run_finetune(
            _material(images, present),
            project.settings.model_copy(update={"backbone": before.settings}),
            folder=folder_of(project),
            progress=tell,
            should_stop=should_stop,
        )
        tuned = _keep(project, result)
        embed_pool(project, backbone=tuned, progress=stages.counting("embedding"))
        if project.settings.head.views:
            training_views(project, tuned, progress=stages.counting("embedding views"))
        stages.enter("fitting")
        candidate = _fit(project, open_cache(project, tuned), images)
        stages.enter("judging")
        caches = open_cache(project, before), open_cache(project, tuned)
        verdict = _judge(project, images, caches, (present, candidate))
        stages.enter("registering")
        return _conclude(project, tuned, result, verdict)


def folder_of(project: Project) -> Path:
    """Where an unfinished fine-tune lies."""
    return project.directory / "finetune"


def begin_anew(project: Project) -> None:
    """Forget an unfinished fine-tune, its checkpoint and the labels it began with.

    Raises:
        BusyError: it is running.
    """
    with lease(project.database, FINETUNE, new_holder()):
        _forget(project)


def is_held_out(image_id: str, share: float) -> bool:
    """Whether a labelled image judges fine-tunes instead of teaching them.

    By a hash of its id, so that it is the same in every fine-tune: one that starts from a tuned
    backbone is judged by images which that backbone has not seen either.

    Args:
        image_id: any.
        share: in [0, 1], of all images.
    """
    digest = hashlib.sha256(f"held out {image_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64


def _run_of(project: Project) -> str | None:
    """The name of the unfinished fine-tune; None: there is none."""
    began = folder_of(project) / BEGAN
    return json.loads(began.read_text(encoding="utf-8")).get("run") if began.exists() else None


def _registered(project: Project) -> dict[str, Any] | None:
    """What came of a fine-tune that was killed after its model was registered; else None."""
    run = _run_of(project)
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
    return {"model": model_id, **{key: one for key, one in told.items() if key != "run"}}


def _forget(project: Project) -> None:
    """At once, or a kill could leave a checkpoint without the labels that it belongs to."""
    folder, gone = folder_of(project), project.directory / "finetune.over"
    shutil.rmtree(gone, ignore_errors=True)
    if folder.exists():
        folder.rename(gone)
        shutil.rmtree(gone)


def _look(project: Project) -> _Images:
    """What an unfinished fine-tune began with, else what there is now.

    Raises:
        TrainingError: too few labels to learn from or to judge by.
    """
    began = folder_of(project) / BEGAN
    with project.database.reader() as session:
        rows = session.execute(
            select(Image.id, Image.sha256, Image.location, Image.split).order_by(Image.id)
        ).all()
        labels = training_labels(session)
    pool = [row.id for row in rows if row.split == "pool"]
    if began.exists():
        content = json.loads(began.read_text(encoding="utf-8"))
        there = {row.id for row in rows}
        labels, pool = content["labels"], [one for one in content["pool"] if one in there]
    share = project.settings.finetune.held_out
    held_out = [image_id for image_id in labels if is_held_out(image_id, share)]
    learned = [image_id for image_id in labels if not is_held_out(image_id, share)]
    if len(held_out) < MIN_HELD_OUT or not learned:
        raise TrainingError(
            f"{len(labels)} labelled images, of which {len(held_out)} would judge the fine-tune: "
            f"at least {MIN_HELD_OUT} must. Label more, or raise finetune.held_out ({share})"
        )
    if not began.exists():
        content = json.dumps({"run": uuid4().hex, "labels": labels, "pool": pool}).encode()
        write_whole(began, lambda file: file.write(content))
    return _Images(
        labels=labels,
        hashes={row.id: row.sha256 for row in rows},
        locations={row.id: project.absolute(row.location) for row in rows},
        pool=pool,
        learned=learned,
        held_out=held_out,
    )


def _fit(project: Project, cache: BottleneckCache, images: _Images) -> Fit:
    """The project's head, fitted on what the fine-tune learns from."""
    data = TrainingData(
        cache.rows([images.hashes[image_id] for image_id in images.learned]),
        [images.labels[image_id] for image_id in images.learned],
        cache.rows([images.hashes[image_id] for image_id in images.pool]),
    )
    return learn(data, project.taxonomy, project.settings.head, seed=project.settings.seed)


def _material(images: _Images, present: Fit) -> Material:
    taught = set(images.learned) | set(images.held_out)
    return Material(
        head=present.head,
        labelled=[images.locations[image_id] for image_id in images.learned],
        labels=[images.labels[image_id] for image_id in images.learned],
        unlabelled=[images.locations[one] for one in images.pool if one not in taught],
    )


def _keep(project: Project, result: FinetuneResult) -> Backbone:
    """The tuned backbone, its weights moved to a file named by its fingerprint."""
    tuned = Backbone(result.backbone)
    kept = project.directory / "backbones" / f"{tuned.fingerprint}.safetensors"
    kept.parent.mkdir(exist_ok=True)
    shutil.copyfile(result.backbone.checkpoint, kept.with_suffix(".part"))
    kept.with_suffix(".part").replace(kept)
    return Backbone(result.backbone.model_copy(update={"checkpoint": str(kept)}))


def _judge(
    project: Project,
    images: _Images,
    caches: tuple[BottleneckCache, BottleneckCache],
    fits: tuple[Fit, Fit],
) -> Verdict:
    """The present backbone's head and the candidate's on the images that neither has seen."""
    hashes = [images.hashes[image_id] for image_id in images.held_out]
    labels = [images.labels[image_id] for image_id in images.held_out]
    present, candidate = (
        right_answers(fit.head, cache.rows(hashes), labels)
        for fit, cache in zip(fits, caches, strict=True)
    )
    return judge(present, candidate, p_below=project.settings.finetune.promote_p)


def _conclude(
    project: Project, tuned: Backbone, result: FinetuneResult, verdict: Verdict
) -> dict[str, Any]:
    """Register a model on all labels and promote it where the verdict says so."""
    told = {
        "run": _run_of(project),
        "promoted": verdict.promoted,
        "reason": verdict.reason,
        "notes": list(result.notes),
        "tasks": verdict.as_dict()["tasks"],
    }
    waiting = retry(retry=retry_if_exception_type(BusyError), wait=wait_fixed(LOOK_AGAIN_S))
    candidate = Tuned(tuned, {"finetune": told}, promoted=verdict.promoted)
    model_id = waiting(_register)(project, candidate)
    _forget(project)
    return _result(model_id, told)


def _register(project: Project, tuned: Tuned) -> str:
    """Under the project's lease: two models that are registered at once would take one id."""
    with lease(project.database, PROJECT, new_holder()):
        return train_model(project, tuned=tuned)
