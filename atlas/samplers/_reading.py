"""Reading rows in slices, so that memory does not grow with the pool."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from atlas.neighbors import unit_rows
from atlas.types import Rows

CHUNK = 16384


def chunks(total: int, size: int = CHUNK) -> Iterator[slice]:
    """Slices that cover `total` rows in order."""
    for start in range(0, total, size):
        yield slice(start, min(start + size, total))


def unit_chunks(rows: Rows) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """(slice, its rows scaled to length 1 as float32), in order."""
    for part in chunks(len(rows)):
        yield part, unit_rows(rows[part])
