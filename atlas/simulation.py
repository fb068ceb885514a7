"""Compares samplers with an oracle that knows the truth: the live loop's own rounds, no people.

Images are read and embedded once; every run (sampler × seed) replays the same rounds in memory, as
many at a time as there are cores. A finished run is a file, so a stopped simulation resumes.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
import json
from multiprocessing import get_context
import os
from pathlib import Path
import re
import shutil
from typing import Any

import torch

from atlas.comparison import markdown_table
from atlas.curves import draw_curves
from atlas.embedding import embed_pool
from atlas.errors import SettingsError
from atlas.images import find_images
from atlas.pool import ingest
from atlas.project import Project
from atlas.replay import Point, Replay, load_replay, replay
from atlas.samplers._composition import build_sampler
from atlas.settings import AuditSettings, BackboneSettings, RoundSettings, Settings
from atlas.setup import Source, make_project

HELD_OUT = 0.2
DEFAULT = "default"
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# glibc gives large arrays back to the system and asks for them again: a third of a replay's time
KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "2000000000", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Plan:
    """What to simulate.

    Attributes:
        source: images with truth.
        backbone: which network.
        samplers: specs such as "margin", "margin*10 | kmeans", "entropy@finest" (a level after
            the @), or "default".
        start: random labels before the sampler's first batch; 0 leaves that to the cold start.
        schedule: how many labels there are after each round, rising.
        seeds: repetitions; seed s is the same start for every sampler.
        test: images to measure on; None: a uniform fifth of `source`.
        workers: runs at a time; 0: one a core.
    """

    source: Source
    backbone: BackboneSettings
    samplers: tuple[str, ...]
    start: int
    schedule: tuple[int, ...]
    seeds: int
    test: Path | None = None
    workers: int = 0


@dataclass(frozen=True)
class _Run:
    """One sampler with one seed, and the file its points go to."""

    sampler: str
    seed: int
    file: Path


def every(batch: int, budget: int, *, start: int = 0) -> tuple[int, ...]:
    """The schedule of equal batches after `start` labels; the last one may be smaller."""
    return (*range(start + batch, budget, batch), budget)


def run_simulation(
    plan: Plan, out: Path, *, progress: Progress | None = None
) -> tuple[dict[str, Any], str]:
    """Run every sampler with every seed; write curves.json, curves.png and table.md to `out`.

    Returns:
        The curves and the table. Curves: {"levels": coarse to fine, "samplers": {name: [{"seed",
        "points": [{"labels", "accuracy": {task: [0, 1]}, "sampler"}]}]}}.

    Raises:
        PluginError, SamplerError: unknown sampler.
        SettingsError: the budget is smaller than the start, or `out` holds another simulation.
        AtlasError: from the images or the backbone.
    """
    for name in plan.samplers:
        chosen = round_settings(name)
        build_sampler(chosen.sampler, chosen.sampler_args)
    if plan.schedule[-1] < max(plan.start, 1):
        raise SettingsError(f"--budget {plan.schedule[-1]} is below --start {plan.start}")
    _claim(plan, out)
    project = _template(plan, out / "project")
    runs = _run_all(plan, project, progress)
    curves: dict[str, list[dict[str, Any]]] = {name: [] for name in plan.samplers}
    for run in runs:
        points = json.loads(run.file.read_text(encoding="utf-8"))
        curves[run.sampler].append({"seed": run.seed, "points": points})
    content = {"levels": list(project.taxonomy.levels), "samplers": curves}
    markdown = markdown_table(content)
    (out / "curves.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    (out / "curves.png").write_bytes(draw_curves(content))
    (out / "table.md").write_text(markdown + "\n", encoding="utf-8")
    return content, markdown


def round_settings(name: str) -> RoundSettings:
    """What a sampler's name in a plan stands for."""
    if name == DEFAULT:
        return RoundSettings()
    sampler, _, level = name.partition("@")
    arguments = {"level": level.strip()} if level else {}
    return RoundSettings(sampler=sampler.strip(), sampler_args=arguments)


def _claim(plan: Plan, out: Path) -> None:
    """Write down what `out` is for; a folder of another plan is not overwritten."""
    facts = json.dumps(
        {
            "images": str(plan.source.images.resolve()),
            "truth": plan.source.truth,
            "test": str(plan.test) if plan.test else None,
            "backbone": plan.backbone.model_dump(mode="json"),
            "start": plan.start,
            "schedule": plan.schedule,
        }
    )
    note = out / "plan.json"
    if note.exists() and note.read_text(encoding="utf-8") != facts:
        raise SettingsError(
            f"{out} holds a simulation with other images, backbone, start or batches; "
            "name another --out, or remove it"
        )
    out.mkdir(parents=True, exist_ok=True)
    note.write_text(facts, encoding="utf-8")


def _template(plan: Plan, directory: Path) -> Project:
    """The project every run reads: its images ingested and embedded."""
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
        project.database.engine.dispose()
        ready.touch()
    project = Project(directory)
    embed_pool(project)
    return project


def _run_all(plan: Plan, project: Project, progress: Progress | None) -> list[_Run]:
    """Do every run that has no file yet; returns all of them."""
    folder = project.directory.parent / "runs"
    folder.mkdir(exist_ok=True)
    runs = [
        _Run(name, seed, folder / f"{re.sub(r'[^a-z0-9_]+', '-', name.lower())}-{seed}.json")
        for seed in range(plan.seeds)
        for name in plan.samplers
    ]
    waiting = [run for run in runs if not run.file.exists()]
    done = len(runs) - len(waiting)
    for _ in _finished(plan, project.directory, waiting):
        done += 1
        if progress is not None:
            progress(done, len(runs))
    return runs


def _finished(plan: Plan, directory: Path, waiting: Sequence[_Run]) -> Iterator[None]:
    """Does the runs; yields as each finishes."""
    workers = min(plan.workers or os.cpu_count() or 1, len(waiting))
    if workers <= 1:
        for run in waiting:
            _do(plan, directory, run)
            yield
        return
    with _worker_environment():
        pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        try:
            futures = [pool.submit(_do, plan, directory, run) for run in waiting]
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _worker_environment() -> Iterator[None]:
    """Processes started inside compute on one thread each; those of many starve each other."""
    wanted = dict.fromkeys(THREADS, "1") | KEEP_MEMORY
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _do(plan: Plan, directory: Path, run: _Run) -> None:
    """One run; its file is there whole or not at all."""
    if os.environ.get(THREADS[0]) == "1":
        torch.set_num_threads(1)
    chosen = round_settings(run.sampler)
    settings = Settings(seed=run.seed, backbone=plan.backbone, round=chosen)
    points: list[Point] = replay(_load(directory), settings, plan.schedule, start=plan.start)
    temporary = run.file.with_suffix(".tmp")
    temporary.write_text(json.dumps(points), encoding="utf-8")
    temporary.replace(run.file)


@lru_cache(maxsize=1)
def _load(directory: Path) -> Replay:
    return load_replay(Project(directory))
