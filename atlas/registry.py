"""Model bundles: safetensors and JSON in a folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
import hashlib
import json
from pathlib import Path
import shutil
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor

from atlas import plugins
from atlas.errors import ModelError, PluginError, TaxonomyError, explain_full_disk
from atlas.heads import Head
from atlas.project import Project
from atlas.promotion import current_id
from atlas.store.tables import ModelRow
from atlas.taxonomy import Taxonomy

BUNDLE_VERSION = 1
FOLDS = "folds.safetensors"
_UNLOADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    SafetensorError,
    PluginError,
    TaxonomyError,
)


@dataclass(frozen=True)
class Bundle:
    """A model as it is loaded: the head and what it was trained on."""

    head: Head
    facts: dict[str, Any]

    @property
    def fingerprint(self) -> str:
        """Of the backbone whose bottlenecks it reads."""
        return str(self.facts["fingerprint"])


@dataclass(frozen=True)
class FoldHeads:
    """The cross-validation heads of a model, for samplers; a model answers without them.

    Attributes:
        heads: trained on the labels of the other folds; none where there were too few labels.
        of_image: image id of each label → the number of the head that never saw it.
    """

    heads: tuple[Head, ...] = ()
    of_image: Mapping[str, int] = field(default_factory=dict)


def next_id(session: Session) -> str:
    """The next free id: m0001, then m0002."""
    return f"m{len(session.scalars(select(ModelRow.id)).all()) + 1:04d}"


def save_bundle(
    folder: Path, head: Head, facts: dict[str, Any], folds: FoldHeads | None = None
) -> None:
    """Write head.safetensors, folds.safetensors and model.json to `folder`, all or nothing."""
    taxonomy = head.taxonomy
    weights = save(head.state_dict())
    content = {
        "version": BUNDLE_VERSION,
        "sha256": hashlib.sha256(weights).hexdigest(),
        **facts,
        "features": head.features,
        "taxonomy": {
            "levels": taxonomy.levels,
            "leaves": taxonomy.leaves,
            "attributes": dict(taxonomy.attributes),
            "quantities": taxonomy.quantities,
        },
    }
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with explain_full_disk(folder):
            temporary.mkdir(parents=True)
            (temporary / "head.safetensors").write_bytes(weights)
            if folds is not None and folds.heads:
                (temporary / FOLDS).write_bytes(_pack(folds))
            (temporary / "model.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # left by a crash before its row was written
        temporary.replace(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_bundle(folder: Path) -> Bundle:
    """Read what `save_bundle` wrote.

    Raises:
        ModelError: not there, newer than this Atlas, or damaged.
    """
    try:
        facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
        if facts["version"] > BUNDLE_VERSION:
            raise ModelError(f"{folder} was written by a newer Atlas; upgrade Atlas")
        tree = facts["taxonomy"]
        taxonomy = Taxonomy(
            tuple(tree["levels"]),
            tuple(tree["leaves"]),
            {name: tuple(known) for name, known in tree["attributes"].items()},
            tuple(tree.get("quantities", ())),  # bundles of before there were any have none
        )
        head = _empty(facts, taxonomy)
        weights = (folder / "head.safetensors").read_bytes()
        if hashlib.sha256(weights).hexdigest() != facts["sha256"]:
            raise ValueError("head.safetensors is not what was saved")
        head.load_state_dict(load(weights))
    except _UNLOADABLE as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(
            f"the model in {folder} does not load ({said}); promote another one (`atlas models`)"
        ) from error
    return Bundle(head.eval(), facts)


def load_folds(folder: Path, bundle: Bundle) -> FoldHeads:
    """The fold heads beside a bundle; none where it was saved without.

    Raises:
        ModelError: damaged.
    """
    path = folder / FOLDS
    if not path.exists():
        return FoldHeads()
    try:
        with safe_open(path, framework="pt") as file:
            of_image = json.loads(file.metadata()["of_image"])
            states: dict[int, dict[str, Tensor]] = {}
            for key in file.keys():  # noqa: SIM118 (a safetensors file is no mapping)
                number, _, name = key.partition(".")
                states.setdefault(int(number), {})[name] = file.get_tensor(key)
        heads = []
        for number in sorted(states):
            head = _empty(bundle.facts, bundle.head.taxonomy)
            head.load_state_dict(states[number])
            heads.append(head.eval())
    except _UNLOADABLE as error:
        raise ModelError(
            f"{path} does not load ({error}); train again, or promote another model"
        ) from error
    return FoldHeads(tuple(heads), of_image)


def _pack(folds: FoldHeads) -> bytes:
    tensors = {
        f"{number}.{name}": tensor
        for number, head in enumerate(folds.heads)
        for name, tensor in head.state_dict().items()
    }
    content: bytes = save(tensors, metadata={"of_image": json.dumps(dict(folds.of_image))})
    return content


def _empty(facts: Mapping[str, Any], taxonomy: Taxonomy) -> Head:
    """A head of the right shape, whose weights are yet to be loaded."""
    arguments = {"features": facts["features"], "taxonomy": taxonomy, **facts["head_args"]}
    head: Head = plugins.build("atlas.heads", facts["head"], arguments)
    return head


def load_current(project: Project) -> tuple[str, Bundle] | None:
    """The model that answers now, loaded; None before the first."""
    with project.database.reader() as session:
        model_id = current_id(session)
    return None if model_id is None else (model_id, load_bundle(project.models / model_id))


def fits(bundle: Bundle, project: Project, fingerprint: str) -> bool:
    """Whether a model reads these bottlenecks and speaks of the project's present classes."""
    return bundle.fingerprint == fingerprint and bundle.head.taxonomy == project.taxonomy
