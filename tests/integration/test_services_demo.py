"""What the demo does to folders and files; the whole of it is in tests/live."""

import json
from pathlib import Path

import pytest
from sqlalchemy import select

from atlas.errors import BackboneError, PoolError, ProjectError, ServiceError
from atlas.project import Project
from atlas.store.tables import Image
from services import demo
from services.supervisor import Supervisor


def test_a_folder_of_the_users_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ProjectError, match="was not made by `atlas demo` and is left alone"):
        demo.clear_folder(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_an_earlier_demo_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "atlas-demo"
    demo.clear_folder(folder)  # not there yet: fine
    folder.mkdir()
    demo.clear_folder(folder)  # empty: fine, and kept
    (folder / demo.MARKER).touch()
    (folder / "result.json").write_text("{}")
    demo.clear_folder(folder)
    assert not folder.exists()


def test_a_demo_that_runs_is_left_alone(project: Project) -> None:
    (project.directory / demo.MARKER).touch()
    with Supervisor(project), pytest.raises(ServiceError, match="already runs on"):
        demo.clear_folder(project.directory)
    assert (project.directory / "atlas.toml").exists()


def test_a_missing_backbone_names_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "BACKBONE", tmp_path / "backbone.json")
    with pytest.raises(BackboneError, match="atlas pretrain-demo"):
        demo.prepare_folder(tmp_path / "atlas-demo", demo.Plan())
    assert not (tmp_path / "atlas-demo").exists()


def test_an_unknown_pool_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match="unknown pool 'fire'; known: garments, water"):
        demo.prepare_folder(tmp_path / "atlas-demo", demo.Plan(pool="fire"))
    assert not (tmp_path / "atlas-demo").exists()


def test_the_annotator_knows_the_truth(project: Project) -> None:
    answer = demo.answer_of(project)
    with project.database.reader() as session:
        for image_id, truth in session.execute(select(Image.id, Image.truth)):
            assert answer({"image_id": image_id}) == truth


def test_the_plan_measures_every_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "backbone.json").write_text(json.dumps({"arch": "test_vit", "image_size": 64}))
    (tmp_path / "backbone.safetensors").touch()
    monkeypatch.setattr(demo, "BACKBONE", tmp_path / "backbone.json")
    settings = demo.Plan(audit=70, batch=10).settings(tmp_path / "manifest.jsonl")
    assert settings.audit.per_round == settings.audit.size == 70
    assert settings.round.batch_size == 10
    assert settings.backbone.name == "test_vit"
