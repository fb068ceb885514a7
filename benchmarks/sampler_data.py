"""The pools of the samplers' benchmark: bottlenecks, and what a head would say of them.

Three pools: one in memory as float32, and a large one on disk as float16, of which a smaller one is
the beginning. Rows are real bottlenecks where a cache is given, else drawn to look like some.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from sklearn.linear_model import LogisticRegression

from atlas.neighbors import kmeans, unit_rows
from atlas.types import Candidates, LazyMapping

LABELLED = 1000
CLASSES = 10
FEATURES = 368
MEMBERS = 5
DRAWN = 60_000
GROUPS = 60
CHUNK = 20_000
LEVEL = "label"


@dataclass(frozen=True)
class Pool:
    """A pool in the benchmark's folder.

    Attributes:
        folder: where `prepare` wrote.
        size: N, how many of the rows.
        on_disk: mapped float16 rows, else float32 in memory.
    """

    folder: Path
    size: int
    on_disk: bool

    def load(self) -> Candidates:
        """What a sampler is given, N candidates and 1,000 labelled images."""
        prefix = "disk" if self.on_disk else "memory"

        def mapped(name: str) -> NDArray[np.float32]:
            rows: NDArray[np.float32] = np.load(self.folder / f"{name}.npy", mmap_mode="r")
            return np.asarray(rows)[: self.size]

        rows = mapped(f"{prefix}_rows")
        return Candidates(
            ids=[f"img_{number:016x}" for number in range(self.size)],
            bottlenecks=rows if self.on_disk else rows.copy(),
            labelled=np.load(self.folder / "labelled_rows.npy"),
            # as in a round: in memory from the first question on, members too
            probs=LazyMapping((LEVEL,), lambda _: mapped(f"{prefix}_probs").copy()),
            classes={LEVEL: tuple(f"class_{number}" for number in range(CLASSES))},
            labelled_classes={LEVEL: np.load(self.folder / "labelled_classes.npy")},
            labelled_probs={LEVEL: np.load(self.folder / "labelled_probs.npy")},
            member_probs=LazyMapping(
                (LEVEL,),
                lambda _: [mapped(f"{prefix}_member{number}").copy() for number in range(MEMBERS)],
            ),
        )


def prepare(
    folder: Path, *, bottlenecks: Path | None, in_memory: int, on_disk: int, seed: int = 0
) -> str:
    """Write both pools into `folder`; say in words what they are.

    Args:
        folder: exists and is empty.
        bottlenecks: a folder with safetensors shards that hold "vectors" (n, D), at any depth.
        in_memory: rows of the pool in memory.
        on_disk: rows of the pool on disk; 0 for none.
        seed: of everything that is drawn.
    """
    rng = np.random.default_rng(seed)
    rows = drawn_rows(rng) if bottlenecks is None else real_rows(bottlenecks)
    origin = "drawn" if bottlenecks is None else "real"
    rows = rows[rng.permutation(len(rows))]
    labelled, rest = rows[:LABELLED], rows[LABELLED:]
    heads = _learn(folder, labelled, rng)
    np.save(folder / "labelled_rows.npy", labelled.astype(np.float16))
    if in_memory <= len(rest):
        first: Iterator[NDArray[np.float32]] = iter(
            np.array_split(rest[:in_memory], -(-in_memory // CHUNK))
        )
        said = f"{in_memory:,} of {len(rows):,} {origin} bottlenecks"
    else:
        first = mixed(rest, in_memory, rng)
        said = f"{in_memory:,} mixtures of pairs of {len(rows):,} {origin} bottlenecks"
    _write(folder / "memory", first, (in_memory, rows.shape[1]), np.dtype(np.float32), heads)
    if on_disk:
        parts = mixed(rest, on_disk, rng)
        _write(folder / "disk", parts, (on_disk, rows.shape[1]), np.dtype(np.float16), heads)
        said += f"; on disk {on_disk:,} mixtures 0.7·a + 0.3·b + noise of them"
    return said


def real_rows(folder: Path) -> NDArray[np.float32]:
    """(M, D) vectors of all the shards below a folder."""
    shards = sorted(folder.rglob("*.safetensors"))
    if not shards:
        raise SystemExit(f"no *.safetensors below {folder}")
    vectors = [load_file(shard)["vectors"] for shard in shards]
    return np.concatenate(vectors, dtype=np.float32)


def drawn_rows(rng: np.random.Generator) -> NDArray[np.float32]:
    """(60000, 368) rows of 60 groups of unequal size, each longer in some directions; ReLU."""
    shares = rng.dirichlet(np.full(GROUPS, 2.0))
    group = np.sort(rng.choice(GROUPS, DRAWN, p=shares))
    result = np.empty((DRAWN, FEATURES), dtype=np.float32)
    for number in range(GROUPS):
        mine = np.flatnonzero(group == number)
        centre = rng.normal(size=FEATURES)
        directions = rng.normal(size=(20, FEATURES)) * rng.gamma(1.0, 0.35, size=(20, 1))
        near = centre + rng.normal(size=(len(mine), 20)) @ directions
        noise = 0.4 * rng.normal(size=(len(mine), FEATURES))
        result[mine] = np.maximum(near + noise, 0)
    return result


def mixed(
    rows: NDArray[np.float32], count: int, rng: np.random.Generator
) -> Iterator[NDArray[np.float32]]:
    """`count` new rows in chunks, each near one of `rows` on the way to another one."""
    noise = np.float32(0.02 * rows[:1000].std())
    for start in range(0, count, CHUNK):
        a, b = rng.integers(len(rows), size=(2, min(CHUNK, count - start)))
        blur = rng.standard_normal(size=(len(a), rows.shape[1]), dtype=np.float32)
        yield np.float32(0.7) * rows[a] + np.float32(0.3) * rows[b] + noise * blur


def _learn(
    folder: Path, labelled: NDArray[np.float32], rng: np.random.Generator
) -> list[LogisticRegression]:
    """Heads trained on all labels, then on all but a fold each; what they say of the labelled."""
    features = _features(labelled)
    classes = _pseudo_classes(unit_rows(labelled), rng)
    fold = rng.permutation(len(classes)) % MEMBERS
    heads = [LogisticRegression(C=0.01, max_iter=500).fit(features, classes)]
    probs = np.empty((len(classes), CLASSES), dtype=np.float32)
    for number in range(MEMBERS):
        mine = fold == number
        head = LogisticRegression(C=0.01, max_iter=500).fit(features[~mine], classes[~mine])
        probs[mine] = head.predict_proba(features[mine])
        heads.append(head)
    np.save(folder / "labelled_classes.npy", classes.astype(np.int64))
    np.save(folder / "labelled_probs.npy", probs)
    right = np.mean(probs.argmax(axis=1) == classes)
    print(f"heads out of fold: {right:.0%} right, mean best {probs.max(axis=1).mean():.2f}")
    return heads


def _pseudo_classes(rows: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.intp]:
    """The cluster of each row, by lot where two are nearly as near, so that heads err."""
    centres = kmeans(rows, clusters=CLASSES, rng=rng)
    closeness = rows @ centres.T - np.einsum("ij,ij->i", centres, centres) / 2
    two = np.sort(closeness, axis=1)[:, -2:]
    width = np.median(two[:, 1] - two[:, 0]) / 4
    lots = closeness / width + rng.gumbel(size=closeness.shape)
    return np.asarray(lots.argmax(axis=1))


def _features(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length √D: features of about unit size."""
    return unit_rows(rows) * np.float32(np.sqrt(rows.shape[1]))


def _write(
    prefix: Path,
    parts: Iterator[NDArray[np.float32]],
    shape: tuple[int, int],
    dtype: np.dtype[np.floating],
    heads: list[LogisticRegression],
) -> None:
    """Rows, the head's probabilities and each member's, as .npy files, a chunk at a time."""
    names = ["probs", *(f"member{number}" for number in range(MEMBERS))]
    create: Any = np.lib.format.open_memmap
    rows = create(f"{prefix}_rows.npy", mode="w+", dtype=dtype, shape=shape)
    probs = [
        create(f"{prefix}_{name}.npy", mode="w+", dtype=np.float32, shape=(shape[0], CLASSES))
        for name in names
    ]
    start = 0
    for part in parts:
        here = slice(start, start + len(part))
        rows[here] = part
        features = _features(rows[here])
        for said, head in zip(probs, heads, strict=True):
            said[here] = head.predict_proba(features)
        start = here.stop
