"""A model and an image → ranked classes for every task, a number for every quantity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
import shutil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image
from safetensors.torch import save_file

from atlas import registry
from atlas.accuracy import accuracy_of
from atlas.backbone import Backbone
from atlas.decimals import decimal
from atlas.embedding import project_backbone
from atlas.errors import ModelError, explain_full_disk
from atlas.evaluation import predict, predict_numbers
from atlas.images import open_image
from atlas.project import Project
from atlas.promotion import current_id
from atlas.registry import FOLDS, Bundle, load_bundle
from atlas.settings import BackboneSettings
from atlas.showing import climb, shown_levels

BATCH = 64
TOP = 5
DIGITS = 4


@dataclass(frozen=True)
class Predictor:
    """A backbone and the head that was trained on its bottlenecks.

    Attributes:
        backbone: pixels → bottlenecks.
        bundle: the head.
        levels: the reliable ones, coarse to fine; nothing finer is said of an image.
    """

    backbone: Backbone
    bundle: Bundle
    levels: tuple[str, ...] = ()

    def predict(self, locations: Sequence[str], *, top: int = TOP) -> list[dict[str, Any]]:
        """One record an image.

        {"image", "tasks": {task: [{"class", "probability"}, …]}, "quantities": {name: number},
        "shown": {"class", "level", "probability"}}: the last is what may be told, an empty class
        where nothing is sure enough, see `atlas.showing`.

        Raises:
            ImageError: an image cannot be read.
        """
        records = []
        for start in range(0, len(locations), BATCH):
            part = locations[start : start + BATCH]
            records += self.predict_pictures([open_image(one) for one in part], part, top=top)
        return records

    def predict_pictures(
        self, pictures: Sequence[Image], names: Sequence[str], *, top: int = TOP
    ) -> list[dict[str, Any]]:
        """The same of pictures that are open already, all in one batch.

        Args:
            pictures: RGB.
            names: what "image" says of each.
            top: how many classes of each task.
        """
        pixels = np.stack([self.backbone.prepare(one) for one in pictures])
        bottlenecks = self.backbone.embed(pixels)
        probs = predict(self.bundle.head, bottlenecks)
        numbers = predict_numbers(self.bundle.head, bottlenecks)
        tasks = self.bundle.head.taxonomy.tasks
        records = []
        for row, (name, shown) in enumerate(zip(names, self._shown(probs), strict=True)):
            ranked = {task: _ranked(known, probs[task][row], top) for task, known in tasks.items()}
            said = {key: float(decimal(n[row], DIGITS)) for key, n in numbers.items()}
            records.append({"image": name, "tasks": ranked, "quantities": said, "shown": shown})
        return records

    def _shown(self, probs: Mapping[str, NDArray[np.float32]]) -> list[dict[str, Any]]:
        thresholds = self.bundle.facts.get("thresholds", {})  # older bundles have none
        threshold = thresholds.get(self.levels[-1]) if self.levels else None
        found = climb(probs, self.bundle.head.taxonomy, self.levels, threshold)
        return [
            {"class": one.node, "level": one.level, "probability": round(one.probability, DIGITS)}
            for one in found
        ]


def project_predictor(project: Project) -> Predictor:
    """The project's present model.

    Raises:
        ModelError: there is none yet, or it belongs to another backbone.
    """
    current = registry.load_current(project)
    if current is None:
        raise ModelError("no model yet; label some queries, then run `atlas train`")
    model_id, bundle = current
    backbone = project_backbone(project)
    if backbone.fingerprint != bundle.fingerprint:
        raise ModelError(
            f"model {model_id} was trained on another backbone ({bundle.fingerprint}) than "
            f"atlas.toml names ({backbone.fingerprint}); run `atlas embed` and `atlas train`"
        )
    return Predictor(backbone, bundle, reliable_levels(project, model_id))


def reliable_levels(project: Project, model_id: str) -> tuple[str, ...]:
    """The levels that people are shown of a model, coarse to fine, see `atlas.showing`."""
    levels = project.taxonomy.levels
    with project.database.reader() as session:
        found = accuracy_of(
            session, model_id, min_labels=project.settings.audit.min_labels, tasks=levels
        )
    return shown_levels(found, levels, project.settings.showing.floor)


def export_model(project: Project, folder: Path) -> None:
    """Write a folder that `load_export` serves without the project: head, backbone, JSON.

    Raises:
        ModelError: no model yet, or the folder is not empty.
    """
    predictor = project_predictor(project)
    if folder.exists() and any(folder.iterdir()):
        raise ModelError(f"{folder} is not empty; name a new folder")
    with project.database.reader() as session:
        model_id = current_id(session)
    with explain_full_disk(folder):
        without_folds = shutil.ignore_patterns(FOLDS)  # they name the images; predicting needs none
        shutil.copytree(
            project.models / str(model_id), folder, dirs_exist_ok=True, ignore=without_folds
        )
        save_file(predictor.backbone.weights(), folder / "backbone.safetensors")
        facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        facts["backbone"]["checkpoint"] = "backbone.safetensors"
        facts["reliable_levels"] = predictor.levels
        (folder / "model.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


def load_export(folder: Path) -> Predictor:
    """Load what `export_model` wrote.

    Raises:
        ModelError: it does not load.
        BackboneError: its backbone does not.
    """
    bundle = load_bundle(folder)
    settings = {**bundle.facts["backbone"], "checkpoint": str(folder / "backbone.safetensors")}
    levels = tuple(bundle.facts.get("reliable_levels", ()))
    return Predictor(Backbone(BackboneSettings(**settings)), bundle, levels)


def _ranked(classes: Sequence[str], probs: Any, top: int) -> list[dict[str, Any]]:
    order = np.argsort(-probs, kind="stable")[:top]
    return [{"class": classes[i], "probability": round(float(probs[i]), 4)} for i in order]
