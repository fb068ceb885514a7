"""What the tests of fine-tuning share as fixtures."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from atlas.settings import Settings

if TYPE_CHECKING:
    from atlas.training.finetune.material import Material


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """So that sums are made in the same order in each process, and toys do not wait at barriers."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def material(tiny_pool: Path, settings: Settings) -> "Material":
    """Sixteen labelled toys, and the others."""
    from finetune_support import toy_material

    return toy_material(tiny_pool, settings.backbone)
