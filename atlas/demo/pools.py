"""Draws a sample pool into a folder: pictures, taxonomy and the truth about each picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import json
from pathlib import Path
import shutil
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.demo import garments
from atlas.demo.home import demo_home
from atlas.demo.spectrogram import LEVELS, draw_event
from atlas.errors import PoolError, explain_full_disk
from atlas.taxonomy import Taxonomy
from atlas.taxonomy_file import save_taxonomy

VERSIONS = {"garments": 2, "water": 1}  # one higher whenever a pool's files become others
POOLS: tuple[str, ...] = tuple(VERSIONS)

Truth = dict[str, str]


class _Artist(Protocol):
    @property
    def taxonomy(self) -> Taxonomy: ...

    def truths(self, images: int, rng: np.random.Generator) -> list[Truth]: ...

    def draw(self, truth: Truth, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Truth]: ...


def draw_pool(
    name: str,
    directory: Path,
    *,
    images: int,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Draw `images` pictures; the same name, number and seed give the same bytes.

    Writes `images/<class>/…/NNNNN.png`, `taxonomy.yaml`, `pool.json` and `manifest.jsonl` (one
    line an image: `path` relative to the manifest, `label` as a taxonomy path, and for garments
    `colour` and `size`, see `garments.extent`).
    Drawing goes on in `<directory>.partial` until it is whole; what an interrupted call left there
    is kept. A folder that already holds this very pool is left alone.

    Returns:
        `directory`.

    Raises:
        PoolError: an unknown name, fewer images than leaves, or a folder that holds something else.
        DiskFull: no room left.
    """
    artist = _artist(name, seed)
    made_of = {"name": name, "images": images, "seed": seed, "version": VERSIONS[name]}
    if images < len(artist.taxonomy.leaves):
        raise PoolError(
            f"asked for {images} images, the {name} pool has {len(artist.taxonomy.leaves)} leaves; "
            "ask for at least one image a leaf"
        )
    if directory.exists():
        _check_same(directory, made_of)
        return directory
    partial = directory.with_name(directory.name + ".partial")
    with explain_full_disk(partial):
        _start(partial, made_of)
        _draw_all(artist, partial, made_of, progress)
        save_taxonomy(artist.taxonomy, partial / "taxonomy.yaml")
        partial.rename(directory)
    return directory


def pool_taxonomy(name: str, seed: int) -> Taxonomy:
    """The taxonomy of a pool, known before anything is drawn.

    Raises:
        PoolError: an unknown name.
    """
    return _artist(name, seed).taxonomy


def _artist(name: str, seed: int) -> _Artist:
    if name == "garments":
        return _Tailor()
    if name == "water":
        return _Plumber(seed)
    raise PoolError(f"there is no pool {name!r} to draw; the built-in pools are {', '.join(POOLS)}")


def _check_same(directory: Path, made_of: dict[str, object]) -> None:
    mark = directory / "pool.json"
    found = json.loads(mark.read_text(encoding="utf-8")) if mark.is_file() else None
    if found != made_of:
        raise PoolError(
            f"{directory} holds {found or 'no drawn pool'}, wanted {made_of}; "
            "name another folder or remove this one"
        )


def _start(partial: Path, made_of: dict[str, object]) -> None:
    """Open the partial folder, emptied if it was begun for another pool."""
    mark = partial / "pool.json"
    if partial.exists():
        if mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == made_of:
            return
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    _write(mark, (json.dumps(made_of) + "\n").encode())


def _draw_all(
    artist: _Artist,
    partial: Path,
    made_of: dict[str, object],
    progress: Callable[[int, int], None] | None,
) -> None:
    images, seed = int(str(made_of["images"])), int(str(made_of["seed"]))
    lines = []
    # A stream an image, so that one picture never depends on which others were drawn before.
    for index, truth in enumerate(artist.truths(images, np.random.default_rng([seed, 0]))):
        path = Path("images") / truth["label"] / f"{index:05d}.png"
        # What is on the disk is drawn again, too: only drawing tells what was measured.
        picture, measured = artist.draw(truth, np.random.default_rng([seed, 1, index]))
        if not (partial / path).exists():
            (partial / path).parent.mkdir(parents=True, exist_ok=True)
            _save(picture, partial / path)
        line = {"path": path.as_posix(), **truth, **measured}
        lines.append(json.dumps(line, ensure_ascii=False))
        if progress is not None:
            progress(index + 1, images)
    _write(partial / "manifest.jsonl", ("\n".join(lines) + "\n").encode())


def _save(picture: NDArray[np.uint8], path: Path) -> None:
    waiting = path.with_suffix(".part")
    Image.fromarray(picture).save(waiting, format="PNG")
    waiting.rename(path)


def _write(path: Path, content: bytes) -> None:
    waiting = path.with_suffix(".part")
    waiting.write_bytes(content)
    waiting.rename(path)


@dataclass(frozen=True)
class _Tailor:
    """Draws garments: every leaf equally often, colours at random, sizes as the pose has it."""

    taxonomy: Taxonomy = Taxonomy(
        garments.LEVELS,
        garments.LEAVES,
        attributes={"colour": garments.COLOURS},
        quantities=(garments.SIZE,),
    )

    def truths(self, images: int, rng: np.random.Generator) -> list[Truth]:
        labels = [garments.LEAVES[index % len(garments.LEAVES)] for index in range(images)]
        return [
            {"label": labels[index], "colour": str(rng.choice(garments.COLOURS))}
            for index in rng.permutation(images)
        ]

    def draw(self, truth: Truth, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Truth]:
        picture, size = garments.draw_garment(truth["label"], truth["colour"], rng)
        return picture, {garments.SIZE: f"{size:.1f}"}


class _Plumber:
    """Draws the events of one home: every valve at least once, else as often as it is used."""

    def __init__(self, seed: int) -> None:
        self.home = demo_home(seed)
        self.valves = {valve.path: valve for valve in self.home.valves}
        self.taxonomy = Taxonomy(LEVELS, tuple(self.valves), attributes={})

    def truths(self, images: int, rng: np.random.Generator) -> list[Truth]:
        uses = np.array([valve.uses for valve in self.home.valves])
        expected = (images - len(uses)) * uses / uses.sum()
        counts = 1 + np.floor(expected).astype(int)
        spare = images - int(counts.sum())
        counts[np.argsort(np.floor(expected) - expected, kind="stable")[:spare]] += 1
        labels = np.repeat(list(self.valves), counts)
        return [{"label": str(label)} for label in rng.permutation(labels)]

    def draw(self, truth: Truth, rng: np.random.Generator) -> tuple[NDArray[np.uint8], Truth]:
        return draw_event(self.home, self.valves[truth["label"]], rng), {}
