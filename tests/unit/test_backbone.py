"""The door to timm: what fits, what does not, and what changes the fingerprint."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
import pytest
from safetensors.torch import load_file, save_file
import timm
import torch

from atlas.backbone import Backbone
from atlas.embedding import project_backbone
from atlas.errors import BackboneError
from atlas.project import Project
from atlas.settings import BackboneSettings, Settings

Make = Callable[..., Backbone]


@pytest.fixture
def make(settings: Settings) -> Make:
    def backbone(**changes: object) -> Backbone:
        return Backbone(settings.backbone.model_copy(update=changes))

    return backbone


def pixels(n: int, side: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def test_embed_is_timm_forward_on_normalised_pixels(make: Make, checkpoint: Path) -> None:
    backbone = make()
    network = timm.create_model("test_resnet", pretrained=False, num_classes=0).eval()
    network.load_state_dict(load_file(checkpoint))
    images = pixels(3)
    mean = torch.tensor(network.pretrained_cfg["mean"]).view(1, 3, 1, 1)
    std = torch.tensor(network.pretrained_cfg["std"]).view(1, 3, 1, 1)
    scaled = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        wanted = network((scaled - mean) / std).half().numpy()
    found = backbone.embed(images)
    assert (found.shape, found.dtype) == ((3, backbone.features), np.float16)
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_the_weights_are_frozen(make: Make) -> None:
    network = make().network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_prepare_squashes_to_a_square(make: Make) -> None:
    prepared = make().prepare(Image.new("RGB", (50, 20), (10, 20, 30)))
    assert (prepared.shape, prepared.dtype) == ((32, 32, 3), np.uint8)
    assert (prepared == (10, 20, 30)).all()


def test_one_fingerprint_for_one_backbone(make: Make) -> None:
    fingerprint = make().fingerprint
    assert len(fingerprint) == 24
    assert make().fingerprint == fingerprint
    assert make(batch_size=1).fingerprint == fingerprint  # changes no vector


def test_what_changes_a_vector_changes_the_fingerprint(
    make: Make, checkpoint: Path, tmp_path: Path
) -> None:
    weights = load_file(checkpoint)
    name = next(name for name in weights if name.endswith("weight"))
    weights[name].view(-1)[0] += 1e-3  # one weight of 200,000
    save_file(weights, tmp_path / "other.safetensors")
    found = {
        make().fingerprint,
        make(image_size=48).fingerprint,
        make(interpolation="nearest").fingerprint,
        make(interpolation="lanczos").fingerprint,
        make(checkpoint=str(tmp_path / "other.safetensors")).fingerprint,
    }
    assert len(found) == 5


def test_the_same_weights_in_any_kind_of_file(make: Make, checkpoint: Path, tmp_path: Path) -> None:
    weights = load_file(checkpoint)
    classifier = {"fc.weight": torch.ones(3, 96), "fc.bias": torch.ones(3)}
    wrapped = {"state_dict": {f"module.{name}": value for name, value in weights.items()}}
    torch.save(weights, tmp_path / "plain.pth")
    torch.save({**wrapped, "epoch": 3}, tmp_path / "trained.pth")
    torch.save({**weights, **classifier}, tmp_path / "with-classifier.pth")
    (tmp_path / "hub").mkdir()
    save_file({**weights, **classifier}, tmp_path / "hub/model.safetensors")
    wanted = make().fingerprint
    for name in ("plain.pth", "trained.pth", "with-classifier.pth", "hub"):
        assert make(checkpoint=str(tmp_path / name)).fingerprint == wanted, name


def test_half_precision_weights_are_read(make: Make, checkpoint: Path, tmp_path: Path) -> None:
    weights = {
        name: value.half() if value.is_floating_point() else value
        for name, value in load_file(checkpoint).items()
    }
    save_file(weights, tmp_path / "half.safetensors")
    half = make(checkpoint=str(tmp_path / "half.safetensors"))
    np.testing.assert_allclose(half.embed(pixels(2)), make().embed(pixels(2)), atol=0.02)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.pth", None, "there is no checkpoint"),
        ("broken.safetensors", b"not a safetensors file", "is not a readable checkpoint"),
        ("broken.pth", b"not a torch file", "is not a readable checkpoint|holds more than weights"),
        ("empty.pth", b"", "is not a readable checkpoint|holds more than weights"),
    ],
)
def test_a_checkpoint_that_cannot_be_read(
    make: Make, tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BackboneError, match=said):
        make(checkpoint=str(tmp_path / name))


def test_a_checkpoint_that_holds_no_weights(make: Make, tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(BackboneError, match="no mapping of names to tensors"):
        make(checkpoint=str(tmp_path / "list.pth"))
    torch.save({"state_dict": {"x": "y"}}, tmp_path / "text.pth")
    with pytest.raises(BackboneError, match="no mapping of names to tensors"):
        make(checkpoint=str(tmp_path / "text.pth"))
    with pytest.raises(BackboneError, match=r"holds neither of model.safetensors"):
        make(checkpoint=str(tmp_path))


def test_a_checkpoint_with_code_in_it_is_not_run(make: Make, tmp_path: Path) -> None:
    torch.save({"x": Path("code")}, tmp_path / "code.pth")  # a class, not a tensor
    with pytest.raises(BackboneError, match="holds more than weights"):
        make(checkpoint=str(tmp_path / "code.pth"))


def test_a_checkpoint_that_does_not_fit(make: Make, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"does not fit test_convnext: .*\(--arch\)"):
        make(name="test_convnext")
    weights = load_file(checkpoint)
    first, second = list(weights)[:2]
    del weights[first]
    save_file(weights, tmp_path / "less.safetensors")
    with pytest.raises(BackboneError, match=rf"1 missing \({first}\)"):
        make(checkpoint=str(tmp_path / "less.safetensors"))
    weights = load_file(checkpoint)
    weights[second] = torch.zeros(2, 2)
    save_file({**weights, "more": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(BackboneError, match=r"unexpected \(more\), 1 of another shape"):
        make(checkpoint=str(tmp_path / "other.safetensors"))


def test_unknown_architecture_names_what_is_near(make: Make) -> None:
    with pytest.raises(BackboneError, match=r"no architecture 'resnet_18'; near it: .*resnet"):
        make(name="resnet_18")


def test_no_pretrained_weights_says_both_ways_out(
    make: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for name in ("test_byobnet", "convnext_atto_rms"):  # the second was never given weights
        with pytest.raises(BackboneError, match=r"reach the model hub once .* --checkpoint FILE"):
            make(checkpoint="", name=name)


def test_damaged_weights_stop_at_the_first_batch(
    make: Make, checkpoint: Path, tmp_path: Path
) -> None:
    weights = load_file(checkpoint)
    name = next(name for name in weights if name.endswith("weight"))
    weights[name].view(-1)[0] = torch.nan
    save_file(weights, tmp_path / "nan.safetensors")
    with pytest.raises(BackboneError, match="bottlenecks that are not finite"):
        make(checkpoint=str(tmp_path / "nan.safetensors")).embed(pixels(2))


def test_huge_features_are_clamped_to_float16(make: Make) -> None:
    backbone = make()
    with torch.no_grad():
        last = [m for m in backbone.network.modules() if isinstance(m, torch.nn.BatchNorm2d)][-1]
        last.weight.mul_(1e9)
    found = backbone.embed(pixels(2))
    assert np.abs(found).max() == np.finfo(np.float16).max


def test_a_device_by_name_or_the_best_there_is(make: Make) -> None:
    assert make(device="cpu").device == torch.device("cpu")
    assert make(device="auto").device.type in ("cpu", "cuda", "mps")


def test_settings_refuse_what_timm_cannot_do() -> None:
    with pytest.raises(ValueError, match="interpolation"):
        BackboneSettings.model_validate({"interpolation": "magic"})


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_checkpoint_that_is_overwritten_is_loaded_anew(
    tmp_path: Path, project: Project, checkpoint: Path, kind: str
) -> None:
    """In the process that has the old one loaded, without a new name or a restart."""
    path = tmp_path / "hub/model.safetensors"
    path.parent.mkdir()
    path.write_bytes(checkpoint.read_bytes())
    named = path if kind == "file" else path.parent
    backbone = project.settings.backbone.model_copy(update={"checkpoint": str(named)})
    project.settings = project.settings.model_copy(update={"backbone": backbone})
    before = project_backbone(project)
    assert project_backbone(project) is before
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("weight"))
    weights[name].view(-1)[0] += 1e-3
    save_file(weights, tmp_path / "new.safetensors")
    with path.open("r+b") as file:  # in place: the folder's own time stays
        file.write((tmp_path / "new.safetensors").read_bytes())
    assert project_backbone(project).fingerprint != before.fingerprint
