"""A project folder: made once, found again, its secrets its own."""

from pathlib import Path
import stat

import pytest

from atlas.errors import ProjectError, SettingsError
from atlas.project import Project, write_private
from atlas.settings import Settings
from atlas.taxonomy import Taxonomy


def test_what_is_made_is_found(tmp_path: Path, taxonomy: Taxonomy) -> None:
    settings = Settings.model_validate({"name": "mine", "seed": 3})
    Project.create(tmp_path / "a/b", settings, taxonomy)
    found = Project(tmp_path / "a/b")
    assert (found.settings, found.taxonomy) == (settings, taxonomy)


def test_a_folder_holds_one_project(empty_project: Project, taxonomy: Taxonomy) -> None:
    before = (empty_project.directory / "atlas.toml").read_bytes()
    with pytest.raises(ProjectError, match="already holds a project"):
        Project.create(empty_project.directory, Settings(seed=9), taxonomy)
    assert (empty_project.directory / "atlas.toml").read_bytes() == before


def test_a_file_in_the_way(tmp_path: Path, taxonomy: Taxonomy) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ProjectError, match="is a file; choose another folder"):
        Project.create(tmp_path / "file", Settings(), taxonomy)


def test_no_project(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="atlas init"):
        Project(tmp_path)


def test_secrets_are_made_once_and_private(empty_project: Project) -> None:
    first = empty_project.secret("webhook_secret")
    assert len(first) == 40
    assert int(first, 16)
    assert Project(empty_project.directory).secret("webhook_secret") == first
    assert empty_project.secret("other") != first
    assert stat.S_IMODE(empty_project.secrets_file.stat().st_mode) == 0o600


def test_write_private_replaces_a_leftover(tmp_path: Path) -> None:
    (tmp_path / "x.tmp").write_text("half")
    (tmp_path / "x.json").write_text("old")
    write_private(tmp_path / "x.json", "new")
    assert (tmp_path / "x.json").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "x.json").stat().st_mode) == 0o600
    assert not (tmp_path / "x.tmp").exists()


def test_locations(empty_project: Project) -> None:
    assert empty_project.absolute("pool/1.png") == str(empty_project.directory / "pool/1.png")
    assert empty_project.absolute("/data/1.png") == "/data/1.png"
    assert empty_project.absolute("https://host/1.png") == "https://host/1.png"
    assert empty_project.absolute("a.zip!/in/1.png") == f"{empty_project.directory}/a.zip!/in/1.png"
