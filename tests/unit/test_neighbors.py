"""The door to faiss, and rows scaled to length 1."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from atlas.neighbors import as_float32, kmeans, kmeans_sample, nearest_centre, unit_rows
from tests.diversity_support import groups_of


def test_unit_rows() -> None:
    found = unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert (found.dtype, found.tolist()) == (
        np.float32,
        [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]],
    )


def test_every_half_becomes_the_float_that_it_is() -> None:
    """All 65,536 of them: subnormals, both zeros, infinities and NaN."""
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]
    for some in (finite, halves, halves[halves > 60000], finite[::3], finite[:0]):
        wanted = some.astype(np.float32)
        np.testing.assert_array_equal(as_float32(some).view(np.uint32), wanted.view(np.uint32))


def test_floats_are_copied() -> None:
    rows = np.ones((2, 2), dtype=np.float32)
    as_float32(rows)[0, 0] = 5
    unit_rows(rows)[0, 0] = 5
    assert rows[0, 0] == 1


def test_nearest_centre_agrees_with_every_distance() -> None:
    rng = np.random.default_rng(0)
    rows, centres = rng.normal(size=(30, 4)), rng.normal(size=(7, 4))
    squares, number = nearest_centre(rows.astype(np.float32), centres.astype(np.float32))
    wanted = cdist(rows, centres) ** 2
    np.testing.assert_array_equal(number, wanted.argmin(axis=1))
    np.testing.assert_allclose(squares, wanted.min(axis=1), rtol=1e-4, atol=1e-5)


def test_k_means_samples_in_the_open() -> None:
    """32 rows a centre, at least 16,384, drawn by `rng`: the same for the same seed."""
    few = kmeans_sample(16_384, clusters=3, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(few, np.arange(16_384))
    many = kmeans_sample(100_000, clusters=1000, rng=np.random.default_rng(0))
    assert (len(many), len(set(many.tolist()))) == (32_000, 32_000)
    assert (np.diff(many) > 0).all()
    rows = np.random.default_rng(0).normal(size=(20_000, 4)).astype(np.float32)
    first, again, other = (
        kmeans(rows, clusters=3, rng=np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert first.shape == (3, 4)
    assert not np.array_equal(first, other)


def test_k_means_finds_the_means_of_clear_groups() -> None:
    rows, group = groups_of([50, 40, 30])
    found = kmeans(rows.astype(np.float32), clusters=3, rng=np.random.default_rng(0))
    means = np.stack([rows[group == number].mean(axis=0) for number in range(3)])
    np.testing.assert_allclose(found[cdist(means, found).argmin(axis=1)], means, atol=1e-5)
