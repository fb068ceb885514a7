"""What a project folder keeps of secrets: all that were made, none that the environment has."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atlas.project import Project
from atlas.settings import Settings, StoreSettings
from atlas.settings_file import load_settings, save_settings
from atlas.taxonomy import Taxonomy


def test_many_who_ask_for_secrets_at_once_get_what_is_kept(tmp_path: Path) -> None:
    directory = Project.create(
        tmp_path / "p", Settings(), Taxonomy(("a",), ("x", "y"), {})
    ).directory
    names = [f"secret {number % 8}" for number in range(32)]  # four ask for each of eight
    with ThreadPoolExecutor(16) as threads:
        given = list(threads.map(lambda name: Project(directory).secret(name), names))
    kept = Project(directory).secrets()
    assert len(kept) == 8
    assert given == [kept[name] for name in names]
    assert (directory / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_what_the_environment_says_is_not_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATLAS_STORE__URL", "postgresql+psycopg://atlas:geheim@host/atlas")
    monkeypatch.setenv("ATLAS_SERVICE__HOST", "0.0.0.0")
    settings = Settings(name="lab", service={"tick_s": 2.0})  # type: ignore[arg-type]
    assert settings.store.url.endswith("/atlas")
    save_settings(settings, tmp_path)
    text = (tmp_path / "atlas.toml").read_text()
    assert "geheim" not in text and "[store]" not in text and "0.0.0.0" not in text
    assert load_settings(tmp_path) == settings
    monkeypatch.delenv("ATLAS_STORE__URL")
    monkeypatch.delenv("ATLAS_SERVICE__HOST")
    rest = load_settings(tmp_path)
    assert (rest.name, rest.service.tick_s) == ("lab", 2.0)
    assert rest.store == StoreSettings()
