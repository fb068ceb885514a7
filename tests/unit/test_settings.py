"""atlas.toml and the environment: defaults, mistakes, precedence, and changes by hand."""

from pathlib import Path

import pytest

from atlas.errors import SettingsError
from atlas.settings import Settings
from atlas.settings_file import SETTINGS_FILE, change_setting, load_settings, save_settings

BY_HAND = """\
# written by a person
name = "valves"  # of home 7

[round]
batch_size = 10   # small rounds
"""


def write(folder: Path, text: str) -> Path:
    (folder / SETTINGS_FILE).write_text(text, encoding="utf-8")
    return folder


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    assert load_settings(write(tmp_path, "")) == Settings()


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "name": "é",
            "seed": 7,
            "round": {"sampler": "entropy", "sampler_args": {"level": "kind"}},
            "head": {"args": {"l2": 0.5}},
        }
    )
    save_settings(settings, tmp_path)
    assert load_settings(tmp_path) == settings
    text = (tmp_path / SETTINGS_FILE).read_text(encoding="utf-8")
    assert "batch_size" not in text  # defaults are not frozen into the file


def test_no_project_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no atlas.toml in .*make a project with `atlas init`"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nam = 'x'", "nam: Extra inputs are not permitted"),
        ("[round]\nbatchsize = 3", "round.batchsize: Extra inputs"),
        ("[round]\nbatch_size = 0", r"round.batch_size: .*greater than or equal to 1 \(got 0\)"),
        ("[round]\nbatch_size = 'many'", r"round.batch_size: .*\(got 'many'\)"),
        ("[pool]\ntruth = 'nose'", "pool.truth: "),
        ("[backbone]\ninterpolation = 'magic'", "backbone.interpolation: "),
        ("[head]\nfolds = 1", "head.folds: "),
        ("seed = -1", "seed: "),
        ("round = 3", "round: "),
        ("[round", "is not TOML"),
    ],
)
def test_mistakes_name_the_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings(write(tmp_path, text))


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / SETTINGS_FILE).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match="is not TOML"):
        load_settings(tmp_path)


def test_the_environment_wins_and_leaves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "[round]\nbatch_size = 10\nsampler = 'entropy'")
    monkeypatch.setenv("ATLAS_ROUND__BATCH_SIZE", "50")
    monkeypatch.setenv("ATLAS_SEED", "3")
    found = load_settings(tmp_path)
    assert (found.round.batch_size, found.round.sampler, found.seed) == (50, "entropy", 3)


def test_mistakes_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "")
    monkeypatch.setenv("ATLAS_ROUND__BATCH_SIZE", "few")
    with pytest.raises(SettingsError, match=r"round.batch_size: .*ATLAS_ environment variable"):
        load_settings(tmp_path)
    monkeypatch.delenv("ATLAS_ROUND__BATCH_SIZE")
    monkeypatch.setenv("ATLAS_ROUND__BATCHSIZE", "3")
    with pytest.raises(SettingsError, match="round.batchsize: Extra inputs"):
        load_settings(tmp_path)


def test_a_table_in_the_environment_is_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "")
    monkeypatch.setenv("ATLAS_HEAD", '{"folds": 3}')
    assert load_settings(tmp_path).head.folds == 3
    monkeypatch.setenv("ATLAS_HEAD", "three folds")
    with pytest.raises(SettingsError, match="head.*mend the ATLAS_ environment variable"):
        load_settings(tmp_path)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().seed = 3


def test_a_change_keeps_what_a_person_wrote(tmp_path: Path) -> None:
    write(tmp_path, BY_HAND)
    change_setting(tmp_path, "round", "batch_size", 12)
    change_setting(tmp_path, "round", "sampler", "random")
    change_setting(tmp_path, "service", "auto_rounds", False)
    text = (tmp_path / SETTINGS_FILE).read_text(encoding="utf-8")
    assert text.startswith("# written by a person\n")
    assert "# of home 7" in text
    assert "batch_size = 12   # small rounds" in text
    found = load_settings(tmp_path)
    assert (found.round.sampler, found.service.auto_rounds) == ("random", False)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [("round", "batch_size", 0), ("round", "bach_size", 5), ("rounds", "batch_size", 5)],
)
def test_a_change_for_the_worse_changes_nothing(
    tmp_path: Path, section: str, key: str, value: object
) -> None:
    write(tmp_path, BY_HAND)
    with pytest.raises(SettingsError):
        change_setting(tmp_path, section, key, value)
    assert (tmp_path / SETTINGS_FILE).read_text(encoding="utf-8") == BY_HAND


def test_a_change_of_a_broken_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is not TOML"):
        change_setting(write(tmp_path, "[round"), "round", "batch_size", 3)
    with pytest.raises(SettingsError, match="no atlas.toml in"):
        change_setting(tmp_path / "none", "round", "batch_size", 3)
