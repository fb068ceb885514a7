"""Seconds to refit each head, out-of-fold predictions and temperature included.

python benchmarks/heads.py --labels 2000 --features 368
"""

import argparse
from statistics import median
import time

import numpy as np

from atlas import plugins
from atlas.settings import HeadSettings
from atlas.taxonomy import Taxonomy
from atlas.training.fit_heads import fit_head, moments

LEAVES = tuple(f"{a}/{b}/{c}" for a in "ab" for b in "cde" for c in "fg")


def main() -> None:
    """Print the median seconds of five refits a head, on overlapping Gaussian classes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--features", type=int, default=368)
    parser.add_argument("--heads", nargs="+", default=plugins.available("atlas.heads"))
    arguments = parser.parse_args()
    taxonomy = Taxonomy(("l1", "l2", "l3"), LEAVES, {})
    rng = np.random.default_rng(0)
    leaf = rng.integers(len(LEAVES), size=arguments.labels)
    centres = rng.normal(size=(len(LEAVES), arguments.features)) * 0.1
    x = (centres[leaf] + rng.normal(size=(arguments.labels, arguments.features))).astype(np.float16)
    labels = [{"label": LEAVES[i]} for i in leaf]
    for name in arguments.heads:
        seconds = []
        for seed in range(5):
            started = time.perf_counter()
            fit_head(
                x,
                labels,
                taxonomy=taxonomy,
                settings=HeadSettings(name=name),
                pool_moments=moments(x),
                rng=np.random.default_rng(seed),
            )
            seconds.append(time.perf_counter() - started)
        print(f"{name:15} {arguments.labels} labels × 3 levels: {median(seconds):.2f} s")


if __name__ == "__main__":
    main()
