"""Where a backbone can be cut, and heads compared at several depths of it."""

from collections.abc import Callable
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from sqlalchemy import select
import timm
import torch

from atlas.backbone import POOLED, Backbone, Cut
from atlas.cli import main
from atlas.cuts import out_of_fold, spread, where_to_cut
from atlas.embedding import embed_pool
from atlas.errors import BackboneError, TrainingError
from atlas.project import Project
from atlas.settings import BackboneSettings, Settings
from atlas.settings_file import change_setting
from atlas.store.tables import Image, LabelRow
from atlas.train import TrainingData, learn
from atlas.types import LABEL

ARCHS = ("test_resnet", "test_vit", "test_convnext", "test_efficientnet", "mobilenetv3_small_050")


@pytest.fixture
def make(settings: Settings) -> Callable[..., Backbone]:
    def backbone(**changes: object) -> Backbone:
        return Backbone(settings.backbone.model_copy(update=changes))

    return backbone


def untrained(arch: str, folder: Path) -> BackboneSettings:
    """Random weights of any architecture in a file."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = timm.create_model(arch, pretrained=False, num_classes=0)
    path = folder / f"{arch}.safetensors"
    save_file(network.state_dict(), path)
    return BackboneSettings(name=arch, checkpoint=str(path), device="cpu")


def pixels(n: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def label(project: Project, count: int = 32) -> None:
    """Label so many pool images with the truth."""
    with project.database.session() as session:
        found = session.scalars(select(Image).where(Image.split == "pool").order_by(Image.id))
        for image in list(found)[:count]:
            value = image.truth[LABEL]
            row = LabelRow(image_id=image.id, task=LABEL, value=value, agreement=1, annotations=1)
            session.add(row)


@pytest.mark.parametrize("arch", ARCHS)
def test_each_cut_gives_what_a_backbone_cut_there_gives(arch: str, tmp_path: Path) -> None:
    settings = untrained(arch, tmp_path)
    backbone = Backbone(settings)
    images = pixels(2, backbone.image_size)
    together = backbone.embed_at(backbone.cuts, images)
    assert backbone.cuts[-1].name == POOLED
    assert len(backbone.cuts) > 3
    assert together.shape == (2, sum(cut.features for cut in backbone.cuts))
    start = 0
    for cut in backbone.cuts:
        alone = Backbone(settings.model_copy(update={"cut": cut.name}))
        assert alone.features == cut.features
        wanted = together[:, start : start + cut.features]
        np.testing.assert_allclose(alone.embed(images), wanted, atol=2e-3, rtol=2e-3)
        start += cut.features


def test_an_inner_cut_is_the_mean_of_timms_feature_map(
    make: Callable[..., Backbone], checkpoint: Path
) -> None:
    network = timm.create_model("test_resnet", pretrained=False, features_only=True).eval()
    network.load_state_dict(load_file(checkpoint), strict=False)
    images = pixels(3)
    config = timm.create_model("test_resnet").pretrained_cfg
    mean = torch.tensor(config["mean"]).view(1, 3, 1, 1)
    std = torch.tensor(config["std"]).view(1, 3, 1, 1)
    batch = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.inference_mode():
        maps = network(batch)
    backbone = make(cut="layer2")
    found = backbone.embed(images).astype(float)
    index = backbone.cut.index
    assert index is not None
    wanted = np.zeros((3, backbone.features))
    height, width = maps[index].shape[2:]
    for y in range(height):
        for x in range(width):
            wanted += maps[index][:, :, y, x].numpy() / (height * width)
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_gradients_reach_an_inner_cut(make: Callable[..., Backbone]) -> None:
    backbone = make(cut="layer2")
    batch = torch.rand(1, 3, 32, 32, requires_grad=True)
    backbone.forward(batch * 255).sum().backward()
    assert batch.grad is not None
    assert bool(batch.grad.any())


def test_a_cut_changes_the_fingerprint(make: Callable[..., Backbone]) -> None:
    found = {make(cut=cut.name).fingerprint for cut in make().cuts}
    assert len(found) == len(make().cuts)
    assert make(cut=POOLED).fingerprint == make().fingerprint


def test_an_unknown_cut_names_those_there_are(make: Callable[..., Backbone]) -> None:
    with pytest.raises(BackboneError, match=r"cannot be cut at 'moon'.* layer2, .*pooled"):
        make(cut="moon")


def test_depths_are_spread_evenly() -> None:
    """Five maps a–e and the classifier's input: of two, the ends of both halves (2.5 → 2)."""
    a, b, c, d, e = (Cut(name, 1, i) for i, name in enumerate("abcde"))
    last = Cut(POOLED, 1)
    cuts = (a, b, c, d, e, last)
    assert spread(cuts, 5, keep=last) == cuts
    assert spread(cuts, 99, keep=last) == cuts
    assert spread(cuts, 1, keep=last) == (e, last)
    assert spread(cuts, 2, keep=last) == (b, e, last)
    assert spread(cuts, 1, keep=c) == (c, e, last)
    assert spread((last,), 3, keep=last) == (last,)


def test_out_of_fold_is_counted_by_the_heads_that_never_saw_the_row(project: Project) -> None:
    """As the fit itself counts at the leaves, where its temperature changes no answer.

    A label that stops half-way is not counted below.
    """
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(40, 6)).astype(np.float16)
    leaves = project.taxonomy.leaves
    labels = [{LABEL: leaves[i % 4]} for i in range(38)] + [{LABEL: "round"}, {LABEL: "angular"}]
    fit = learn(TrainingData(rows, labels, rows), project.taxonomy, project.settings.head, seed=0)
    found = out_of_fold(fit, rows, labels)
    for task, told in {"family": 40, "shape": 38}.items():
        assert int((~np.isnan(found[task])).sum()) == told == fit.out_of_fold[task]["n"]
    wanted = fit.out_of_fold["shape"]["accuracy"]
    assert np.nanmean(found["shape"]) == pytest.approx(wanted)


def test_where_to_cut_measures_every_depth(project: Project) -> None:
    label(project)
    seen: list[tuple[int, int]] = []
    found = where_to_cut(project, depths=2, progress=lambda *both: seen.append(both))
    assert seen[-1] == (32, 32)
    assert (found.present, found.level, found.labels, found.left_out) == (POOLED, "shape", 32, {})
    assert [one.cut for one in found.depths] == ["layer1", "layer4", POOLED]
    for one in found.depths:
        assert one.bytes_per_image == 2 * one.features
        assert one.images_per_s > 0
        assert {task: a.n for task, a in one.accuracy.items()} == {"family": 32, "shape": 32}
    right = {one.cut: one.accuracy["shape"].accuracy for one in found.depths}
    assert right[found.best] == max(right.values())
    assert where_to_cut(project, depths=2).best == found.best


def test_a_sample_of_the_labels_and_an_image_that_is_gone(project: Project, tmp_path: Path) -> None:
    label(project)
    assert where_to_cut(project, depths=1, sample=20).labels == 20
    with project.database.session() as session:
        image = session.scalars(select(Image).where(Image.split == "pool")).first()
        assert image is not None
        image.location = str(tmp_path / "gone.png")
        gone = image.id
    found = where_to_cut(project, depths=1)
    assert (found.labels, set(found.left_out)) == (31, {gone})


def test_too_few_labels_to_compare(project: Project) -> None:
    label(project, 9)
    with pytest.raises(TrainingError, match=r"9 labelled images are too few .* 10 are needed"):
        where_to_cut(project)


def test_the_command_and_what_it_advises(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    label(project)
    monkeypatch.setattr("sys.argv", ["atlas", "where-to-cut", str(project.directory), "--json"])
    with pytest.raises(SystemExit):
        main()
    found = json.loads(capsys.readouterr().out)
    assert len(found["depths"]) == 6
    monkeypatch.setattr("sys.argv", ["atlas", "where-to-cut", str(project.directory)])
    with pytest.raises(SystemExit):
        main()
    said = " ".join(capsys.readouterr().out.split())
    assert "out of fold on 32 labelled images" in said
    assert found["best"] in said


def test_a_cut_that_is_set_is_embedded_and_used(project: Project) -> None:
    change_setting(project.directory, "backbone", "cut", "layer2")
    changed = Project(project.directory)
    assert embed_pool(changed).computed == 40
    label(changed)
    assert where_to_cut(changed, depths=1).present == "layer2"
