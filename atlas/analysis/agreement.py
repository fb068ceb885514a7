"""How far people who labelled the same image agree."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Said = Sequence[Mapping[str, str]]
"""One mapping an image: person → class."""


@dataclass(frozen=True)
class Share:
    """`count` of `n` trials."""

    count: int
    n: int


def fleiss_kappa(said: Said) -> float | None:
    """Agreement beyond chance over the images that two or more people labelled (Fleiss 1971).

    With n_ij people who called image i class j and n_i = Σ_j n_ij: P_i = Σ_j n_ij (n_ij − 1) /
    (n_i (n_i − 1)); κ = (mean P_i − Σ_j p_j²) / (1 − Σ_j p_j²), p_j the share of class j among all
    answers. The number of people may differ from image to image. With two it is Scott's π.

    Returns:
        At most 1; None without such images or where everybody always said the same class.
    """
    shared = [Counter(image.values()) for image in said if len(image) > 1]
    if not shared:
        return None
    agree = []
    totals: Counter[str] = Counter()
    for counts in shared:
        people = counts.total()
        agree.append(sum(n * (n - 1) for n in counts.values()) / (people * (people - 1)))
        totals += counts
    chance = sum((n / totals.total()) ** 2 for n in totals.values())
    return None if chance == 1 else (float(np.mean(agree)) - chance) / (1 - chance)


def with_others(said: Said) -> dict[str, Share]:
    """On how many of the images shared with others each person says what most of the others say.

    One trial an image, so that an interval may be put around it. Where several classes lead among
    the others, saying one of them is agreeing. Who shares no image is left out.
    """
    count: Counter[str] = Counter()
    n: Counter[str] = Counter()
    for image in said:
        if len(image) < 2:
            continue
        answers = Counter(image.values())
        for person, value in image.items():
            answers[value] -= 1
            n[person] += 1
            count[person] += answers[value] == max(answers.values())
            answers[value] += 1
    return {person: Share(count[person], trials) for person, trials in n.items()}


def of_classes(said: Said) -> dict[str, Share]:
    """Of the images that somebody of two or more called a class, on how many everybody did."""
    count: Counter[str] = Counter()
    n: Counter[str] = Counter()
    for image in said:
        found = set(image.values()) if len(image) > 1 else set()
        n.update(found)
        if len(found) == 1:
            count.update(found)
    return {name: Share(count[name], images) for name, images in n.items()}
