"""Active transfer learning for representation: asks where the pool is and the labels are not."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from atlas import plugins
from atlas.types import Batch, Candidates


def select(given: Candidates, n: int, **arguments: object) -> Batch:
    sampler = plugins.build("atlas.samplers", "atl_representative", arguments)
    return sampler.select(given, n=n, rng=np.random.default_rng(0))


def groups(centres: list[list[float]], sizes: list[int], seed: int) -> np.ndarray:
    """`sizes[i]` rows around `centres[i]`, in turn."""
    rng = np.random.default_rng(seed)
    middle = np.repeat(np.array(centres), sizes, axis=0)
    return (middle + rng.normal(0, 0.05, middle.shape)).astype(np.float16)


def positions(batch: Batch) -> list[int]:
    return [int(image_id[4:]) for image_id in batch.ids]


def slow_head(x: np.ndarray, wrong: np.ndarray) -> LogisticRegression:
    penalty = x.shape[1]
    head = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-10)
    return head.fit(x, wrong)


def rows_alone(rows: np.ndarray, labelled: np.ndarray) -> Candidates:
    return Candidates([f"img_{i}" for i in range(len(rows))], rows, labelled)


def test_it_asks_where_nothing_is_labelled() -> None:
    """20 candidates look like the labelled images, 10 do not."""
    centres = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]
    given = rows_alone(groups(centres, [10, 10, 10], 0), groups(centres[:2], [20, 20], 1))
    batch = select(given, 10)
    assert set(positions(batch)) == set(range(20, 30))
    assert batch.reasons[0] == (
        f"like the pool and unlike the labelled images ({batch.scores[0]:.2f})"
    )
    assert batch.note == ""


@pytest.mark.parametrize(("rows", "features"), [(40, 3), (41, 30), (2, 5)])
def test_it_is_its_slow_twin(rows: int, features: int) -> None:
    """Each half of the pool is scored by the head that learned from the other half."""
    rng = np.random.default_rng(5)
    given = rows_alone(rng.normal(size=(rows, features)), rng.normal(0.3, 1, (15, features)))
    halves = np.array_split(np.random.default_rng(0).permutation(rows), 2)
    reference = np.concatenate([given.labelled[:], given.bottlenecks[:]])
    mean, spread = reference.mean(axis=0), reference.std(axis=0)
    known, unknown = ((x[:] - mean) / spread for x in (given.labelled, given.bottlenecks))
    wanted = np.zeros(rows)
    for scored, seen in (halves, halves[::-1]):
        x = np.concatenate([known, unknown[seen]])
        head = slow_head(x, np.arange(len(x)) >= 15)
        wanted[scored] = head.predict_proba(unknown[scored])[:, 1]
    batch = select(given, rows)
    assert positions(batch) == np.argsort(-wanted).tolist()
    assert batch.scores == pytest.approx(sorted(wanted, reverse=True), abs=1e-5)


def test_it_does_not_know_a_row_again() -> None:
    """Labelled images and pool are alike: 60 and 30 a head, so P(pool) is 1/3 in the mean.

    With 200 features a head knows the rows it saw by heart, and gives each of them more.
    """
    rng = np.random.default_rng(0)
    given = rows_alone(rng.normal(size=(60, 200)), rng.normal(size=(60, 200)))
    scores = select(given, 60).scores
    assert np.mean(scores) == pytest.approx(1 / 3, abs=0.1)
    x = np.concatenate([given.labelled[:], given.bottlenecks[:30]])
    by_heart = slow_head(x, np.arange(90) >= 60).predict_proba(x[60:])[:, 1]
    assert by_heart.min() > np.mean(scores)
    assert np.mean(by_heart) > np.mean(scores) + 0.08


def test_it_learns_from_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a half of 500 a head sees 4 · 5 labels = 20 rows, and finds the others all the same."""
    sampler = plugins.load("atlas.samplers", "atl_representative")
    monkeypatch.setitem(sampler.select.__globals__, "LEAST_SAMPLE", 10)
    centres = [[1.0, 0], [0, 1]]
    given = rows_alone(groups(centres, [500, 500], 0), groups(centres[:1], [5], 1))
    assert min(positions(select(given, 100))) >= 500


@pytest.mark.parametrize(
    ("rows", "labelled", "why"),
    [(9, 0, "nothing is labelled yet"), (1, 3, "one candidate is left")],
)
def test_another_stands_in(rows: int, labelled: int, why: str) -> None:
    x = np.random.default_rng(0).normal(size=(12, 4))
    batch = select(rows_alone(x[:rows], x[9 : 9 + labelled]), 1)
    assert batch.note == f"{why}: kmeans chose"
    assert batch.reasons[0].endswith(f"(kmeans chose: {why})")
    random = select(rows_alone(x[:rows], x[9 : 9 + labelled]), 1, fallback="random")
    assert random.note == f"{why}: random chose"
