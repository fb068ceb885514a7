"""Several people's answers → one value, by a majority or weighted by how reliable each person is.

A majority counts heads; of equally common values the latest wins. Weighted, each head counts as
much as it would in one step of Dawid and Skene (1979) with one number a person: someone who agrees
with the majority in a share r of the images that several people labelled weighs
log(r (K − 1) / (1 − r)) among K classes, the log-odds of being right. r starts at one half, as if
one answer had agreed and one had not, so that nobody is trusted or ignored for a single answer.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
import math
from statistics import median
from typing import Literal

Consensus = Literal["majority", "weighted"]

AGREEING = 0.05  # of the median's size
LEAST = 0.01  # weight of someone who is right no more often than by chance

Vote = tuple[str, str]
"""Who, and which value."""


def most_common(votes: Sequence[Vote], weights: Mapping[str, float]) -> tuple[str, int]:
    """The value with most weight, of several the latest, and how many gave it.

    Args:
        votes: oldest first, one a person.
        weights: person → weight; empty: everybody weighs the same.
    """
    heads = Counter(value for _, value in votes)
    total: dict[str, float] = defaultdict(float)
    for person, value in votes:
        total[value] += weights.get(person, LEAST) if weights else 1.0
    most = max(total.values())
    value = next(value for _, value in reversed(votes) if math.isclose(total[value], most))
    return value, heads[value]


def middle(votes: Sequence[Vote]) -> tuple[str, int]:
    """The median of numbers written as text, and how many are within `AGREEING` of it.

    Of an even number it is the mean of the two in the middle. In proportion to the median, since a
    quantity may have any unit; where the median is 0 only 0 agrees.
    """
    numbers = [float(value) for _, value in votes]
    between = median(numbers)
    near = sum(abs(number - between) <= AGREEING * abs(between) for number in numbers)
    return f"{between:.15g}", near


def weights(images: Iterable[Sequence[Vote]], classes: int) -> dict[str, float]:
    """Person → weight, from the images that several people labelled and most of them alike.

    Args:
        images: the votes on each image, one a person.
        classes: K, at least 2.
    """
    seen: Counter[str] = Counter()
    agreed: Counter[str] = Counter()
    for votes in images:
        people = [person for person, _ in votes]
        seen.update(dict.fromkeys(people, 0))
        value, heads = Counter(value for _, value in votes).most_common(1)[0] if votes else ("", 0)
        if len(votes) < 2 or 2 * heads <= len(votes):
            continue
        seen.update(people)
        agreed.update(person for person, given in votes if given == value)
    return {person: _weight(agreed[person], number, classes) for person, number in seen.items()}


def _weight(agreed: int, seen: int, classes: int) -> float:
    right = (agreed + 1) / (seen + 2)
    return max(LEAST, math.log(right * (classes - 1) / (1 - right)))
