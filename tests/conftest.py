"""Shared parts: a drawn pool, a tiny backbone with fixed random weights, a project on both."""

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import shutil
import subprocess

import numpy as np
from PIL import Image, ImageDraw
import pytest

from atlas.embedding import embed_pool
from atlas.pool import ingest
from atlas.project import Project
from atlas.settings import Settings
from atlas.taxonomy import Taxonomy
from tests.servers import Postgres, find_postgres, running_redis

ARCH = "test_resnet"  # timm's own network for tests: 0.4 M parameters, 96 features
SIDE = 32
COLOURS = {
    "round/ball": (220, 50, 40),
    "round/ring": (230, 200, 40),
    "angular/box": (40, 70, 220),
    "angular/cross": (40, 190, 80),
}


@pytest.fixture(scope="session", autouse=True)
def every_warning_of_torch() -> None:
    """Torch gives some warnings once a process: faults would depend on the order of tests."""
    import torch

    torch.set_warn_always(True)


@pytest.fixture(scope="session")
def taxonomy() -> Taxonomy:
    """Two levels (family, shape), four leaves, no attribute."""
    return Taxonomy(("family", "shape"), tuple(COLOURS), {})


def picture(leaf: str, rng: np.random.Generator) -> Image.Image:
    """A shape of its leaf's colour somewhere on a noisy grey ground."""
    ground = rng.normal(128, 25, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(ground)
    x, y = (int(value) for value in rng.integers(1, 9, 2))
    box, draw, colour = (x, y, x + 20, y + 20), ImageDraw.Draw(image), COLOURS[leaf]
    if leaf == "round/ball":
        draw.ellipse(box, fill=colour)
    elif leaf == "round/ring":
        draw.ellipse(box, outline=colour, width=5)
    elif leaf == "angular/box":
        draw.rectangle(box, fill=colour)
    else:
        draw.line(box, fill=colour, width=6)
        draw.line((x, y + 20, x + 20, y), fill=colour, width=6)
    return image


@pytest.fixture(scope="session")
def draw_pool() -> Callable[..., Path]:
    """`draw_pool(folder, per_leaf=10, seed=0)` draws a pool whose folders are the truth."""

    def draw(folder: Path, *, per_leaf: int = 10, seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        for leaf in COLOURS:
            (folder / leaf).mkdir(parents=True, exist_ok=True)
            for number in range(per_leaf):
                picture(leaf, rng).save(folder / leaf / f"{seed}-{number:03d}.png")
        return folder

    return draw


@pytest.fixture(scope="session")
def tiny_pool(tmp_path_factory: pytest.TempPathFactory, draw_pool: Callable[..., Path]) -> Path:
    """Forty pictures, ten a leaf. Nothing may change it."""
    return draw_pool(tmp_path_factory.mktemp("pool"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights, always the same, so that no hub is needed."""
    from safetensors.torch import save_file
    import timm
    import torch

    path = tmp_path_factory.mktemp("backbone") / "tiny.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(ARCH, pretrained=False, num_classes=0)
    save_file(network.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def settings(checkpoint: Path) -> Settings:
    """Of a project on the tiny backbone: 8 audit images, batches of 4."""
    return Settings.model_validate(
        {
            "backbone": {
                "name": ARCH,
                "checkpoint": str(checkpoint),
                "image_size": SIDE,
                "batch_size": 16,
                "device": "cpu",
            },
            "audit": {"size": 8, "per_round": 4, "min_labels": 4},
            # random weights put unlike pictures close together: nothing here is a duplicate
            "round": {"batch_size": 4, "near_duplicate": 1},
        }
    )


@pytest.fixture
def empty_project(tmp_path: Path, settings: Settings, taxonomy: Taxonomy) -> Project:
    """A project without images."""
    return Project.create(tmp_path / "project", settings, taxonomy)


@pytest.fixture(scope="session")
def project_template(
    tmp_path_factory: pytest.TempPathFactory,
    settings: Settings,
    taxonomy: Taxonomy,
    tiny_pool: Path,
) -> Path:
    """What `project` copies, so that each test pays for a copy only."""
    project = Project.create(tmp_path_factory.mktemp("template") / "p", settings, taxonomy)
    ingest(project, tiny_pool, truth="folders")
    embed_pool(project)
    project.database.engine.dispose()
    return project.directory


@pytest.fixture
def project(tmp_path: Path, project_template: Path) -> Project:
    """The tiny pool with truth, ingested (32 pool + 8 audit) and embedded."""
    shutil.copytree(project_template, tmp_path / "project")
    return Project(tmp_path / "project")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL."""
    server = Postgres(find_postgres())
    yield server
    server.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, once of each kind that Atlas runs on."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'atlas.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A real Redis."""
    with running_redis(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """`small_disk(kib)` mounts a disk of that size; called again it grows or shrinks."""
    folder = tmp_path / "small-disk"
    folder.mkdir()

    def mount(kib: int) -> Path:
        again = ["-o", "remount"] if folder.is_mount() else []
        command = ["mount", "-t", "tmpfs", *again, "-o", f"size={kib}k", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"cannot mount a small disk here: {done.stderr.strip()}")
        return folder

    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    yield mount
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)
