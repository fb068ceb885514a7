"""The disk cache: what it holds, what it does with damage, and what a crash costs."""

from concurrent.futures import ThreadPoolExecutor
import hashlib
from pathlib import Path
import resource
import subprocess
import sys
from threading import Event

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray
import pytest

from atlas.bottleneck import BottleneckCache
from atlas.errors import CacheError

D = 5


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def vector(number: int) -> NDArray[np.float16]:
    return np.random.default_rng(number).normal(size=D).astype(np.float16)


def keys(*numbers: int) -> list[str]:
    return [key(number) for number in numbers]


def vectors(*numbers: int) -> NDArray[np.float16]:
    return np.stack([vector(number) for number in numbers])


def put(cache: BottleneckCache, *numbers: int) -> Path:
    """Add a shard and return its file."""
    before = set(cache.folder.glob("*.safetensors"))
    cache.put(keys(*numbers), vectors(*numbers))
    (added,) = set(cache.folder.glob("*.safetensors")) - before
    return added


def open_cache(root: Path, fingerprint: str = "f00", **more: str) -> BottleneckCache:
    return BottleneckCache(root, fingerprint=fingerprint, features=D, **more)


def holds(cache: BottleneckCache, *numbers: int) -> bool:
    return not len(cache.missing(keys(*numbers))) and bool(
        (cache.read(keys(*numbers)) == vectors(*numbers)).all()
    )


def test_what_is_put_is_read_in_any_order(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    put(cache, 3, 1)
    put(cache, 2)
    for one in (cache, open_cache(tmp_path)):  # as it is, and as another process finds it
        assert len(one) == 3
        assert one.read(keys(1, 2, 3, 1)).tolist() == vectors(1, 2, 3, 1).tolist()
        assert one.missing(keys(1, 4, 2, 5)).tolist() == [1, 3]
        assert one.read([]).shape == (0, D)
        assert one.damaged == []


def test_an_empty_cache_misses_everything(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    assert cache.missing(keys(1, 2)).tolist() == [0, 1]
    assert cache.missing([]).tolist() == []
    with pytest.raises(CacheError, match="2 of 2 images have no bottleneck yet; run `atlas embed`"):
        cache.read(keys(1, 2))


def test_float32_is_kept_as_float16(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.put(keys(1), np.full((1, D), 1.0001, dtype=np.float32))
    assert cache.read(keys(1)).tolist() == [[1.0] * D]


def test_another_fingerprint_view_or_length_is_another_cache(tmp_path: Path) -> None:
    put(open_cache(tmp_path), 1)
    assert len(open_cache(tmp_path, "f01")) == 0
    assert len(open_cache(tmp_path, view="mirrored")) == 0


def test_rows_are_read_when_they_are_sliced(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    for number in range(6):
        put(cache, number)
    rows = cache.rows(keys(5, 4, 3, 2, 1, 0))
    assert len(rows) == 6
    assert (rows[1:3] == vectors(4, 3)).all()
    assert (rows[np.array([5, 0])] == vectors(0, 5)).all()
    assert (np.asarray(rows) == vectors(5, 4, 3, 2, 1, 0)).all()
    assert rows[6:].shape == (0, D)


def test_a_reader_sees_what_a_writer_adds_after_refresh(tmp_path: Path) -> None:
    reader, writer = open_cache(tmp_path), open_cache(tmp_path)
    put(writer, 1)
    assert len(reader) == 0
    reader.refresh()
    assert holds(reader, 1)


@pytest.mark.parametrize("part", [0.0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.999])
def test_a_half_written_shard_is_found_when_the_cache_is_opened(
    tmp_path: Path, part: float
) -> None:
    cache = open_cache(tmp_path)
    put(cache, 1, 2)
    victim = put(cache, *range(10, 60))
    content = victim.read_bytes()
    victim.write_bytes(content[: int(len(content) * part)])
    again = open_cache(tmp_path)
    assert again.damaged == [victim]
    assert holds(again, 1, 2)
    assert len(again.missing(keys(*range(10, 60)))) == 50
    put(again, *range(10, 60))
    assert holds(open_cache(tmp_path), 1, 2, *range(10, 60))


def test_a_shard_that_lacks_one_byte_is_found(tmp_path: Path) -> None:
    victim = put(open_cache(tmp_path), 1, 2, 3)
    victim.write_bytes(victim.read_bytes()[:-1])
    assert open_cache(tmp_path).damaged == [victim]


def test_a_leftover_of_a_killed_writer_is_passed_over(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    whole = put(cache, 1).read_bytes()
    (cache.folder / "0123.tmp").write_bytes(whole[:50])
    again = open_cache(tmp_path)
    assert holds(again, 1)
    assert again.damaged == []


def test_any_flipped_bit_is_found_or_harmless(tmp_path: Path) -> None:
    """After `verify` the cache never gives a wrong vector: it gives the right one or says missing.

    Every byte of the file is damaged in turn: its length, its header, vectors and hashes.
    """
    cache = open_cache(tmp_path)
    victim = put(cache, 1, 2, 3)
    whole = victim.read_bytes()
    vectors_lost = 0
    for place in range(len(whole)):
        for damage in (0x01, 0x10, 0x80, whole[place] ^ ord(" "), whole[place] ^ ord("9")):
            content = bytearray(whole)
            content[place] ^= damage
            victim.write_bytes(content)
            again = open_cache(tmp_path)
            again.verify()
            for number in (1, 2, 3):
                if len(again.missing([key(number)])):
                    vectors_lost += 1
                else:
                    assert holds(again, number), (place, damage, bytes(content[8:200]))
    assert vectors_lost >= 3 * 3 * D * 2  # at the least every damage to a vector was seen


def test_verify_puts_the_damaged_shard_aside_alone(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    put(cache, 1)
    victim = put(cache, 2, 3)
    content = bytearray(victim.read_bytes())
    content[content.rindex(vectors(2, 3).tobytes()) + 3] ^= 1
    victim.write_bytes(content)
    again = open_cache(tmp_path)
    assert again.damaged == []  # its size is right
    assert again.verify() == 1
    assert again.damaged == [victim]
    assert again.missing(keys(1, 2, 3)).tolist() == [1, 2]


def test_compact_keeps_everything(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    for number in range(20):
        put(cache, number)
    bytes_a_vector = D * 2
    cache.compact(max_bytes=7 * bytes_a_vector)
    assert len(list(cache.folder.iterdir())) == 3  # 7 + 7 + 6
    assert holds(cache, *range(20))
    cache.compact()
    assert len(list(cache.folder.iterdir())) == 1
    assert holds(open_cache(tmp_path), *range(20))


def test_rows_taken_before_a_compact_can_still_be_read(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    for number in range(5):
        put(cache, number)
    rows = cache.rows(keys(4, 0))
    cache.compact()
    assert (rows[:] == vectors(4, 0)).all()


def test_a_crash_between_merge_and_delete_loses_and_doubles_nothing(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    files = [put(cache, number) for number in range(4)]
    kept = {path: path.read_bytes() for path in files[1:]}
    cache.compact()
    for path, content in kept.items():  # as if the process had died after deleting the first
        path.write_bytes(content)
    again = open_cache(tmp_path)
    assert len(again) == 4
    assert holds(again, 0, 1, 2, 3)
    again.compact()
    assert len(again) == 4
    assert len(list(again.folder.iterdir())) == 1


def test_a_reader_never_misses_what_a_writer_merges(tmp_path: Path) -> None:
    """`atlas query` opens the cache while the worker embeds and merges shards."""
    writer = open_cache(tmp_path)
    for number in range(10):
        put(writer, number)
    over = Event()

    def write() -> None:
        for number in range(10, 50):
            writer.put(keys(number), vectors(number))
            writer.compact()
        over.set()

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        looks = 0
        while not over.is_set():
            reader = open_cache(tmp_path)
            assert holds(reader, *range(10))
            assert reader.damaged == []
            looks += 1
        writing.result()
    assert looks > 3
    assert holds(open_cache(tmp_path), *range(50))


def test_a_damaged_shard_that_another_process_put_aside_first(tmp_path: Path) -> None:
    victim = put(open_cache(tmp_path), 1)
    content = bytearray(victim.read_bytes())
    content[content.rindex(vectors(1).tobytes())] ^= 1
    victim.write_bytes(content)
    first, second = open_cache(tmp_path), open_cache(tmp_path)
    assert (first.verify(), second.verify()) == (1, 1)
    assert not victim.exists()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), max_size=6, min_size=1), max_size=8))
def test_any_order_of_puts_gives_everything_back(
    tmp_path_factory: pytest.TempPathFactory, puts: list[list[int]]
) -> None:
    cache = open_cache(tmp_path_factory.mktemp("cache"))
    for numbers in puts:
        cache.put(keys(*numbers), vectors(*numbers))
    wanted = sorted({number for numbers in puts for number in numbers})
    assert len(cache) == len(wanted)
    if wanted:
        assert holds(cache, *wanted)
        cache.compact()
        assert holds(cache, *wanted)


MANY = """
import resource, sys
sys.path.insert(0, sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (110, 110))
from pathlib import Path
from test_bottleneck import holds, keys, open_cache, vectors
cache = open_cache(Path(sys.argv[1]))
for number in range(200):
    cache.put(keys(number), vectors(number))
assert holds(cache, *range(200))
assert holds(open_cache(Path(sys.argv[1])), *range(200))
"""


def test_many_batches_need_few_open_files(tmp_path: Path) -> None:
    """An embed of 60,000 images puts 938 shards; a process may often open 1,024 files or fewer."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 110
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(tmp_path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
