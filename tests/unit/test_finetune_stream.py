"""Waiting for pictures that take long to decode: a stop is obeyed, and nothing is lost by it."""

from multiprocessing import active_children
from pathlib import Path
import time

from finetune_support import assert_same, tuned
from PIL import Image as PilImage
import pytest

from atlas.backbone import Backbone
from atlas.errors import Stopped
from atlas.images import open_image
from atlas.settings import Settings
from atlas.training.finetune import batches as batches_module
from atlas.training.finetune.batches import Batches, Share
from atlas.training.finetune.material import Material, Progress
from atlas.training.finetune.run import run_finetune
from atlas.training.finetune.stream import stream_batches

# Python 3.12 warns of every fork beside threads; torch's own loader forks, and so do these tests
pytestmark = [
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Every picture takes a second, a batch of 16 of them longer than anybody waits."""

    def slowly(location: str) -> PilImage.Image:
        time.sleep(1)
        return open_image(location)

    monkeypatch.setattr(batches_module, "open_image", slowly)
    return monkeypatch


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stop_does_not_wait_for_pictures(
    material: Material,
    settings: Settings,
    tmp_path: Path,
    slow: pytest.MonkeyPatch,
    workers: int,
) -> None:
    chosen = tuned(settings, steps=3, workers=workers)
    begun_s = time.monotonic()
    with pytest.raises(Stopped, match="stopped after step 0; start it again"):
        run_finetune(
            material,
            chosen,
            folder=tmp_path / "stopped",
            should_stop=lambda: time.monotonic() - begun_s > 2,
        )
    assert time.monotonic() - begun_s < 2 + 5
    assert not active_children()
    slow.undo()
    told: list[Progress] = []
    result = run_finetune(material, chosen, folder=tmp_path / "stopped", progress=told.append)
    assert [at.step for at in told] == [1, 2, 3]  # what was fetched and not trained on counts not
    assert_same(result, run_finetune(material, chosen, folder=tmp_path / "whole"), atol=0)


@pytest.mark.parametrize("workers", [0, 1])
def test_who_waits_is_asked_again_and_gets_every_batch_in_order(
    material: Material, settings: Settings, slow: pytest.MonkeyPatch, workers: int
) -> None:
    chosen = tuned(settings, batch_size=1)
    batches = Batches(material, chosen, Backbone(settings.backbone), Share())
    found = list(stream_batches(batches, range(2), workers=workers, pin=False))
    slow.undo()
    assert found.count(None) >= 4  # two seconds each
    made = [batch for batch in found if batch is not None]
    assert [batch.labelled.tolist() for batch in made] == [
        batches[step].labelled.tolist() for step in range(2)
    ]


@pytest.mark.parametrize("workers", [0, 1])
def test_what_fails_in_the_making_is_raised(
    material: Material, settings: Settings, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    def broken(_: str) -> PilImage.Image:
        raise RuntimeError("a codec that gives up")

    monkeypatch.setattr(batches_module, "open_image", broken)
    batches = Batches(material, tuned(settings), Backbone(settings.backbone), Share())
    with pytest.raises(RuntimeError, match="a codec that gives up"):
        list(stream_batches(batches, range(2), workers=workers, pin=False))
