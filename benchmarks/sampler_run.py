"""One measurement, in a process of its own: seconds and resident memory.

The child imports, says "ready" and waits. From then on its parent reads how much memory it holds,
so that loading the data counts and the interpreter does not. The clock runs for the choice alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
import json
import os
from pathlib import Path
import resource
import select
from statistics import median
import subprocess
import sys
import tempfile
import time
from typing import Any, NamedTuple

import numpy as np
from sampler_data import Pool
from sampler_peers import PEERS, numpy_pass, problem_of

from atlas.samplers import Sampler
from atlas.samplers._composition import build_sampler
from atlas.types import Batch, Candidates

GB = 2**30
IMPORT_S = 120.0
ENOUGH_S = 5.0
MOST_RUNS = 15
LOOK_S = 0.02
CHOICE, SCORES, PASS = "choice", "scores", "pass"


class Timed(NamedTuple):
    """What is timed, and what is then told of the first outcome of `CHOICE`."""

    calls: Mapping[str, Callable[[], Any]]
    tell: Callable[[Any], dict[str, Any]]


@dataclass(frozen=True)
class Job:
    """What to measure.

    Attributes:
        kind: "sampler"; "beside", a sampler and one numpy pass in turn; "peer"; or "count", the
            distances that k-center computes.
        name: of the sampler (a chain will do) or of the peer.
        pool: from where it chooses.
        batch: how many.
        cores: on how many cores.
        memory_gb: above this an allocation fails; 0 for no limit.
    """

    kind: str
    name: str
    pool: Pool
    batch: int
    cores: int
    memory_gb: float = 0

    def key(self) -> str:
        """Unique within a run."""
        return f"{self.kind} {self.name} {self.pool.size} {self.pool.on_disk} {self.batch}"


@dataclass(frozen=True)
class Result:
    """What was found.

    Attributes:
        seconds: what was timed → median seconds; empty if it did not end well.
        total_gb: most resident memory above the imports, pages of mapped files included.
        own_gb: the same without pages of files.
        failure: "" or, in a few words, why there is no figure.
        note: the batch's own.
        count: of distances.
        picks: positions of the first run, in order.
    """

    seconds: Mapping[str, float]
    total_gb: float = 0
    own_gb: float = 0
    failure: str = ""
    note: str = ""
    count: int = 0
    picks: Sequence[int] = ()


def measure(job: Job, limit_s: float) -> Result:
    """Run the job in a fresh process; it is stopped after `limit_s` seconds."""
    description = json.dumps(asdict(job), default=str)
    threads = {f"{name}_NUM_THREADS": str(job.cores) for name in ("OMP", "OPENBLAS", "MKL")}
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, __file__, description],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **threads},
        )
        with child:
            try:
                found = _watch(child, limit_s)
            finally:
                child.kill()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if found is None:
        return Result({}, failure=said[-1][:80] if said else f"ended with {child.returncode}")
    return found


def _watch(child: "subprocess.Popen[str]", limit_s: float) -> Result | None:
    """Follow the child until it has said what it found; None if it died."""
    assert child.stdin and child.stdout
    if not select.select([child.stdout], [], [], IMPORT_S)[0] or not child.stdout.readline():
        return None
    Path(f"/proc/{child.pid}/clear_refs").write_text("5")  # the peak starts from here
    before = _memory(child.pid)
    own = before["RssAnon"]
    child.stdin.write("go\n")
    child.stdin.flush()
    end = time.monotonic() + limit_s
    while not select.select([child.stdout], [], [], LOOK_S)[0]:
        own = max(own, _memory(child.pid).get("RssAnon", 0))
        if time.monotonic() > end:
            return Result({}, failure=f"> {limit_s:.0f} s")
    line = child.stdout.readline()
    if not line:
        return None
    said = json.loads(line)
    peak = _memory(child.pid)  # the child waits until this is read
    total_gb = (peak["VmHWM"] - before["VmRSS"]) / GB
    own_gb = (max(own, peak["RssAnon"]) - before["RssAnon"]) / GB
    return Result(**said, total_gb=total_gb, own_gb=own_gb)


def _memory(pid: int) -> dict[str, int]:
    """Bytes by the kernel's name, such as VmHWM; empty when the process has just ended."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {line[0][:-1]: int(line[1]) * 1024 for line in lines if line[-1:] == ["kB"]}


def serve(job: Job) -> None:
    """The child's side."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.cores])
    if job.memory_gb:
        most = int(job.memory_gb * GB)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries chat, also while they are imported
    load = {"sampler": _sampler, "beside": _beside, "peer": _peer, "count": _count}[job.kind](job)
    print("ready", file=answers, flush=True)
    sys.stdin.readline()
    try:
        said = _clock(load())
    except MemoryError:
        said = {"seconds": {}, "failure": f"> {job.memory_gb:.0f} GB"}
    print(json.dumps(said), file=answers, flush=True)
    sys.stdin.readline()  # until the parent has read the peak and ends this process


def _clock(timed: Timed) -> dict[str, Any]:
    """Call each in turn, again and again while that is quick."""
    runs: dict[str, list[float]] = {name: [] for name in timed.calls}
    told: dict[str, Any] = {}
    spent = 0.0
    while spent < ENOUGH_S and len(runs[CHOICE]) < MOST_RUNS:
        for name, call in timed.calls.items():
            started = time.perf_counter()
            outcome = call()
            runs[name].append(time.perf_counter() - started)
            spent += runs[name][-1]
            if name == CHOICE and not told:
                told = timed.tell(outcome)
    return {"seconds": {name: median(seconds) for name, seconds in runs.items()}, **told}


def _sampler(job: Job) -> Callable[[], Timed]:
    sampler = build_sampler(job.name)
    return lambda: Timed({CHOICE: _choice(sampler, _loaded(job, sampler), job.batch)}, _tell)


def _loaded(job: Job, sampler: Sampler) -> Candidates:
    """Probabilities are worked out when first asked for, here off the clock."""
    candidates = job.pool.load()
    if sampler.needs_model:
        for level in candidates.probs:
            candidates.probs[level]
            if "bald" in job.name:
                candidates.member_probs[level]
    return candidates


def _choice(sampler: Sampler, candidates: Candidates, batch: int) -> Callable[[], Batch]:
    return lambda: sampler.select(candidates, n=batch, rng=np.random.default_rng(0))


def _tell(batch: Batch) -> dict[str, Any]:
    return {"note": batch.note, "picks": [int(image_id[4:], 16) for image_id in batch.ids]}


def _beside(job: Job) -> Callable[[], Timed]:
    """The memory of this one is that of both."""
    sampler = build_sampler(job.name)

    def load() -> Timed:
        candidates = _loaded(job, sampler)
        calls: dict[str, Callable[[], Any]] = {
            CHOICE: _choice(sampler, candidates, job.batch),
            PASS: numpy_pass(job.name, candidates),
        }
        if hasattr(sampler, "scores"):
            calls[SCORES] = lambda: sampler.scores(candidates)
        return Timed(calls, _tell)

    return load


def _peer(job: Job) -> Callable[[], Timed]:
    (peer,) = (one for one in PEERS if one.name == job.name)
    library = import_module(peer.module)

    def load() -> Timed:
        choose = peer.prepare(library, problem_of(job.pool.load(), job.batch))
        return Timed({CHOICE: choose}, lambda picks: {"picks": [int(pick) for pick in picks]})

    return load


def _count(job: Job) -> Callable[[], Timed]:
    """k-center's traversal alone, which says how many distances it took."""
    farthest_first = import_module("atlas.samplers._frontier").farthest_first

    def load() -> Timed:
        candidates, rng = job.pool.load(), np.random.default_rng(0)
        traverse = {CHOICE: lambda: farthest_first(candidates, n=job.batch, rng=rng)}
        return Timed(traverse, lambda found: {"count": int(found.computed)})

    return load


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    where = {**given["pool"], "folder": Path(given["pool"]["folder"])}
    serve(Job(**{**given, "pool": Pool(**where)}))
