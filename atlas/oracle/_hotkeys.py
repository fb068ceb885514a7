"""One key per choice over the whole labelling page, none used twice."""

from collections.abc import Iterable, Sequence

DIGITS = "1234567890"
LETTERS = "qwertyiopasdfgjklzxcbnm"  # keyboard order; Label Studio itself uses u, h and v
FILTER = "shift+f"


class Hotkeys:
    """Hands out keys: digits, then letters, then shift and a letter, then none."""

    def __init__(self) -> None:
        self._free = [*DIGITS, *LETTERS, *(f"shift+{letter}" for letter in LETTERS)]
        self._free.remove(FILTER)
        self.ran_out = False

    def by_initial(self, names: Sequence[str], *, shift: bool = False) -> list[str]:
        """A key per name that its letters suggest ("red" → r), or "" where none is left."""
        prefix = "shift+" if shift else ""
        return [
            self._take([*(prefix + letter for letter in name.lower()), *self._spare()])
            for name in names
        ]

    def in_order(self, count: int) -> list[str]:
        """The next `count` keys in keyboard order, "" where none is left."""
        return [self._take(self._free) for _ in range(count)]

    def _spare(self) -> list[str]:
        # Digits are kept for what is chosen most often.
        return [key for key in self._free if key not in DIGITS]

    def _take(self, wanted: Iterable[str]) -> str:
        for key in wanted:
            if key in self._free:
                self._free.remove(key)
                return key
        self.ran_out = True
        return ""
