"""Model bundles: safetensors and JSON in a folder."""

from dataclasses import dataclass
import hashlib
import json
from pathlib import Path
import shutil
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from sqlalchemy import select
from sqlalchemy.orm import Session

from atlas import plugins
from atlas.errors import ModelError, PluginError, TaxonomyError, explain_full_disk
from atlas.heads import Head
from atlas.project import Project
from atlas.promotion import current_id
from atlas.store.tables import ModelRow
from atlas.taxonomy import Taxonomy

BUNDLE_VERSION = 1
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


def next_id(session: Session) -> str:
    """The next free id: m0001, then m0002."""
    return f"m{len(session.scalars(select(ModelRow.id)).all()) + 1:04d}"


def save_bundle(folder: Path, head: Head, facts: dict[str, Any]) -> None:
    """Write head.safetensors and model.json to `folder`, whole or not at all."""
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
        },
    }
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with explain_full_disk(folder):
            temporary.mkdir(parents=True)
            (temporary / "head.safetensors").write_bytes(weights)
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
        )
        arguments = {"features": facts["features"], "taxonomy": taxonomy, **facts["head_args"]}
        head: Head = plugins.build("atlas.heads", facts["head"], arguments)
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


def load_current(project: Project) -> tuple[str, Bundle] | None:
    """The model that answers now, loaded; None before the first."""
    with project.database.reader() as session:
        model_id = current_id(session)
    return None if model_id is None else (model_id, load_bundle(project.models / model_id))


def fits(bundle: Bundle, project: Project, fingerprint: str) -> bool:
    """Whether a model reads these bottlenecks and speaks of the project's present classes."""
    return bundle.fingerprint == fingerprint and bundle.head.taxonomy == project.taxonomy
