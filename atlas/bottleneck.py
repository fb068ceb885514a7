"""The disk cache: content hash × backbone fingerprint × view → bottleneck.

One folder a fingerprint and view, holding shards. A shard is one safetensors file with the
content hashes (n, 32) uint8, the vectors (n, D) float16 and their CRC-32. It is written under a
temporary name and renamed, so it is there whole or not at all; a damaged one is found by its size
when it is opened and by its checksum when `verify` reads it, and is then computed anew.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import json
import os
from pathlib import Path
import struct
import uuid
import zlib

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from atlas.errors import CacheError, explain_full_disk

SHARD_MAX_BYTES = 64 * 2**20
MANY_SMALL = 64  # shards that are merged as soon as there are more: each keeps a file open
CLEAN_VIEW = "clean"


@dataclass(frozen=True, eq=False)  # equal means the same: arrays have no truth value
class _Shard:
    path: Path
    hashes: NDArray[np.uint8]  # (n, 32), mapped
    vectors: NDArray[np.float16]  # (n, D), mapped
    checksum: int


class BottleneckCache:
    """Bottlenecks of one backbone fingerprint and one view.

    Attributes:
        features: D; every vector has this length.
        damaged: shards that were found broken and put aside when the cache was opened.
    """

    def __init__(
        self, root: Path, *, fingerprint: str, features: int, view: str = CLEAN_VIEW
    ) -> None:
        self.fingerprint = fingerprint
        self.folder = root / fingerprint / view
        self.folder.mkdir(parents=True, exist_ok=True)
        self.features = features
        self.damaged: list[Path] = []
        self._shards: list[_Shard] = []
        self._keys: NDArray[np.uint64] = np.zeros(0, dtype=np.uint64)
        self._places: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._indexed = 0
        self.refresh()

    def refresh(self) -> None:
        """Look again at what is on the disk; another process may have added shards."""
        known = {shard.path: shard for shard in self._shards}
        self._shards = []
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                shard = known.get(path) or _open(path, self.features)
            except FileNotFoundError:  # merged by another process since it was listed
                self.refresh()
                return
            if shard is None:
                self._put_aside(path)
            else:
                self._shards.append(shard)
        self._index()

    def verify(self) -> int:
        """Check every shard's checksum, put damaged ones aside, return how many those were."""
        bad = [shard for shard in self._shards if _checksum(shard.vectors) != shard.checksum]
        for shard in bad:
            self._put_aside(shard.path)
        self._shards = [shard for shard in self._shards if shard not in bad]
        self._index()
        return len(bad)

    def __len__(self) -> int:
        if self._indexed != len(self._shards):
            self._index()
        return len(self._keys)

    def missing(self, hashes: Sequence[str]) -> NDArray[np.intp]:
        """Positions in `hashes` (SHA-256, hex) that the cache does not hold."""
        return np.flatnonzero(self._find(hashes) < 0)

    def put(self, hashes: Sequence[str], vectors: NDArray[np.floating]) -> None:
        """Add bottlenecks; they are on the disk when this returns.

        Args:
            hashes: n content hashes, hex.
            vectors: (n, D); stored as float16.

        Raises:
            DiskFull: no room; nothing is added.
        """
        raw = np.frombuffer(bytes.fromhex("".join(hashes)), dtype=np.uint8).reshape(-1, 32)
        path = _write(self.folder, raw, vectors.astype(np.float16))
        shard = _open(path, self.features)
        if shard is None:
            raise CacheError(f"{path} was damaged while it was written; check the disk")
        self._shards.append(shard)
        if len(self._small(SHARD_MAX_BYTES)) > MANY_SMALL:
            self.compact()

    def read(self, hashes: Sequence[str]) -> NDArray[np.float16]:
        """(n, D) bottlenecks in the order of `hashes`.

        Raises:
            CacheError: one is not in the cache.
        """
        return self.rows(hashes)[:]

    def rows(self, hashes: Sequence[str]) -> "CachedRows":
        """The same, as rows that are read from disk when they are sliced."""
        places = self._find(hashes)
        if (places < 0).any():
            raise CacheError(
                f"{int((places < 0).sum())} of {len(hashes)} images have no bottleneck yet; "
                "run `atlas embed`"
            )
        return CachedRows([shard.vectors for shard in self._shards], places, self.features)

    def compact(self, max_bytes: int = SHARD_MAX_BYTES) -> None:
        """Merge small shards into large ones. Stopping in the middle loses nothing."""
        for group in _groups(self._small(max_bytes), max_bytes):
            if len(group) > 1:
                _write(
                    self.folder,
                    np.concatenate([shard.hashes for shard in group]),
                    np.concatenate([shard.vectors for shard in group]),
                )
                for shard in group:
                    shard.path.unlink(missing_ok=True)
        self.refresh()

    def _small(self, max_bytes: int) -> list[_Shard]:
        return [shard for shard in self._shards if shard.vectors.nbytes < max_bytes // 2]

    def _put_aside(self, path: Path) -> None:
        self.damaged.append(path)
        path.unlink(missing_ok=True)  # another process may have been faster

    def _index(self) -> None:
        """Sorted 8-byte keys (the first 8 bytes of the hash) with the place of each."""
        keys, places = [np.zeros(0, dtype=np.uint64)], [np.zeros(0, dtype=np.int64)]
        for number, shard in enumerate(self._shards):
            first_bytes = np.ascontiguousarray(shard.hashes[:, :8]).view(">u8")[:, 0]
            keys.append(first_bytes.astype(np.uint64))  # type: ignore[arg-type]
            places.append((number << 32) + np.arange(len(shard.hashes), dtype=np.int64))
        # first of equal keys wins: a crash between merge and delete leaves some twice
        self._keys, first = np.unique(np.concatenate(keys), return_index=True)
        self._places = np.concatenate(places)[first]
        self._indexed = len(self._shards)

    def _find(self, hashes: Sequence[str]) -> NDArray[np.int64]:
        """Place of each hash, shard number << 32 | row, or -1."""
        if self._indexed != len(self._shards):  # `put` leaves it to the next look-up
            self._index()
        wanted = np.array([int(text[:16], 16) for text in hashes], dtype=np.uint64)
        if not len(self._keys):
            return np.full(len(wanted), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        return np.where(self._keys[at] == wanted, self._places[at], -1)


class CachedRows:
    """Rows of the cache in a chosen order: `rows[a:b]` and `rows[index]` read (n, D) float16."""

    def __init__(
        self,
        shards: Sequence[NDArray[np.float16]],
        places: NDArray[np.int64],
        features: int,
    ) -> None:
        self._shards = shards
        self._places = places
        self._features = features

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> NDArray[np.float16]:
        places = self._places[rows]
        result = np.empty((len(places), self._features), dtype=np.float16)
        numbers = places >> 32
        for number in np.unique(numbers):
            mine = np.flatnonzero(numbers == number)
            result[mine] = self._shards[number][places[mine] & 0xFFFFFFFF]
        return result

    def __array__(self, dtype: object = None, copy: object = None) -> NDArray[np.float16]:
        return self[:].astype(dtype) if dtype is not None else self[:]  # type: ignore[call-overload]


def _checksum(vectors: NDArray[np.float16]) -> int:
    return zlib.crc32(np.ascontiguousarray(vectors).data)


def _write(folder: Path, hashes: NDArray[np.uint8], vectors: NDArray[np.float16]) -> Path:
    path = folder / f"{uuid.uuid4().hex}.safetensors"
    temporary = path.with_suffix(".tmp")
    content = save(
        {"hashes": np.ascontiguousarray(hashes), "vectors": np.ascontiguousarray(vectors)},
        metadata={"crc32": str(_checksum(vectors))},
    )
    try:
        with explain_full_disk(folder), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _open(path: Path, features: int) -> _Shard | None:
    """Map a shard; None where its header or its size is wrong."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if 8 + length > size:
            return None
        try:
            header = json.loads(file.read(length))
        except ValueError:
            return None
    body = 8 + length
    try:
        mapped = np.memmap(path, np.uint8, "r")  # one mapping: each keeps a file open
        arrays = {}
        for name, kind in (("hashes", np.uint8), ("vectors", np.float16)):
            begin, end = header[name]["data_offsets"]
            part = np.asarray(mapped)[body + begin : body + end]
            arrays[name] = part.view(kind).reshape(header[name]["shape"])
        checksum = int(header["__metadata__"]["crc32"])
    except (KeyError, TypeError, ValueError):
        return None
    if arrays["hashes"].shape[1:] != (32,):
        return None
    if arrays["vectors"].shape != (len(arrays["hashes"]), features):
        return None
    return _Shard(path, arrays["hashes"], arrays["vectors"], checksum)


def _groups(shards: Sequence[_Shard], max_bytes: int) -> Iterator[list[_Shard]]:
    group: list[_Shard] = []
    for shard in shards:
        if group and sum(one.vectors.nbytes for one in group) + shard.vectors.nbytes > max_bytes:
            yield group
            group = []
        group.append(shard)
    if group:
        yield group
