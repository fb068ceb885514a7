"""What the tests of schedules share."""

from pathlib import Path

from atlas.project import Project
from atlas.settings import Settings
from atlas.taxonomy import Taxonomy

LEAVES = ("round/ball", "round/ring", "angular/box", "angular/cross")


def bare_project(folder: Path) -> Project:
    """A project without images, whose backbone nobody loads."""
    return Project.create(
        folder,
        Settings.model_validate({"audit": {"min_labels": 10}}),
        Taxonomy(("family", "shape"), LEAVES, {}),
    )
