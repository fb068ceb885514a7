"""Compares samplers with an oracle that knows the truth: the live loop's own rounds, no people.

Images are read and embedded once and the audit set is labelled once; every run (sampler × seed)
starts from a copy of that project. A finished run is a file, so a stopped simulation resumes.
"""

from collections.abc import Callable
from dataclasses import dataclass
import json
from pathlib import Path
import shutil
from typing import Any

from sqlalchemy import insert, select

from atlas import plugins, rounds
from atlas.choosing import Ask, query_row
from atlas.curves import draw_curves, markdown_table
from atlas.embedding import embed_pool
from atlas.errors import PoolExhausted, SettingsError
from atlas.images import find_images
from atlas.oracle.simulated import SimulatedOracle
from atlas.pool import ingest
from atlas.project import TAXONOMY_FILE, Project
from atlas.round_state import count_labels
from atlas.settings import AuditSettings, BackboneSettings, RoundSettings, Settings, save_settings
from atlas.setup import Source, make_project
from atlas.status import accuracy
from atlas.store.tables import Image, QueryRow, Round

HELD_OUT = 0.2
DEFAULT = "default"
Progress = Callable[[int, int], None]
Point = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What to simulate.

    Attributes:
        source: images with truth.
        backbone: which network.
        samplers: plugin names, or "default".
        start: random labels before the sampler's first batch; 0 leaves that to the cold start.
        batch: labels a round.
        budget: labels in all.
        seeds: repetitions; seed s is the same start for every sampler.
        test: images to measure on; None: a uniform fifth of `source`.
    """

    source: Source
    backbone: BackboneSettings
    samplers: tuple[str, ...]
    start: int
    batch: int
    budget: int
    seeds: int
    test: Path | None = None


def run_simulation(
    plan: Plan, out: Path, *, progress: Progress | None = None
) -> tuple[dict[str, Any], str]:
    """Run every sampler with every seed; write curves.json, curves.png and table.md to `out`.

    Returns:
        The curves and the table. Curves: {"levels": coarse to fine, "samplers": {name: [{"seed",
        "points": [{"labels", "accuracy": {level: [0, 1]}}]}]}}.

    Raises:
        PluginError: unknown sampler.
        SettingsError: the budget is smaller than the start, or `out` holds another simulation.
        AtlasError: from the images or the backbone.
    """
    for name in plan.samplers:
        plugins.load("atlas.samplers", _plugin(name))
    if plan.budget < max(plan.start, 1):
        raise SettingsError(f"--budget {plan.budget} is below --start {plan.start}")
    _claim(plan, out)
    template = _template(plan, out / "project")
    total = plan.seeds * len(plan.samplers)
    curves: dict[str, list[dict[str, Any]]] = {name: [] for name in plan.samplers}
    done = 0
    for seed in range(plan.seeds):
        for name in plan.samplers:
            points = _run(plan, template, name, seed)
            curves[name].append({"seed": seed, "points": points})
            done += 1
            if progress is not None:
                progress(done, total)
    content = {"levels": list(template.taxonomy.levels), "samplers": curves}
    markdown = markdown_table(content)
    (out / "curves.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    (out / "curves.png").write_bytes(draw_curves(content))
    (out / "table.md").write_text(markdown + "\n", encoding="utf-8")
    return content, markdown


def _plugin(name: str) -> str:
    return RoundSettings().sampler if name == DEFAULT else name


def _claim(plan: Plan, out: Path) -> None:
    """Write down what `out` is for; a folder of another plan is not overwritten."""
    facts = json.dumps(
        {
            "images": str(plan.source.images.resolve()),
            "truth": plan.source.truth,
            "test": str(plan.test) if plan.test else None,
            "backbone": plan.backbone.model_dump(mode="json"),
            "start": plan.start,
            "batch": plan.batch,
            "budget": plan.budget,
        },
        indent=1,
    )
    note = out / "plan.json"
    if note.exists() and note.read_text(encoding="utf-8") != facts:
        raise SettingsError(
            f"{out} holds a simulation with other images, backbone, start, batch or budget; "
            "name another --out, or remove it"
        )
    out.mkdir(parents=True, exist_ok=True)
    note.write_text(facts, encoding="utf-8")


def _template(plan: Plan, directory: Path) -> Project:
    """The project every run starts from: embedded, its audit set answered."""
    ready = directory / "ready"
    if not ready.exists():
        shutil.rmtree(directory, ignore_errors=True)
        found = len(find_images(plan.source.images))
        size = 0 if plan.test is not None else round(HELD_OUT * found)
        settings = Settings(
            name="simulation", backbone=plan.backbone, audit=AuditSettings(size=size, per_round=0)
        )
        project, _ = make_project(directory, settings, plan.source)
        if plan.test is not None:
            ingest(project, plan.test, truth=plan.source.truth, split="audit")
        _answer_audit(project)
        project.database.engine.dispose()
        ready.touch()
    project = Project(directory)
    embed_pool(project)
    project.database.engine.dispose()  # its file is about to be copied
    return project


def _answer_audit(project: Project) -> None:
    """Label the whole audit set in a round of its own, before any sampler runs."""
    oracle = SimulatedOracle(project)
    oracle.check()
    with project.database.session() as session:
        audit = session.scalars(select(Image.id).where(Image.split == "audit")).all()
        session.add(Round(number=0, state="open", sampler="audit", steps=[]))
        session.flush()
        session.execute(insert(QueryRow), [query_row(0, "audit", one) for one in audit])
    rounds.push_round(project, oracle)
    rounds.collect(project, oracle, received_by="simulated")
    with project.database.session() as session:
        session.get_one(Round, 0).state = "closed"


def _run(plan: Plan, template: Project, name: str, seed: int) -> list[Point]:
    """One sampler with one seed, from the file of an earlier try if it was finished."""
    directory = template.directory.parent / "runs" / f"{name}-{seed}"
    finished = directory.with_suffix(".json")
    if finished.exists():
        done: list[Point] = json.loads(finished.read_text(encoding="utf-8"))
        return done
    project = _copy(plan, template, directory, name, seed)
    points = _label(plan, project)
    project.database.engine.dispose()
    temporary = finished.with_suffix(".tmp")
    temporary.write_text(json.dumps(points), encoding="utf-8")
    temporary.replace(finished)
    shutil.rmtree(directory)
    return points


def _copy(plan: Plan, template: Project, directory: Path, name: str, seed: int) -> Project:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for file in ("atlas.db", TAXONOMY_FILE):
        shutil.copy(template.directory / file, directory / file)
    (directory / "bottlenecks").symlink_to(template.bottlenecks, target_is_directory=True)
    chosen = RoundSettings(batch_size=plan.batch, sampler=_plugin(name))
    settings = template.settings.model_copy(update={"seed": seed, "round": chosen})
    save_settings(settings, directory)
    return Project(directory)


def _label(plan: Plan, project: Project) -> list[Point]:
    """Rounds until the budget is spent or the pool is empty."""
    oracle = SimulatedOracle(project)
    points: list[Point] = []
    labels = 0
    while labels < plan.budget:
        first = plan.start and not points
        ask = Ask(plan.start, "random") if first else Ask(min(plan.batch, plan.budget - labels))
        try:
            rounds.open_round(project, ask)
        except PoolExhausted:
            break
        rounds.push_round(project, oracle)
        rounds.collect(project, oracle, received_by="simulated")
        model_id = rounds.close_round(project)
        with project.database.reader() as session:
            labels = count_labels(session)
        measured = accuracy(project, model_id)
        points.append(
            {
                "labels": labels,
                "accuracy": {task: one["accuracy"] for task, one in measured.items()},
            }
        )
    return points
