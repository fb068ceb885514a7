"""The results of the samplers' benchmark and its main table, in Markdown."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sampler_peers import NUMPY_PASS, PEERS, Peer
from sampler_run import CHOICE, PASS, Result

PASS_AT_MOST = 1.3
TARGETS = {
    "k_center": 5,
    "badge": 5,
    "typiclust": 3,
    "max_herding": 3,
    "cluster_margin": 3,
    "kmeans": 3,
    "atlas": 3,
}
"""Sampler → how many times faster than its fastest peer."""
SECONDS_AT_MOST, GB_AT_MOST = 60, 1.5


@dataclass(frozen=True)
class Run:
    """What was measured.

    Attributes:
        results: `Job.key` → result.
        samplers: names, in the order of the table.
        size: rows in memory.
        small: rows for peers that need N × N numbers.
        disk: rows on disk, the smaller and the larger pool.
        batch: how many were chosen.
        cores: on how many.
        about: the data in words.
    """

    results: Mapping[str, Result]
    samplers: Sequence[str]
    size: int
    small: int
    disk: tuple[int, ...]
    batch: int
    cores: int
    about: str

    def at(self, kind: str, name: str, size: int, *, on_disk: bool = False) -> Result:
        """One result; an empty one where nothing was measured."""
        key = f"{kind} {name} {size} {on_disk} {self.batch}"
        return self.results.get(key, Result({}, failure="not measured"))


@dataclass(frozen=True)
class Against:
    """What a sampler is compared with.

    Attributes:
        what: in words.
        ratio: of a peer, how often the sampler's time goes into its time; of a numpy pass, how
            often the pass goes into the sampler's time; None if there is no figure.
        at_least: whether the peer was stopped, so that the ratio is a lower bound.
    """

    what: str
    ratio: float | None = None
    at_least: bool = False

    def shown(self) -> str:
        """The ratio, or nothing."""
        return "" if self.ratio is None else f"{'> ' * self.at_least}{self.ratio:.2g}×"


def main_table(run: Run) -> str:
    """All samplers, a row each, and what their batches noted."""
    small, large = run.disk
    rows = [_main_row(run, name) for name in run.samplers]
    notes = [f"- {name}: {note}" for name in run.samplers if (note := _note(run, name))]
    filled = table(
        [
            "sampler",
            f"{short(run.size)} s",
            "compared with",
            "ratio",
            "target",
            "met?",
            f"{short(small)} s",
            f"{short(large)} s",
            "growth",
            f"memory at {short(large)}",
        ],
        rows,
    )
    said = (
        f"Ratio: the fastest peer's seconds over Atlas's, at N = {run.size:,}, or {run.small:,} "
        "where the peer needs N × N numbers; of a numpy pass, Atlas's over the pass's. Growth: "
        f"{short(small)} → {short(large)}, the pool grows {large / small:.0f}×. At {large:,} the "
        f"target is {SECONDS_AT_MOST} s and {GB_AT_MOST} GB."
    )
    return "\n".join(["## All samplers", "", said, "", filled, *(["", *notes] if notes else [])])


def _main_row(run: Run, name: str) -> list[str]:
    small, large = (run.at("sampler", name, size, on_disk=True) for size in run.disk)
    against = _pass(run, name) if name in NUMPY_PASS else _fastest_peer(run, name)
    target = f"≤ {PASS_AT_MOST}× a pass" if name in NUMPY_PASS else ""
    if name in TARGETS:
        target = f"≥ {TARGETS[name]}×" + ", no peer" * (not _has_peer(name))
    growth = ""
    if small.seconds and large.seconds:
        growth = f"{large.seconds[CHOICE] / small.seconds[CHOICE]:.1f}×"
    return [
        name,
        seconds_of(run.at("sampler", name, run.size)),
        against.what,
        against.shown(),
        target,
        "; ".join([*_short_of_ratio(name, against), *_short_of_size(run, name)]) or "yes",
        seconds_of(small),
        seconds_of(large),
        growth,
        f"{large.total_gb:.2f} GB ({large.own_gb:.2f})" if large.seconds else "",
    ]


def _has_peer(name: str) -> bool:
    return any(peer.sampler == name and not peer.relative for peer in PEERS)


def _short_of_ratio(name: str, against: Against) -> Iterator[str]:
    """What misses the target against a pass or a peer, in words."""
    if name in NUMPY_PASS or (name in TARGETS and _has_peer(name)):
        ratio = against.ratio
        if ratio is None:
            yield "not known: no figure to compare with"
        elif name in NUMPY_PASS and ratio > PASS_AT_MOST:
            yield f"no: {against.shown()} a pass"
        elif name in TARGETS and ratio < TARGETS[name]:
            yield f"{'not known' if against.at_least else 'no'}: {against.shown()}"


def _short_of_size(run: Run, name: str) -> Iterator[str]:
    """What misses the targets at the largest pool, in words."""
    large = run.at("sampler", name, run.disk[-1], on_disk=True)
    if not large.seconds:
        yield f"no: {large.failure}"
    elif large.seconds[CHOICE] > SECONDS_AT_MOST:
        yield f"no: {large.seconds[CHOICE]:.0f} s"
    if large.total_gb > GB_AT_MOST:
        yield f"no: {large.total_gb:.2f} GB"
    distances = run.at("count", name, run.size).count
    if distances >= run.batch * run.size:
        yield f"no: {distances / run.size:.0f} passes"


def _pass(run: Run, name: str) -> Against:
    seconds = run.at("beside", name, run.size).seconds
    if not seconds:
        return Against("one numpy pass")
    ratio = seconds[CHOICE] / seconds[PASS]
    return Against(f"one numpy pass, {figure(seconds[PASS])} s", ratio)


def _fastest_peer(run: Run, name: str) -> Against:
    """The one with the least seconds; if all were stopped, any of them."""
    found = [(peer, of_peer(run, peer)) for peer in PEERS if peer.sampler == name]
    same = [one for one in found if not one[0].relative] or found
    known = [(at_least(result), peer, result) for peer, result in same if at_least(result)]
    if not known:
        said = "; ".join(f"{peer.name}: {result.failure}" for peer, result in same)
        return Against(said or "none has it")
    theirs, peer, result = min(known, key=lambda one: (not one[2].seconds, one[0]))
    size = run.small if peer.square else run.size
    own = run.at("sampler", name, size).seconds
    what = f"{peer.name}{' (a relative)' * peer.relative}, {seconds_of(result)}"
    what += " s" * bool(result.seconds) + f" at {short(size)}" * peer.square
    return Against(what, theirs / own[CHOICE] if own else None, not result.seconds)


def at_least(result: Result) -> float:
    """Seconds it took, or after which it was stopped; 0 if it failed otherwise."""
    if result.seconds:
        return result.seconds[CHOICE]
    return float(result.failure.split()[1]) if result.failure.endswith(" s") else 0


def of_peer(run: Run, peer: Peer) -> Result:
    """The peer's result, on the rows that it can hold."""
    return run.at("peer", peer.name, run.small if peer.square else run.size)


def _note(run: Run, name: str) -> str:
    """What the batches said of themselves, such as that another sampler stood in."""
    pools = [(run.size, False), *((size, True) for size in run.disk)]
    notes = {run.at("sampler", name, size, on_disk=on_disk).note for size, on_disk in pools}
    return "; ".join(sorted(notes - {""}))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def seconds_of(result: Result) -> str:
    """Seconds, or why there are none."""
    return figure(result.seconds[CHOICE]) if result.seconds else result.failure


def figure(seconds: float) -> str:
    """Three digits or so."""
    digits = 4 if seconds < 0.1 else 2 if seconds < 10 else 0
    return f"{seconds:.{digits}f}"


def short(size: int) -> str:
    """50k, 1M."""
    if size % 1_000_000 == 0:
        return f"{size // 1_000_000}M"
    return f"{size // 1000}k" if size % 1000 == 0 else f"{size:,}"
