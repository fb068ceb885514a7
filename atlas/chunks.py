"""Long lists in parts."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

IN_CHUNK = 500  # SQLite bounds the number of parameters of one statement


def chunks(items: Iterable[T], size: int = IN_CHUNK) -> Iterator[list[T]]:
    """Lists of `size` items, the last one shorter; none where there is no item."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
