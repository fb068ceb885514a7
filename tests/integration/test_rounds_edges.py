"""Rounds at their edges: an empty pool, another backbone, another taxonomy, no truth."""

from collections.abc import Callable
from pathlib import Path

import pytest
from rounds_support import go_round, queries, round_row

from atlas import plugins, promotion
from atlas.batches import Ask
from atlas.embedding import embed_pool
from atlas.errors import (
    CacheError,
    OracleRefused,
    PluginError,
    PoolExhausted,
    SamplerError,
    TaxonomyError,
)
from atlas.oracle.simulated import SimulatedOracle
from atlas.pool import ingest
from atlas.project import Project
from atlas.rounds import (
    close_round,
    collect,
    open_round,
    push_round,
)
from atlas.settings_file import change_setting
from atlas.status import accuracy, models, rounds, status
from atlas.train import measure_current, train_model

Draw = Callable[..., Path]


def test_the_last_batch_takes_what_is_left(project: Project) -> None:
    go_round(project, Ask(n=30))
    open_round(project)
    assert len(queries(project, 2)) == 2


def test_more_than_is_left_is_an_error_with_both_numbers(project: Project) -> None:
    with pytest.raises(PoolExhausted, match="asked for 33 images, the pool has 32 left"):
        open_round(project, Ask(n=33))
    assert rounds(project) == []
    go_round(project, Ask(n=32))
    with pytest.raises(PoolExhausted, match="asked for 4 images, the pool has 0 left"):
        open_round(project)
    assert len(rounds(project)) == 1


def test_new_images_are_asked_about_after_they_are_embedded(
    project: Project, tmp_path: Path, draw_pool: Draw
) -> None:
    go_round(project, Ask(n=32))
    ingest(project, draw_pool(tmp_path / "more", per_leaf=5, seed=7), truth="folders")
    with pytest.raises(CacheError, match="have no bottleneck yet; run `atlas embed`"):
        open_round(project)
    embed_pool(project)
    assert open_round(project) == 2


def test_unknown_sampler_and_level_open_nothing(project: Project) -> None:
    with pytest.raises(PluginError, match="unknown sampler 'magic'; known: .*entropy, k_center"):
        open_round(project, Ask(sampler="magic"))
    with pytest.raises(PluginError, match="random does not take level"):
        open_round(project, Ask(sampler="random", level="shape"))
    go_round(project)
    with pytest.raises(SamplerError, match="no level 'colour' to sample by; known: family, shape"):
        open_round(project, Ask(sampler="entropy", level="colour"))
    assert len(rounds(project)) == 1


@pytest.mark.parametrize("sampler", [*plugins.available("atlas.samplers"), "margin*2 | kmeans"])
def test_each_sampler_makes_a_round(project: Project, sampler: str) -> None:
    go_round(project)
    go_round(project, Ask(sampler=sampler))
    assert [one["sampler"] for one in rounds(project)] == ["typiclust", sampler]


def test_a_model_of_another_backbone_is_not_asked(project: Project) -> None:
    """Its head would read the new vectors as nonsense: cold start, until it is trained again."""
    go_round(project)
    change_setting(project.directory, "backbone", "image_size", 48)
    changed = Project(project.directory)
    embed_pool(changed)
    open_round(changed)
    assert round_row(changed, 2).sampler == "typiclust"
    assert all(row.guess == {} for row in queries(changed, 2))


def test_a_model_of_another_taxonomy_is_not_asked(project: Project) -> None:
    """A class was added: its guesses and its uncertainty know nothing of that class."""
    go_round(project)
    path = project.directory / "taxonomy.yaml"
    path.write_text(path.read_text().replace("ring:", "egg: \n    ring:"))
    changed = Project(project.directory)
    assert "round/egg" in changed.taxonomy.leaves
    open_round(changed)
    assert round_row(changed, 2).sampler == "typiclust"
    assert all(row.guess == {} for row in queries(changed, 2))
    push_round(changed, SimulatedOracle(changed))
    collect(changed, SimulatedOracle(changed))
    assert measure_current(changed) == "m0001"
    assert close_round(changed) == "m0002"
    open_round(changed)
    assert round_row(changed, 3).sampler == "by_budget"


def test_labels_outside_an_edited_taxonomy_say_so(project: Project) -> None:
    go_round(project)
    path = project.directory / "taxonomy.yaml"
    path.write_text(path.read_text().replace("ball:", "sphere:").replace("ring:", "hoop:"))
    with pytest.raises(TaxonomyError, match="is not in the taxonomy; known: .*round/sphere"):
        train_model(Project(project.directory))


def test_late_audit_labels_are_measured_without_training(project: Project) -> None:
    oracle = SimulatedOracle(project)
    assert measure_current(project) is None
    go_round(project)
    assert accuracy(project)["shape"]["n"] == 4
    open_round(project)
    push_round(project, oracle)
    collect(project, oracle)
    assert measure_current(project) == "m0001"
    assert accuracy(project)["shape"]["n"] == 8
    change_setting(project.directory, "backbone", "image_size", 48)
    assert measure_current(Project(project.directory)) == "m0001"  # the number stands
    assert accuracy(project)["shape"]["n"] == 8


def test_training_between_rounds_counts_as_a_model(project: Project) -> None:
    go_round(project)
    assert train_model(project) == "m0002"
    listed = {one["model"]: one for one in models(project)}
    assert (listed["m0002"]["round"], listed["m0001"]["round"]) == (None, 1)
    assert listed["m0002"]["current"]
    with project.database.session() as session:
        promotion.roll_back(session)
    assert status(project)["model"] == "m0001"


def test_the_simulation_needs_truth(
    empty_project: Project, tmp_path: Path, draw_pool: Draw
) -> None:
    pool = draw_pool(tmp_path / "pool")
    ingest(empty_project, pool)
    with pytest.raises(OracleRefused, match="ingest with --truth folders"):
        SimulatedOracle(empty_project).check()


def test_some_truth_is_enough_and_the_rest_is_skipped(
    empty_project: Project, tmp_path: Path, draw_pool: Draw
) -> None:
    pool = draw_pool(tmp_path / "pool")
    ingest(empty_project, pool / "round", truth="")
    ingest(empty_project, pool, truth="folders")
    embed_pool(empty_project)
    oracle = SimulatedOracle(empty_project)
    oracle.check()
    open_round(empty_project, Ask(n=20, sampler="random"))
    push_round(empty_project, oracle)
    collect(empty_project, oracle)
    states = {row.state for row in queries(empty_project, 1)}
    assert states == {"answered", "skipped"}
    assert close_round(empty_project) == "m0001"
