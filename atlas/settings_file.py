"""`atlas.toml`, the file of a project's settings: read, written, changed in one key."""

from collections.abc import Mapping
from pathlib import Path
import shutil
from typing import Any

from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource, TomlConfigSettingsSource
import tomlkit

from atlas.errors import SettingsError
from atlas.settings import Settings

SETTINGS_FILE = "atlas.toml"


def load_settings(directory: Path) -> Settings:
    """Read `directory`/atlas.toml and the environment.

    Raises:
        SettingsError: no file, malformed TOML, an unknown key or a value out of range.
    """
    path = directory / SETTINGS_FILE
    if not path.is_file():
        raise SettingsError(f"no {SETTINGS_FILE} in {directory}; make a project with `atlas init`")
    try:
        values = TomlConfigSettingsSource(Settings, path)()
    except ValueError as error:  # tomllib's decode error is one
        raise SettingsError(f"{path} is not TOML: {error}") from error
    return _validate(values, path)


def _validate(values: dict[str, Any], path: Path) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SettingsError(
            f"{path}: {key}: {first['msg']} (got {first['input']!r}); mend the file "
            "or the ATLAS_ environment variable of that name"
        ) from error
    except ValueError as error:  # a table in an environment variable that is not JSON
        raise SettingsError(f"{error}; mend the ATLAS_ environment variable") from error


def save_settings(settings: Settings, directory: Path) -> None:
    """Write what differs from the defaults to `directory`/atlas.toml.

    What the environment says stays there: it wins anyway, and may be a password.
    """
    document = tomlkit.document()
    document.add(tomlkit.comment("Atlas project. Every key: docs/settings.md"))
    values = settings.model_dump(mode="json", exclude_defaults=True)
    for key, value in _without(values, EnvSettingsSource(Settings)()).items():
        document.add(key, tomlkit.item(value))
    _replace(directory / SETTINGS_FILE, tomlkit.dumps(document))


def _without(values: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    """`values` without the keys of `said`, however deep, and without tables left empty."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(said.get(key), dict):
            kept |= {key: rest} if (rest := _without(value, said[key])) else {}
        elif key not in said:
            kept[key] = value
    return kept


def change_setting(directory: Path, section: str, key: str, value: object) -> None:
    """Set one key of atlas.toml; see `change_settings`."""
    change_settings(directory, section, {key: value})


def change_settings(directory: Path, section: str, values: Mapping[str, object]) -> None:
    """Set keys of a section of atlas.toml, keeping the rest of the file as a person wrote it.

    All of them or, should the machine be lost meanwhile, none.

    Raises:
        SettingsError: no file, not TOML, or not a setting; the file stays as it was.
    """
    load_settings(directory)
    path = directory / SETTINGS_FILE
    document = tomlkit.parse(path.read_text(encoding="utf-8"))
    table = document.setdefault(section, tomlkit.table())
    for key, value in values.items():
        table[key] = value
    _validate(document.unwrap(), path)
    _replace(path, tomlkit.dumps(document))


def _replace(path: Path, text: str) -> None:
    """The file is the old one or the new one, whenever the machine is lost."""
    path = path.resolve()  # of a link its target changes
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.touch()
        if path.exists():
            shutil.copymode(path, temporary)  # before: there may be a token in it
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
