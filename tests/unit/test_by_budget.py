"""by_budget changes from one sampler to the other, and says which one chose."""

import numpy as np
import pytest

from atlas.errors import SamplerError
from atlas.samplers._composition import build_sampler
from atlas.types import Batch, Candidates
from tests.samplers_support import candidates


def select(name: str, given: Candidates, arguments: dict[str, object] | None = None) -> Batch:
    rng = np.random.default_rng(0)
    return build_sampler(name, arguments).select(given, n=7, rng=rng)


def test_it_changes_at_so_many_labels_a_class() -> None:
    """Four species and 3 labels a class: 11 labels are under 12, 12 are not."""
    arguments = {"labels_per_class": 3, "level": "finest"}
    few, enough = candidates(40, labelled=11), candidates(40, labelled=12)
    early = select("by_budget", few, arguments)
    assert early.ids == select("max_herding", few).ids
    assert (
        early.note == "under 12 labels it takes images that stand for many others (by max_herding)"
    )
    late = select("by_budget", enough, arguments)
    assert late.ids == select("badge", enough, {"level": "finest"}).ids
    assert late.note == "from 12 labels on it takes images that the model doubts (by badge)"


def test_samplers_of_ones_choice_and_chains() -> None:
    arguments = {"labels_per_class": 1, "late": "entropy*3 | kmeans", "level": "species"}
    batch = select("by_budget", candidates(40), arguments)
    wanted = select("entropy*3 | kmeans", candidates(40), {"level": "species"})
    assert batch.ids == wanted.ids
    assert batch.note == "from 4 labels on it takes what is chosen (by entropy*3 | kmeans)"
    with pytest.raises(SamplerError, match="labels_per_class is 0; give 1 or more"):
        build_sampler("by_budget", {"labels_per_class": 0})
