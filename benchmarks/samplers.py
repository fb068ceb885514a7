"""Seconds and memory of every sampler, beside other libraries and one numpy pass, in one run.

    python benchmarks/samplers.py --bottlenecks PROJECT/bottlenecks --record run.jsonl --write

Needs the packages of benchmarks/requirements-samplers.txt beside Atlas; a library that is missing
is named in the table. Without --bottlenecks the rows are drawn. Each measurement has a process of
its own. With --record, what is in that file already is not measured again.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
import json
from pathlib import Path
import tempfile

from sampler_data import Pool, prepare
from sampler_page import page
from sampler_peers import NUMPY_PASS, PEERS
from sampler_run import CHOICE, Job, Result, measure
from sampler_table import Run

from atlas import plugins

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "samplers.md"
CHAIN = "margin*10 | kmeans"


def main() -> None:
    """Measure everything, then print the page."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        about = _data(folder, arguments)
        results = {
            job.key(): _result(job, arguments) for job in _jobs(Path(folder).resolve(), arguments)
        }
    run = Run(
        results,
        samplers=arguments.samplers,
        size=arguments.n,
        small=arguments.small,
        disk=tuple(arguments.disk),
        batch=arguments.batch,
        cores=arguments.cores,
        about=about,
    )
    text = page(run)
    print(text)
    if arguments.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(text)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bottlenecks", type=Path, help="folder with shards of a bottleneck cache")
    parser.add_argument("--n", type=int, default=50_000, help="rows in memory, float32")
    parser.add_argument("--small", type=int, default=10_000, help="rows for peers that need N × N")
    parser.add_argument(
        "--disk", type=int, nargs=2, default=[100_000, 1_000_000], help="rows on disk, float16"
    )
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--limit", type=float, default=600, help="seconds, then it is stopped")
    parser.add_argument("--peer-memory", type=float, default=12, help="GB a peer may have")
    parser.add_argument(
        "--samplers", nargs="*", default=[*plugins.available("atlas.samplers"), CHAIN]
    )
    parser.add_argument("--peers", nargs="*", default=[peer.name for peer in PEERS])
    parser.add_argument("--folder", type=Path, help="keep the pools here, for the next run")
    parser.add_argument("--record", type=Path, help="keep the measurements in this file")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    return parser.parse_args()


def _data(folder: Path, arguments: argparse.Namespace) -> str:
    """The pools, made now or found; what they are, in words."""
    about = folder / "about.txt"
    wanted = f"{arguments.bottlenecks} {arguments.n} {arguments.disk[1]}\n"
    if about.exists():
        made_for, said = about.read_text().split("\n", 1)
        if made_for + "\n" != wanted:
            raise SystemExit(f"{folder} holds other pools ({made_for}); give an empty folder")
        return said
    folder.mkdir(parents=True, exist_ok=True)
    said = prepare(
        folder,
        bottlenecks=arguments.bottlenecks,
        in_memory=arguments.n,
        on_disk=arguments.disk[1],
    )
    about.write_text(wanted + said)
    return said


def _jobs(folder: Path, arguments: argparse.Namespace) -> Iterator[Job]:
    """Peers right after the sampler that they are compared with."""
    in_memory = Pool(folder, arguments.n, on_disk=False)
    few = Pool(folder, arguments.small, on_disk=False)
    on_disk = [Pool(folder, size, on_disk=True) for size in arguments.disk]

    def job(kind: str, name: str, pool: Pool, memory_gb: float = 0) -> Job:
        return Job(kind, name, pool, arguments.batch, arguments.cores, memory_gb)

    for name in arguments.samplers:
        peers = [one for one in PEERS if one.sampler == name and one.name in arguments.peers]
        pools = [in_memory, *on_disk]
        yield from (job("sampler", name, pool) for pool in pools)
        if name in NUMPY_PASS:
            yield from (job("beside", name, pool) for pool in pools)
        if name == "k_center":
            yield from (job("count", name, pool) for pool in pools)
        if any(peer.square for peer in peers):
            yield job("sampler", name, few)
        for peer in peers:
            pool = few if peer.square else in_memory
            yield job("peer", peer.name, pool, arguments.peer_memory)


def _result(job: Job, arguments: argparse.Namespace) -> Result:
    """From the record, or measured now and recorded."""
    if arguments.record and arguments.record.exists():
        for line in arguments.record.read_text().splitlines():
            entry = json.loads(line)
            if entry["key"] == job.key():
                return Result(**entry["result"])
    result = measure(job, arguments.limit)
    if arguments.record:
        with arguments.record.open("a") as record:
            record.write(json.dumps({"key": job.key(), "result": asdict(result)}) + "\n")
    seconds = f"{result.seconds[CHOICE]:.3f} s" if result.seconds else result.failure
    print(f"{job.key()}: {seconds}, {result.total_gb:.2f} GB, {result.note}", flush=True)
    return result


if __name__ == "__main__":
    main()
