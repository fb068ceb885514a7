"""Seven heads × four balancers against single-task heads, on three pools.

    python benchmarks/compare_heads.py --out DIR --seeds 3 --labels 200 \
        --write docs/benchmarks/heads_balancers.md \
        --cifar CIFAR10.zip --checkpoint FILE --arch regnetx_002 --image-size 64 \
        --interpolation bilinear

and the same with `--labels 60 200 1000 --balancers uniform` for docs/benchmarks/heads_by_labels.md.

A seed draws the labelled images from the pool; all heads have the same ones, and are measured on
the same held-out images. Without --cifar only the two drawn pools are run. A finished fit is a file
in --out: a stopped benchmark goes on where it was. What to make of it: docs/benchmarks/heads.md.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
import json
from math import log
from pathlib import Path
import shutil

import numpy as np
import torch

from atlas import plugins
from atlas.cli.output import progress_bar
from atlas.curves import half_width
from atlas.demo.pools import draw_pool
from atlas.embedding import embed_pool
from atlas.errors import SettingsError
from atlas.losses import encode
from atlas.pool import ingest
from atlas.project import Project
from atlas.replay import Replay, Truth, load_replay
from atlas.settings import AuditSettings, BackboneSettings, HeadSettings, Settings
from atlas.setup import Source, make_project
from atlas.train import TrainingData
from atlas.training.optimise import new_balancer, new_head, tasks_of
from atlas.training.trials import Examples, Trial, try_alone, try_out
from atlas.types import LABEL
from services.demo import demo_backbone

DRAWN = 4000
HELD_OUT = 0.25
ALONE = "alone"


@dataclass(frozen=True)
class Fit:
    """One fit to be made.

    Attributes:
        labels: training images.
        seed: which of them.
        head: its name.
        balancer: its name, or `ALONE` for a head for each task.
    """

    labels: int
    seed: int
    head: str
    balancer: str

    def file(self, folder: Path) -> Path:
        """Where its outcome is kept."""
        return folder / f"{self.labels}-{self.seed}-{self.head}-{self.balancer}.json"


def load_pool(name: str, arguments: argparse.Namespace) -> Replay:
    """The images of a pool with their truth, embedded once."""
    folder = arguments.out / name
    directory = folder / "project"
    ready = directory / "ready"
    if not ready.exists():
        shutil.rmtree(directory, ignore_errors=True)
        if name == "cifar":
            source, held_out = Source(arguments.cifar / "train", "folders"), 0
        else:
            drawn = draw_pool(name, folder / "pool", images=arguments.drawn, seed=0)
            source = Source(drawn / "manifest.jsonl", "manifest", drawn / "taxonomy.yaml")
            held_out = round(HELD_OUT * arguments.drawn)
        settings = Settings(
            name=name,
            backbone=_backbone(name, arguments),
            audit=AuditSettings(size=held_out, per_round=0),
        )
        project, _ = make_project(directory, settings, source)
        if name == "cifar":
            ingest(project, arguments.cifar / "test", truth="folders", split="audit")
        project.database.engine.dispose()
        ready.touch()
    project = Project(directory)
    embed_pool(project)
    return load_replay(project)


def _backbone(name: str, arguments: argparse.Namespace) -> BackboneSettings:
    if name != "cifar":
        return demo_backbone()
    return BackboneSettings(
        name=arguments.arch,
        checkpoint=str(arguments.checkpoint.resolve()),
        image_size=arguments.image_size,
        interpolation=arguments.interpolation,
    )


def settings_of(one: Fit, test: Examples) -> HeadSettings:
    """The head's own defaults; `fixed` lets every task's loss be 1 where it knows nothing.

    That is 1 / log K for K classes, and 2 for a number, whose half squared error is 1/2 then.

    Raises:
        SettingsError: the balancer cannot work with the head.
    """
    plain = HeadSettings(name=one.head)
    if one.balancer == ALONE:
        return plain
    head = new_head(test.bottlenecks.shape[1], test.taxonomy, plain, test.moments)
    arguments = {}
    if one.balancer == "fixed":
        outputs = {**test.taxonomy.outputs, LABEL: len(test.taxonomy.leaves)}
        numbers = test.taxonomy.quantities
        weights = {t: 2.0 if t in numbers else 1 / log(outputs[t]) for t in tasks_of(head)}
        arguments = {"by_task": weights}
    chosen = HeadSettings(name=one.head, balancer=one.balancer, balancer_args=arguments)
    new_balancer(head, chosen)
    return chosen


def examples(data: Replay, truth: Truth, rows: np.ndarray | None = None) -> Examples:
    """Images of a pool as heads are fitted and measured on them."""
    pool = TrainingData(data.pool.rows, data.pool.labels, data.pool.rows)
    chosen = np.arange(len(truth.ids)) if rows is None else rows
    return Examples(
        torch.from_numpy(np.asarray(truth.rows[chosen], dtype=np.float32)),
        encode([truth.labels[i] for i in chosen], data.taxonomy),
        data.taxonomy,
        pool.moments(np.random.default_rng(0)),
    )


def run_pool(name: str, arguments: argparse.Namespace) -> dict[Fit, Trial]:
    """Every fit of a pool, from its file where there is one."""
    folder = arguments.out / name / "fits"
    fits = list(all_fits(arguments))
    if any(not one.file(folder).exists() for one in fits):
        folder.mkdir(parents=True, exist_ok=True)
        data = load_pool(name, arguments)
        test = examples(data, data.test)
        with progress_bar(name, unit="fits") as advance:
            for number, one in enumerate(fits, start=1):
                if not one.file(folder).exists():
                    _keep(one.file(folder), _outcome(one, data, test))
                advance(number, len(fits))
    found = {}
    for one in fits:
        outcome = json.loads(one.file(folder).read_text(encoding="utf-8"))
        if outcome is not None:  # a combination that cannot be
            found[one] = Trial(**outcome)
    return found


def all_fits(arguments: argparse.Namespace) -> Iterator[Fit]:
    """Seed by seed, so that a stopped benchmark has whole seeds."""
    heads = arguments.heads.split(",") if arguments.heads else plugins.available("atlas.heads")
    chosen = arguments.balancers
    balancers = chosen.split(",") if chosen else plugins.available("atlas.balancers")
    for labels in arguments.labels:
        for seed in range(arguments.seeds):
            for head in heads:
                for balancer in (ALONE, *balancers):
                    yield Fit(labels, seed, head, balancer)


def _outcome(one: Fit, data: Replay, test: Examples) -> dict[str, object] | None:
    try:
        settings = settings_of(one, test)
    except SettingsError:
        return None
    rng = np.random.default_rng([one.labels, one.seed])
    train = examples(data, data.pool, rng.choice(len(data.pool.ids), one.labels, replace=False))
    if one.balancer != ALONE:
        return asdict(try_out(train, test, settings, rng))
    trials = [try_alone(train, test, task, settings) for task in train.labels()]
    whole = Trial(
        {task: score for trial in trials for task, score in trial.scores.items()},
        {task: error for trial in trials for task, error in trial.errors.items()},
        sum(trial.seconds for trial in trials),
    )
    return asdict(whole)


def _keep(file: Path, content: object) -> None:
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(content), encoding="utf-8")
    temporary.replace(file)


def section(name: str, found: dict[Fit, Trial], arguments: argparse.Namespace) -> str:
    """The markdown of one pool: a table a number of labels, the best mean first."""
    parts = [f"## {name}\n"]
    for labels in arguments.labels:
        mine = {one: trial for one, trial in found.items() if one.labels == labels}
        tasks = list(dict.fromkeys(task for trial in mine.values() for task in trial.scores))
        rows = []
        for pair in dict.fromkeys((one.head, one.balancer) for one in mine):
            trials = [trial for one, trial in mine.items() if (one.head, one.balancer) == pair]
            single = [t for one, t in mine.items() if (one.head, one.balancer) == (pair[0], ALONE)]
            means = [float(np.mean(list(trial.scores.values()))) for trial in trials]
            cells = [_cell(trials, single, task, pair[1] != ALONE) for task in tasks]
            seconds = float(np.mean([trial.seconds for trial in trials]))
            line = " | ".join([*pair, *cells, _percent(means), f"{seconds:.2f}"])
            rows.append((-float(np.mean(means)), f"| {line} |"))
        parts.append(f"{labels} labels:\n")
        parts.append(f"| head | balancer | {' | '.join(tasks)} | mean | fit s |")
        parts.append(f"|---|---|{'---:|' * (len(tasks) + 2)}")
        parts += [line for _, line in sorted(rows)]
        parts.append("")
    return "\n".join(parts)


def _cell(trials: list[Trial], single: list[Trial], task: str, together: bool) -> str:
    """A score, and what it is above the single-task head's, seed by seed."""
    scores = [trial.scores[task] for trial in trials]
    errors = [trial.errors[task] for trial in trials if task in trial.errors]
    text = _percent(scores) + (f", error {np.mean(errors):.3g}" if errors else "")
    if not together:
        return text
    gains = [ours - theirs.scores[task] for ours, theirs in zip(scores, single, strict=True)]
    return f"{text} ({100 * np.mean(gains):+.1f} ± {100 * half_width(gains):.1f})"


def _percent(values: list[float]) -> str:
    return f"{np.mean(values):.1%} ± {100 * half_width(values):.1f}"


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cifar", type=Path, help="cifar10.zip with train/ and test/")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--arch", default="")
    parser.add_argument("--image-size", type=int, default=0)
    parser.add_argument("--interpolation", default="")
    parser.add_argument("--pools", default="garments,water,cifar")
    parser.add_argument("--drawn", type=int, default=DRAWN, help="images of a drawn pool")
    parser.add_argument("--heads", default="", help="with commas; default: all there are")
    parser.add_argument("--balancers", default="", help="with commas; default: all there are")
    parser.add_argument("--labels", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write", type=Path, help="a file for the tables")
    arguments = parser.parse_args(argv)
    sections = [
        section(name, run_pool(name, arguments), arguments)
        for name in arguments.pools.split(",")
        if name != "cifar" or arguments.cifar is not None
    ]
    said = (
        f"Mean over {arguments.seeds} seeds ± half of the 95% t interval; in brackets the points "
        "above (+) or below (−, negative transfer) the single-task heads of the same kind, the "
        f"rows `{ALONE}`. The score of a quantity is the share of the median's mean absolute error "
        "that is saved. Best mean over tasks first; seconds of one fit on one thread."
    )
    text = "\n".join(
        ["# Heads and balancers\n", f"`benchmarks/compare_heads.py`. {said}\n", *sections]
    )
    print(text)
    if arguments.write is not None:
        arguments.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
