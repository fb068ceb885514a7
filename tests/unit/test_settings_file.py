"""atlas.toml after a change: all of it or none of it."""

from pathlib import Path

import pytest

from atlas.errors import SettingsError
from atlas.settings_file import SETTINGS_FILE, change_settings, load_settings

TEXT = '# ours\n[head]\nname = "tree"  # fast\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / SETTINGS_FILE).write_text(TEXT, encoding="utf-8")
    return tmp_path


def test_several_keys_change_and_the_rest_stays_as_a_person_wrote_it(folder: Path) -> None:
    change_settings(folder, "head", {"name": "cascade", "balancer": "uncertainty"})
    text = (folder / SETTINGS_FILE).read_text(encoding="utf-8")
    assert text == '# ours\n[head]\nname = "cascade"  # fast\nbalancer = "uncertainty"\n'
    head = load_settings(folder).head
    assert (head.name, head.balancer) == ("cascade", "uncertainty")


def test_one_bad_value_changes_nothing(folder: Path) -> None:
    with pytest.raises(SettingsError, match=r"head\.folds"):
        change_settings(folder, "head", {"name": "cascade", "folds": "many"})
    assert (folder / SETTINGS_FILE).read_text(encoding="utf-8") == TEXT


def test_a_kill_while_it_is_written_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            change_settings(folder, "head", {"name": "cascade"})
    assert (folder / SETTINGS_FILE).read_text(encoding="utf-8") == TEXT
    assert [one.name for one in folder.iterdir()] == [SETTINGS_FILE]


def test_it_stays_as_closed_as_it_was_and_where_a_link_leads(folder: Path, tmp_path: Path) -> None:
    (folder / SETTINGS_FILE).chmod(0o600)
    other = tmp_path / "other"
    other.mkdir()
    (other / SETTINGS_FILE).symlink_to(folder / SETTINGS_FILE)
    change_settings(other, "head", {"name": "cascade"})
    assert (other / SETTINGS_FILE).is_symlink()
    assert (folder / SETTINGS_FILE).stat().st_mode & 0o777 == 0o600
    assert load_settings(folder).head.name == "cascade"
