"""Candidates for the tests of samplers."""

import numpy as np

from atlas.types import UNKNOWN, Candidates

CLASSES = {
    "kind": ("animal", "plant"),
    "species": ("animal/cat", "animal/dog", "plant/oak", "plant/rose"),
}


def candidates(n: int, *, seed: int = 0, labelled: int = 12, features: int = 6) -> Candidates:
    """Random images; of the labelled ones half were predicted right out of fold, one waits."""
    rng = np.random.default_rng(seed)
    species = rng.dirichlet(np.ones(4), n).astype(np.float32)
    out_of_fold = rng.dirichlet(np.ones(4), labelled).astype(np.float32)
    truth = (out_of_fold.argmax(1) + np.arange(labelled) % 2) % 4
    truth[:1] = UNKNOWN
    kind_truth = np.where(truth == UNKNOWN, UNKNOWN, truth // 2)
    members = [rng.dirichlet(np.ones(4), n).astype(np.float32) for _ in range(3)]
    return Candidates(
        ids=[f"img_{number:04d}" for number in range(n)],
        bottlenecks=rng.normal(size=(n, features)).astype(np.float16),
        labelled=rng.normal(size=(labelled, features)).astype(np.float16),
        probs=both(species),
        classes=CLASSES,
        labelled_classes={"kind": kind_truth, "species": truth} if labelled else {},
        labelled_probs=both(out_of_fold) if labelled else {},
        member_probs={
            level: [both(member)[level] for member in members] if labelled else []
            for level in (CLASSES if labelled else ())
        },
    )


def both(species: np.ndarray) -> dict[str, np.ndarray]:
    """Level → probabilities; a kind's is the sum of its species'."""
    return {
        "kind": np.stack([species[:, :2].sum(1), species[:, 2:].sum(1)], axis=1),
        "species": species,
    }
