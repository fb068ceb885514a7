"""The results page of the samplers' benchmark, in Markdown."""

from collections.abc import Iterator
from importlib import metadata
import os
from pathlib import Path

from sampler_data import LABELLED
from sampler_peers import LEFT_OUT, PEERS
from sampler_run import CHOICE, PASS, SCORES
from sampler_table import Run, main_table, of_peer, seconds_of, short, table

LIBRARIES = (
    "numpy",
    "scikit-learn",
    "faiss-cpu",
    "scikit-activeml",
    "small-text",
    "alipy",
    "apricot-select",
    "decile-distil",
)


def page(run: Run) -> str:
    """The whole page."""
    parts = [_head(run), main_table(run), _pass_table(run), _count_table(run), _peer_table(run)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(run: Run) -> str:
    return "\n".join(
        [
            "# Samplers: seconds and memory",
            "",
            "Written by `benchmarks/samplers.py --write`, all in one run; it says there how.",
            "",
            f"- Batch {run.batch:,} of {run.size:,} rows float32 in memory, and of {run.disk[0]:,} "
            f"and {run.disk[1]:,} rows float16 mapped from disk; 1,000 labelled, 10 classes.",
            f"- Rows: {run.about}. Probabilities, members and out-of-fold predictions: of softmax "
            "heads fitted on the labelled, whose classes are noisy clusters.",
            f"- Machine: {_processor()}, {run.cores} cores used, {_memory_gb():.0f} GB. "
            + ", ".join(_versions())
            + ".",
            "- Seconds are of `select` alone, the median of up to 15 runs while they take under "
            "5 s together, the files in the page cache. Memory is the most that was resident above "
            "interpreter and imports, the candidates included: in all, and in brackets without the "
            "pages of mapped files, which the kernel may drop.",
        ]
    )


def _pass_table(run: Run) -> str:
    """Of the score-only samplers: the whole choice, the scoring alone, and the pass."""
    rows = []
    for name in run.samplers:
        for size, on_disk in [(run.size, False), *((one, True) for one in run.disk)]:
            seconds = run.at("beside", name, size, on_disk=on_disk).seconds
            if seconds:
                whole, scores = seconds[CHOICE], seconds.get(SCORES)
                rows.append(
                    [
                        name,
                        short(size),
                        f"{1000 * whole:.1f}",
                        f"{1000 * scores:.1f}" if scores else "",
                        f"{1000 * seconds[PASS]:.1f}",
                        f"{whole / seconds[PASS]:.2f}",
                        f"{scores / seconds[PASS]:.2f}" if scores else "",
                    ]
                )
    if not rows:
        return ""
    header = ["sampler", "N", "select ms", "scores ms", "pass ms", "select / pass", "scores / pass"]
    said = (
        "Measured in turn in one process. The pass is the plain numpy expression of the same score "
        "over the same array (`NUMPY_PASS`), with no check, ranking or reason. `select` has those, "
        "and they grow with the batch more than with N, so they weigh most at the smallest N."
    )
    return "\n".join(
        ["## Score-only samplers and one numpy pass", "", said, "", table(header, rows)]
    )


def _count_table(run: Run) -> str:
    rows = []
    for size, on_disk in [(run.size, False), *((one, True) for one in run.disk)]:
        count = run.at("count", "k_center", size, on_disk=on_disk).count
        if count:
            plain = run.batch + LABELLED
            rows.append([short(size), f"{count:.3g}", f"{count / size:.0f}", f"{plain:,}"])
    if not rows:
        return ""
    header = ["N", "distances computed", "in passes", "passes of the plain way"]
    said = (
        "A pass is N distances. The plain way takes one a labelled image and one a pick. The "
        f"target is below {run.batch:,} in all."
    )
    return "\n".join(["## k-center: distances", "", said, "", table(header, rows)])


def _peer_table(run: Run) -> str:
    rows = []
    for peer in PEERS:
        result, size = of_peer(run, peer), run.small if peer.square else run.size
        ours = run.at("sampler", peer.sampler, size)
        shared = ""
        if peer.sampler == "k_center" and result.picks and ours.picks:
            shared = f"{len(set(result.picks) & set(ours.picks)):,} of {run.batch:,}"
        rows.append(
            [
                peer.name + " (a relative)" * peer.relative,
                peer.sampler,
                short(size),
                seconds_of(result),
                seconds_of(ours),
                f"{result.total_gb:.1f} GB" if result.seconds else "",
                shared,
            ]
        )
    header = ["peer", "sampler", "N", "peer s", "Atlas s", "peer's memory", "picks shared"]
    left_out = [f"- {what}: {why}." for what, why in LEFT_OUT.items()]
    return "\n".join(
        ["## Peers", "", table(header, rows), "", "Left out:", "", *left_out],
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "unknown processor"


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _versions() -> Iterator[str]:
    for library in LIBRARIES:
        try:
            yield f"{library} {metadata.version(library)}"
        except metadata.PackageNotFoundError:
            yield f"{library} not installed"
