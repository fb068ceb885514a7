"""Every error that a user can mend ends the command with 2; importing Atlas does nothing."""

import errno
import inspect
from pathlib import Path
import subprocess
import sys

import pytest

from atlas import errors
from atlas.errors import AtlasError, DiskFull, PoolExhausted, explain_full_disk

TREE = [
    one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, AtlasError)
]


@pytest.mark.parametrize("error", TREE)
def test_every_error_ends_with_2_and_is_drawn_in_the_tree(error: type[AtlasError]) -> None:
    assert error.exit_code == 2
    assert error.__doc__
    assert error.__name__ in (errors.__doc__ or "")


def test_the_tree_draws_nothing_else() -> None:
    drawn = {word for word in (errors.__doc__ or "").split() if word.endswith("Error")}
    assert drawn <= {one.__name__ for one in TREE}


def test_pool_exhausted_says_what_to_do() -> None:
    assert str(PoolExhausted(asked=500, available=212)) == (
        "asked for 500 images, the pool has 212 left; "
        "ask for fewer (-n, round.batch_size) or ingest more images"
    )


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_left_is_explained(number: int) -> None:
    with pytest.raises(DiskFull, match="no space left on the disk of /data; free some room"):
        with explain_full_disk(Path("/data")):
            raise OSError(number, "full")


def test_other_errors_pass() -> None:
    with pytest.raises(PermissionError), explain_full_disk(Path("/data")):
        raise PermissionError(errno.EACCES, "no")


def test_dev_full_is_a_full_disk() -> None:
    with pytest.raises(DiskFull), explain_full_disk(Path("/dev/full")):
        with Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")


LIGHT = """
import sys
before = set(sys.modules)
import atlas
heavy = {"torch", "timm", "numpy", "sqlalchemy", "faiss", "PIL"} & (set(sys.modules) - before)
assert not heavy, heavy
import atlas.errors, atlas.settings, atlas.taxonomy_file, atlas.project, atlas.pool, atlas.labels
import atlas.samplers, atlas.plugins
heavy = {"torch", "timm", "faiss"} & set(sys.modules)
assert not heavy, heavy
"""


def test_importing_atlas_loads_no_torch() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
