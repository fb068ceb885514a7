"""Who answers queries: a person in Label Studio, or a simulation."""

from collections.abc import Sequence
from typing import Protocol

from atlas.types import Annotation, Query


class Oracle(Protocol):
    """Sends queries out and brings annotations back. Both may be repeated without harm."""

    name: str

    def check(self) -> None:
        """Raise `OracleUnreachable` or `OracleRefused` unless queries could be pushed now."""

    def push(self, queries: Sequence[Query]) -> dict[str, str]:
        """Make each query answerable, in order of priority.

        Returns:
            Query uid → the oracle's task id. A query pushed before keeps its task.

        Raises:
            OracleError: nothing is known to have been pushed; repeat it.
        """

    def collect(self, uids: Sequence[str]) -> list[Annotation]:
        """The present annotations of these queries and what was edited, skipped or deleted."""
