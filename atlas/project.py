"""A project folder: its settings, taxonomy, database and where each file lives."""

import fcntl
from functools import cached_property
import json
import os
from pathlib import Path
import secrets
from typing import Any

from atlas.errors import ProjectError
from atlas.settings import Settings
from atlas.settings_file import SETTINGS_FILE, load_settings, save_settings
from atlas.store.database import Database
from atlas.taxonomy import Taxonomy
from atlas.taxonomy_file import load_taxonomy, save_taxonomy

TAXONOMY_FILE = "taxonomy.yaml"


class Project:
    """An existing project folder. Nothing is opened before it is used.

    Raises:
        SettingsError: no project there, or its settings are wrong.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.settings: Settings = load_settings(self.directory)

    @classmethod
    def create(cls, directory: Path, settings: Settings, taxonomy: Taxonomy) -> "Project":
        """Make the folder with its settings, taxonomy and empty database.

        Raises:
            ProjectError: there is a project already, or a file of that name.
            SettingsError: the database cannot be opened; nothing is in the way of another try.
        """
        if directory.is_file():
            raise ProjectError(f"{directory} is a file; choose another folder")
        if (directory / SETTINGS_FILE).exists():
            raise ProjectError(
                f"{directory} already holds a project; choose another folder, "
                "or add images to this one with `atlas ingest`"
            )
        directory.mkdir(parents=True, exist_ok=True)
        Database(_url(settings, directory.resolve())).engine.dispose()
        save_taxonomy(taxonomy, directory / TAXONOMY_FILE)
        save_settings(settings, directory)  # last: this file makes the folder a project
        return cls(directory)

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """Levels, classes and attributes."""
        return load_taxonomy(self.directory / TAXONOMY_FILE)

    @cached_property
    def database(self) -> Database:
        """The project's rows."""
        return Database(_url(self.settings, self.directory))

    @property
    def bottlenecks(self) -> Path:
        """The bottleneck cache."""
        return self.directory / "bottlenecks"

    @property
    def models(self) -> Path:
        """The registered bundles."""
        return self.directory / "models"

    @property
    def run(self) -> Path:
        """Logs, broker and state of running parts."""
        path = self.directory / "run"
        path.mkdir(exist_ok=True)
        return path

    @property
    def label_studio(self) -> Path:
        """The data of the Label Studio that `atlas up` starts, and the pictures it may show."""
        return self.directory / "label-studio"

    @property
    def secrets_file(self) -> Path:
        """Passwords and tokens, readable by the owner alone."""
        return self.directory / "secrets.json"

    def secret(self, name: str) -> str:
        """The secret of that name, made at random when first asked for."""
        known = self.secrets()
        if name in known:
            return str(known[name])
        with (self.directory / "secrets.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two processes at once would lose a secret
            known = self.secrets()
            if name not in known:
                known[name] = secrets.token_hex(20)
                write_private(self.secrets_file, json.dumps(known, indent=2))
        return str(known[name])

    def secrets(self) -> dict[str, Any]:
        """Every secret so far."""
        if not self.secrets_file.exists():
            return {}
        return dict(json.loads(self.secrets_file.read_text(encoding="utf-8")))

    def absolute(self, location: str) -> str:
        """A stored location with its folder: what lies inside the project is stored relative."""
        if "://" in location or os.path.isabs(location):
            return location
        return str(self.directory / location)


def _url(settings: Settings, directory: Path) -> str:
    return settings.store.url or f"sqlite:///{directory / 'atlas.db'}"


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read (0600), all of it or nothing."""
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)
