"""What a model said of the images, kept on the disk so that looking at it needs no torch.

One folder a model beside the bundles, since an exported bundle must not name the images.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import IO, Any
import zipfile

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from atlas.errors import ModelError, explain_full_disk
from atlas.project import Project
from atlas.promotion import current_id
from atlas.store.tables import Image, ModelRow

AUDIT, OUT_OF_FOLD, POOL = "audit", "out-of-fold", "pool"
FACTS = "facts.json"
_SEPARATOR = "|"  # no task name holds it: they are identifiers
_BROKEN = (OSError, ValueError, KeyError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Predictions:
    """Probabilities of every class.

    Attributes:
        ids: N image ids.
        classes: task → K class names, the columns of `probs`.
        probs: task → (N, K) in [0, 1], rows sum to 1.
    """

    ids: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]
    probs: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Guesses:
    """The best class of each image alone: of a pool every class would be too much to keep.

    Attributes:
        ids: N image ids, sorted.
        classes: task → class names.
        best: task → (N,) index of the most likely class.
        sure: task → (N,) its probability, in [0, 1].
    """

    ids: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]
    best: Mapping[str, NDArray[np.int16]]
    sure: Mapping[str, NDArray[np.float32]]


def root_of(project: Project) -> Path:
    """Where everything of this package lies."""
    return project.directory / "analysis"


def save_predictions(folder: Path, kind: str, found: Predictions) -> None:
    """Write `found`; `kind` is `AUDIT` or `OUT_OF_FOLD`."""
    arrays = {f"probs|{task}": one for task, one in found.probs.items()}
    write_arrays(folder / f"{kind}.npz", {**_named(found), **arrays})


def save_guesses(folder: Path, found: Guesses) -> None:
    """Write what is kept of the pool."""
    best = {f"best|{task}": one for task, one in found.best.items()}
    sure = {f"sure|{task}": one for task, one in found.sure.items()}
    write_arrays(folder / f"{POOL}.npz", {**_named(found), **best, **sure})


def load_predictions(project: Project, model_id: str, kind: str) -> Predictions:
    """What `save_predictions` wrote of a model.

    Raises:
        ModelError: nothing was written, or it is damaged.
    """
    arrays = _load(project, model_id, kind)
    return Predictions(_ids(arrays), _of(arrays, "classes", _texts), _of(arrays, "probs"))


def load_guesses(project: Project, model_id: str) -> Guesses:
    """What `save_guesses` wrote of a model.

    Raises:
        ModelError: nothing was written, or it is damaged.
    """
    arrays = _load(project, model_id, POOL)
    best, sure = _of(arrays, "best"), _of(arrays, "sure")
    return Guesses(_ids(arrays), _of(arrays, "classes", _texts), best, sure)


def stale_model(project: Project, session: Session) -> str | None:
    """The model that answers now, where it is not analysed or images have come or gone since.

    Cheap enough to be asked at every tick.
    """
    model_id = current_id(session)
    if model_id is None or not (project.models / model_id).exists():
        return None
    path = root_of(project) / model_id / FACTS
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return None if known.get("images") == count_images(session) else model_id


def count_images(session: Session) -> int:
    """Of the pool and the audit set."""
    return session.scalar(select(func.count()).select_from(Image)) or 0


def model_or_current(project: Project, model_id: str | None) -> str | None:
    """`model_id`, else the one that answers now; None before the first.

    Raises:
        ModelError: no such model.
    """
    with project.database.reader() as session:
        if model_id is None:
            return current_id(session)
        if session.get(ModelRow, model_id) is None:
            raise ModelError(f"no model {model_id!r}; `atlas models` lists them")
    return model_id


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an .npz, all of it or nothing.

    Raises:
        DiskFull: no room.
    """

    def content(file: IO[bytes]) -> None:
        np.savez(file, allow_pickle=False, **arrays)

    _write(path, content)


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Last of all: a folder with them is complete."""
    _write(folder / FACTS, lambda file: file.write(json.dumps(dict(facts)).encode()))


def read_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """What `write_arrays` wrote; None where there is nothing.

    Raises:
        ModelError: damaged.
    """
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except _BROKEN as error:
        raise ModelError(f"{path} is damaged ({error}); delete it and train again") from error


def as_bytes(ids: Sequence[str]) -> NDArray[np.bytes_]:
    """(N,) image ids as an array that an .npz can hold."""
    return np.array([one.encode() for one in ids], dtype=np.bytes_)


def as_texts(ids: NDArray[np.bytes_]) -> tuple[str, ...]:
    """Back again."""
    return tuple(one.decode() for one in ids.tolist())


def _load(project: Project, model_id: str, kind: str) -> dict[str, NDArray[Any]]:
    found = read_arrays(root_of(project) / model_id / f"{kind}.npz")
    if found is None:
        raise ModelError(
            f"not measured for model {model_id}: its single predictions are not kept. The model "
            "that answers now is measured within seconds of `atlas up`; for this one train again"
        )
    return found


def _write(path: Path, content: Callable[[IO[bytes]], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    try:
        with explain_full_disk(path), temporary.open("wb") as file:
            content(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _named(found: Predictions | Guesses) -> dict[str, NDArray[Any]]:
    classes = {f"classes|{task}": np.array(one) for task, one in found.classes.items()}
    return {"ids": as_bytes(found.ids), **classes}


def _ids(arrays: Mapping[str, NDArray[Any]]) -> tuple[str, ...]:
    return as_texts(arrays["ids"])


def _texts(array: NDArray[Any]) -> Any:
    return tuple(array.tolist())


def _of(
    arrays: Mapping[str, NDArray[Any]],
    part: str,
    convert: Callable[[NDArray[Any]], Any] = lambda array: array,
) -> dict[str, Any]:
    """Task → what is stored of it under "part|task"."""
    split = {name: name.partition(_SEPARATOR) for name in arrays}
    return {
        task: convert(arrays[name])
        for name, (prefix, mark, task) in split.items()
        if mark and prefix == part
    }
