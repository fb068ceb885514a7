"""What a project tells of an image: reliable levels, and the finest class that is sure enough."""

from pathlib import Path

from rounds_support import go_round
from sqlalchemy import select

from atlas.batches import Ask
from atlas.project import Project
from atlas.registry import load_bundle
from atlas.serving import export_model, load_export, project_predictor, reliable_levels
from atlas.settings_file import load_settings, save_settings
from atlas.store.tables import Image


def with_floor(project: Project, floor: float) -> Project:
    settings = load_settings(project.directory)
    showing = settings.showing.model_copy(update={"floor": floor, "target": 0.8})
    save_settings(settings.model_copy(update={"showing": showing}), project.directory)
    return Project(project.directory)


def pictures(project: Project) -> list[str]:
    with project.database.reader() as session:
        return [project.absolute(one) for one in session.scalars(select(Image.location).limit(6))]


def test_below_the_floor_nothing_is_told(project: Project) -> None:
    strict = with_floor(project, 1.0)
    model_id = go_round(strict, Ask(20, "random"))
    assert model_id is not None
    assert reliable_levels(strict, model_id) == ()
    for record in project_predictor(strict).predict(pictures(strict)):
        assert record["shown"] == {"class": "", "level": "", "probability": 1.0}
        assert record["tasks"]["shape"]  # what the model thinks is there all the same


def test_above_it_the_finest_sure_class_is_told_also_by_an_export(
    project: Project, tmp_path: Path
) -> None:
    lenient = with_floor(project, 0.0)
    model_id = go_round(lenient, Ask(24, "random"))
    assert model_id is not None
    assert reliable_levels(lenient, model_id) == ("family", "shape")
    facts = load_bundle(lenient.models / model_id).facts
    assert set(facts["thresholds"]) == {"family", "shape"}
    predictor = project_predictor(lenient)
    records = predictor.predict(pictures(lenient))
    assert any(record["shown"]["class"] for record in records)
    for record in records:
        shown = record["shown"]
        if shown["class"]:
            assert shown["probability"] >= facts["thresholds"]["shape"]
            ranked = {one["class"]: one["probability"] for one in record["tasks"][shown["level"]]}
            assert ranked[shown["class"]] == shown["probability"]
    export_model(lenient, tmp_path / "export")
    assert load_export(tmp_path / "export").predict(pictures(lenient)) == records
