"""Runs the four-week protocol over many homes; what was drawn and what was run may be kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import numpy as np

from atlas.demo.protocol import Arm, Week, run_home
from atlas.demo.protocol_homes import Embed, Events, Hardness, Role, home_of, live_in
from atlas.demo.protocol_model import Lessons, learn_lessons
from atlas.errors import SettingsError
from atlas.settings import RoundSettings, ShowingSettings

# Fixed on development homes; docs/benchmarks/water_protocol.md says how, hardness first.
HARDNESS = Hardness(1)
OTHER_HOMES = 80

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Recipe:
    """An arm's own best settings on the development homes.

    Attributes:
        rounds: the sampler.
        dimensions: of what other homes teach; 0: nothing.
        head: arguments of the head.
    """

    rounds: RoundSettings
    dimensions: int
    head: Mapping[str, float]


_DEFAULT, _RANDOM = RoundSettings(), RoundSettings(sampler="random")
RECIPES: Mapping[str, Recipe] = {
    "default, other homes": Recipe(_DEFAULT, 64, {"l2": 0.02, "trust": 1.0}),
    "random, other homes": Recipe(_RANDOM, 32, {"l2": 0.002, "trust": 1.0}),
    "default, from nothing": Recipe(_DEFAULT, 0, {"l2": 0.02}),
    "random, from nothing": Recipe(_RANDOM, 0, {"l2": 0.01}),
}


@dataclass(frozen=True)
class Library:
    """Events of homes, drawn when first asked for.

    Attributes:
        embed: (N, 64, 64, 3) uint8 → (N, D) float16.
        hardness: of every home.
        folder: where events are kept from one run to the next; None: nowhere.
    """

    embed: Embed
    hardness: Hardness = HARDNESS
    folder: Path | None = None

    def events(self, role: Role, number: int) -> Events:
        """Of one home."""
        if self.folder is None:
            return live_in(role, number, self.hardness, self.embed)
        path = self.folder / f"{role}-{number:03d}-{self.hardness.step}.npz"
        if path.exists():
            with np.load(path) as kept:
                return Events(home_of(role, number), kept["rows"], kept["valves"], kept["days"])
        found = live_in(role, number, self.hardness, self.embed)
        self.folder.mkdir(parents=True, exist_ok=True)
        waiting = path.with_suffix(".part")
        with waiting.open("wb") as file:
            np.savez(file, rows=found.rows, valves=found.valves, days=found.days)
        waiting.replace(path)
        return found

    def lessons(self, *, progress: Progress | None = None) -> dict[int, Lessons]:
        """Number of directions that a recipe asks for → what the other homes teach in so many."""
        homes = []
        for number in range(OTHER_HOMES):
            homes.append(self.events("others", number))
            if progress is not None:
                progress(number + 1, OTHER_HOMES)
        wanted = {recipe.dimensions for recipe in RECIPES.values() if recipe.dimensions}
        return {one: learn_lessons(homes, dimensions=one) for one in sorted(wanted)}


def arms(lessons: Mapping[int, Lessons], showing: ShowingSettings) -> tuple[Arm, ...]:
    """The ways that are compared: the default sampler and random, with other homes and without."""
    return tuple(
        Arm(name, one.rounds, lessons.get(one.dimensions), one.head, showing)
        for name, one in RECIPES.items()
    )


def run_protocol(
    library: Library,
    ways: Sequence[Arm],
    *,
    role: Role = "evaluation",
    homes: int = 20,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Every arm through four weeks in every home.

    With a folder in `library` a finished home is a file there and is not run again.

    Raises:
        SettingsError: the folder holds runs of another recipe.

    Returns:
        {"homes": how many, "role", "hardness": {"step", "noise", "overlap"}, "floor", "target",
        "arms": {name: [{"home", "valves", "weeks": see `run_home`}]}}.
    """
    if library.folder is not None:
        _claim(library.folder / "runs", ways)
    runs: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in ways}
    for number in range(homes):
        for arm in ways:
            runs[arm.name].append(_run(library, arm, role, number))
        if progress is not None:
            progress(number + 1, homes)
    hardness, showing = library.hardness, ways[0].showing
    return {
        "homes": homes,
        "role": role,
        "hardness": {
            "step": hardness.step,
            "noise": hardness.noise,
            "overlap": hardness.overlap,
        },
        "floor": showing.floor,
        "target": showing.target,
        "arms": runs,
    }


def _claim(folder: Path, ways: Sequence[Arm]) -> None:
    """Write down what the runs in `folder` are of; those of another recipe are not mixed in."""
    recipe = {
        arm.name: {
            "rounds": arm.rounds.model_dump(mode="json"),
            "head": dict(arm.head),
            "dimensions": None if arm.lessons is None else arm.lessons.projection.shape[1],
            "showing": arm.showing.model_dump(mode="json"),
        }
        for arm in ways
    }
    note = folder / "recipe.json"
    if note.exists() and json.loads(note.read_text(encoding="utf-8")) != recipe:
        raise SettingsError(f"{folder} holds runs of another recipe; name another, or remove it")
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(recipe), encoding="utf-8")


def _run(library: Library, arm: Arm, role: Role, number: int) -> dict[str, Any]:
    words = "".join(letter if letter.isalnum() else "-" for letter in arm.name)
    name = f"{role}-{number:03d}-{library.hardness.step}-{words}.json"
    path = None if library.folder is None else library.folder / "runs" / name
    if path is not None and path.exists():
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    events = library.events(role, number)
    weeks: list[Week] = run_home(events, arm, seed=number)
    found = {"home": number, "valves": len(events.home.valves), "weeks": weeks}
    if path is not None:
        waiting = path.with_suffix(".part")
        waiting.write_text(json.dumps(found), encoding="utf-8")
        waiting.replace(path)
    return found
