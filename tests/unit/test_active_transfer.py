"""ATL and ATLAS: heads that learn from mistakes, against slow twins by scikit-learn."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from atlas import plugins
from atlas.errors import SamplerError
from atlas.samplers._right_wrong import Lessons, lessons
from atlas.types import UNKNOWN, Batch, Candidates

BOTH = pytest.mark.parametrize("name", ["atl_uncertainty", "atlas"])
NAMES = ("animal/cat", "animal/dog")


def pool(rows: np.ndarray, labelled: np.ndarray, wrong: np.ndarray) -> Candidates:
    """Candidates of one level; out of fold the model said dog at `wrong`, else cat; all are cats.

    Of the candidates it says cat 0.6, dog 0.4.
    """
    return Candidates(
        [f"img_{i}" for i in range(len(rows))],
        rows,
        labelled,
        {"leaf": np.tile(np.array([0.6, 0.4]), (len(rows), 1))},
        {"leaf": NAMES},
        {"leaf": np.zeros(len(labelled), dtype=np.int64)},
        {"leaf": np.where(wrong[:, np.newaxis], [0.1, 0.9], [0.9, 0.1])},
    )


def noisy(seed: int, *, rows: int = 60, labelled: int = 25, features: int = 4) -> Candidates:
    """Mistakes are likelier where the first feature is large; some right, some wrong."""
    rng = np.random.default_rng(seed)
    known = rng.normal(size=(labelled, features)).astype(np.float32)
    wrong = known[:, 0] + rng.normal(size=labelled) > 0.5
    wrong[:2] = True, False
    return pool(rng.normal(size=(rows, features)).astype(np.float32), known, wrong)


def groups(centres: list[list[float]], sizes: list[int], seed: int) -> np.ndarray:
    """`sizes[i]` rows around `centres[i]`, in turn."""
    rng = np.random.default_rng(seed)
    middle = np.repeat(np.array(centres), sizes, axis=0)
    return (middle + rng.normal(0, 0.05, middle.shape)).astype(np.float16)


def select(name: str, given: Candidates, n: int, seed: int = 0, **arguments: object) -> Batch:
    sampler = plugins.build("atlas.samplers", name, arguments)
    return sampler.select(given, n=n, rng=np.random.default_rng(seed))


def positions(batch: Batch) -> list[int]:
    return [int(image_id[4:]) for image_id in batch.ids]


@BOTH
def test_a_known_cluster_of_mistakes_comes_first(name: str) -> None:
    """The sign: 10 of 40 candidates lie where all mistakes were made."""
    centres = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]
    labelled = groups(centres, [10, 10, 10], 0)
    given = pool(groups(centres, [15, 15, 10], 1), labelled, np.arange(30) >= 20)
    batch = select(name, given, 10, **({"steps": 1} if name == "atlas" else {}))
    assert set(positions(batch)) == set(range(30, 40))
    assert batch.scores[-1] > 0.5
    least = select(name, given, 40, **({"steps": 1} if name == "atlas" else {})).scores[-1]
    assert least < 0.2


def test_one_batch_of_atlas_covers_both_kinds_of_mistakes() -> None:
    """12 mistakes at one place, 5 at another; 30 candidates at each and 40 where all is right."""
    centres = [[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]
    labelled = groups(centres, [12, 5, 20], 0)
    given = pool(groups(centres, [30, 30, 40], 1), labelled, np.arange(37) < 17)
    of = np.repeat(["large", "small", "right"], [30, 30, 40])
    assert set(of[positions(select("atl_uncertainty", given, 20))]) == {"large"}
    found = of[positions(select("atlas", given, 20))]
    assert found[0] == "large"
    assert (found == "large").sum() >= 5
    assert (found == "small").sum() >= 5
    assert (found == "right").sum() == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_one_step_of_atlas_is_atl_uncertainty(seed: int, n: int) -> None:
    one = select("atlas", noisy(seed), n, seed, steps=1)
    assert one == select("atl_uncertainty", noisy(seed), n, seed)


def slow_head(x: np.ndarray, wrong: np.ndarray) -> LogisticRegression:
    penalty = x.shape[1]
    head = LogisticRegression(C=1 / penalty, solver="newton-cholesky", tol=1e-10)
    return head.fit(x, wrong)


def slow_atlas(given: Candidates, sizes: list[int]) -> tuple[list[int], list[float]]:
    """Positions and P(wrong) when picked."""
    known, rows = given.labelled[:].astype(float), given.bottlenecks[:].astype(float)
    wrong = given.labelled_probs["leaf"].argmax(axis=1) != given.labelled_classes["leaf"]
    reference = np.concatenate([known, rows])
    known, rows = ((one - reference.mean(axis=0)) / reference.std(axis=0) for one in (known, rows))
    chosen: list[int] = []
    chances: list[float] = []
    for size in sizes:
        chance = slow_head(known, wrong).predict_proba(rows)[:, 1]
        left = [i for i in np.argsort(-chance).tolist() if i not in chosen]
        chosen += left[:size]
        chances += [float(chance[i]) for i in left[:size]]
        known = np.concatenate([known, rows[left[:size]]])
        wrong = np.append(wrong, np.zeros(size, dtype=bool))
    return chosen, chances


@pytest.mark.parametrize("features", [3, 40])
@pytest.mark.parametrize(
    ("n", "steps", "sizes"),
    [
        (10, 1, [10]),
        (12, 4, [3, 3, 3, 3]),
        (10, 3, [4, 3, 3]),  # 10 = 4 + 3 + 3
        (2, 10, [1, 1]),  # fewer images than steps
        (60, 7, [9, 9, 9, 9, 8, 8, 8]),  # the whole pool
    ],
)
def test_atlas_is_its_slow_twin(features: int, n: int, steps: int, sizes: list[int]) -> None:
    given = noisy(3, features=features)
    batch = select("atlas", given, n, steps=steps)
    chosen, chances = slow_atlas(given, sizes)
    assert positions(batch) == chosen
    least_so_far = [min(chances[: i + 1]) for i in range(n)]
    assert batch.scores == pytest.approx(least_so_far, abs=1e-5)
    told = [f"{'probably' if p >= 0.5 else 'perhaps'} wrong ({p:.2f}), like" for p in chances]
    for reason, start in zip(batch.reasons, told, strict=True):
        assert reason.startswith(start)


def test_the_reason_tells_the_chance_and_the_guess() -> None:
    (reason,) = select("atl_uncertainty", noisy(1), 1).reasons
    assert reason.startswith("probably wrong (0.")
    assert reason.endswith("), like earlier mistakes: between cat and dog 0.60/0.40")
    reason = select("atl_uncertainty", noisy(1), 60).reasons[-1]
    assert reason.startswith("perhaps wrong (0.")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(2, 50))
def test_what_is_taken_to_be_right_is_not_thought_wrong_more(
    seed: int, pick: int, features: int
) -> None:
    given = noisy(seed, features=features)
    learned = lessons(given, "leaf")
    assert isinstance(learned, Lessons)
    row = given.bottlenecks[pick : pick + 1]
    before = learned.train()
    after = learned.and_right(row).train(start=before)
    assert learned.chance_wrong(row, after)[0] <= learned.chance_wrong(row, before)[0] + 1e-6


@BOTH
def test_what_was_not_judged_teaches_nothing(name: str) -> None:
    """A label that waits or stops above the level, and a row without an out-of-fold prediction."""
    given = noisy(0)
    far = np.full((2, 4), 1e3, dtype=np.float32)
    more = replace(
        given,
        labelled=np.concatenate([far[:1], given.labelled, far[1:]]),
        labelled_classes={"leaf": np.concatenate([[UNKNOWN], given.labelled_classes["leaf"], [0]])},
        labelled_probs={
            "leaf": np.concatenate([[[0.5, 0.5]], given.labelled_probs["leaf"], [[np.nan, np.nan]]])
        },
    )
    assert select(name, more, 10) == select(name, given, 10)


def test_each_level_has_its_own_mistakes() -> None:
    """Leaves: 0, 1 are of kind 0 and 2, 3 of kind 1. Taking 1 for 0 is a mistake of leaves only."""
    leaf_probs = np.eye(4)[[0, 0, 3, 0, 3, 3]]  # wrong at the second; the sixth at both levels
    truth = np.array([0, 1, 3, 0, 3, 0])
    rows = np.arange(12.0).reshape(6, 2)
    given = Candidates(
        ["img_0"],
        rows[:1],
        rows,
        {"kind": np.array([[0.5, 0.5]]), "leaf": np.full((1, 4), 0.25)},
        {"kind": ("a", "b"), "leaf": ("a/c", "a/d", "b/e", "b/f")},
        {"kind": truth // 2, "leaf": truth},
        {"kind": leaf_probs.reshape(6, 2, 2).sum(axis=2), "leaf": leaf_probs},
    )
    wrong = {}
    for level in ("kind", "leaf"):
        learned = lessons(given, level)
        assert isinstance(learned, Lessons)
        wrong[level] = np.flatnonzero(learned.wrong).tolist()
    assert wrong == {"kind": [5], "leaf": [1, 5]}


def without_folds(given: Candidates) -> Candidates:
    return replace(given, labelled_probs={})


def all_nan(given: Candidates) -> Candidates:
    return replace(given, labelled_probs={"leaf": np.full((25, 2), np.nan)})


def never_wrong(given: Candidates) -> Candidates:
    guess = given.labelled_probs["leaf"].argmax(axis=1)
    return replace(given, labelled_classes={"leaf": guess})


def never_right(given: Candidates) -> Candidates:
    guess = given.labelled_probs["leaf"].argmax(axis=1)
    return replace(given, labelled_classes={"leaf": 1 - guess})


def all_waiting(given: Candidates) -> Candidates:
    return replace(given, labelled_classes={"leaf": np.full(25, UNKNOWN)})


@BOTH
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (without_folds, "no out-of-fold predictions yet"),
        (all_nan, "no out-of-fold predictions yet"),
        (all_waiting, "no mistakes to learn from"),
        (never_wrong, "no mistakes to learn from"),
        (never_right, "no right predictions to tell mistakes from"),
    ],
)
def test_another_stands_in_and_says_why(name: str, change: object, why: str) -> None:
    given = change(noisy(0))  # type: ignore[operator]
    batch = select(name, given, 5)
    margin = select("margin", given, 5)
    assert (batch.ids, batch.scores) == (margin.ids, margin.scores)
    assert batch.note == f"{why}: margin chose"
    assert batch.reasons == tuple(f"{one} (margin chose: {why})" for one in margin.reasons)
    assert select(name, given, 5, fallback="entropy").note == f"{why}: entropy chose"


@BOTH
def test_what_it_learned_itself_needs_no_note(name: str) -> None:
    assert select(name, noisy(0), 5).note == ""


@BOTH
def test_a_damaged_bottleneck_stops(name: str) -> None:
    """Of 9,000 every second or third is in the reference sample: 6 is, 7 is not."""
    for damaged, message in ((7, "1 of 9000 .* is that of img_7\\)"), (6, "to learn from is not")):
        given = noisy(0, rows=9000)
        given.bottlenecks[:][damaged] = np.nan
        with pytest.raises(SamplerError, match=message):
            select(name, given, 5)


@pytest.mark.parametrize("steps", [0, -3])
def test_atlas_takes_a_step_at_least(steps: int) -> None:
    with pytest.raises(SamplerError, match=f"steps is {steps}; give 1 or more"):
        select("atlas", noisy(0), 5, steps=steps)


def test_a_large_pool_is_scored_as_a_small_one() -> None:
    """More rows than the reference sample and than a slice; the answer does not hang on a seed."""
    given = noisy(0, rows=9000)
    first, second = (select("atl_uncertainty", given, 50, seed) for seed in (0, 1))
    assert first == second
    learned = lessons(given, "leaf")
    assert isinstance(learned, Lessons)
    head = slow_head(learned.rows, learned.wrong)
    chance = head.predict_proba(learned.scale(given.bottlenecks[:]))[:, 1]
    assert positions(first) == np.argsort(-chance)[:50].tolist()
