"""The only door to timm: pixels → bottleneck, where to cut, and a fingerprint of both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from safetensors import SafetensorError
from safetensors.torch import load_file
import timm
from timm.data import resolve_model_data_config
import torch
from torch import nn

from atlas.errors import BackboneError
from atlas.settings import BackboneSettings

CHECKPOINT_NAMES = ("model.safetensors", "pytorch_model.bin")
POOLED = "pooled"  # the cut at the input of timm's classifier


@dataclass(frozen=True)
class Cut:
    """A place where a network can be cut.

    Attributes:
        name: timm's name of the last module before the cut, or `POOLED`.
        features: D of its bottlenecks.
        index: timm's number of the intermediate feature map; None for `POOLED`.
    """

    name: str
    features: int
    index: int | None = None


class Backbone:
    """A frozen pretrained network, cut before its classifier or further up.

    Above the classifier's input a bottleneck is the mean of the feature map over all positions.

    Attributes:
        cuts: where it can be cut, shallow to deep; the last is `POOLED`.
        cut: where it is cut.
        features: D, the length of a bottleneck.
        image_size: side in pixels of the square that the network sees.

    Raises:
        BackboneError: unknown architecture, no weights to be had, weights that do not fit, or no
            such cut.
    """

    def __init__(self, settings: BackboneSettings) -> None:
        self.settings = settings
        self.device = torch.device(_device(settings.device))
        self.network = _load(settings).eval().requires_grad_(False)
        config = resolve_model_data_config(self.network)
        self.image_size = settings.image_size or int(config["input_size"][1])
        self.interpolation = settings.interpolation or str(config["interpolation"])
        self.mean = tuple(float(value) for value in config["mean"])
        self.std = tuple(float(value) for value in config["std"])
        self.cuts = _cuts(self.network)
        self.cut = _find_cut(self.cuts, settings)
        self.features = self.cut.features
        self.network.to(self.device).to(memory_format=torch.channels_last)
        self._shift = torch.tensor(self.mean, device=self.device) * 255
        self._scale = torch.tensor(self.std, device=self.device) * 255

    @cached_property
    def fingerprint(self) -> str:
        """24 hex digits that change with the weights, the preprocessing or the cut."""
        digest = hashlib.sha256()
        facts = {
            "arch": self.settings.name,
            "cut": self.cut.name,
            "image_size": self.image_size,
            "interpolation": self.interpolation,
            "mean": self.mean,
            "std": self.std,
        }
        digest.update(json.dumps(facts, sort_keys=True).encode())
        for name, tensor in sorted(self.weights().items()):
            digest.update(name.encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()[:24]

    def weights(self) -> dict[str, torch.Tensor]:
        """The network's tensors, contiguous and on the CPU, by timm's names."""
        state = self.network.state_dict()
        return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}

    def prepare(self, image: PilImage.Image) -> NDArray[np.uint8]:
        """An RGB picture as the network sees it: (S, S, 3) uint8, squashed to a square."""
        size = (self.image_size, self.image_size)
        if image.size != size:
            image = image.resize(size, _PIL_FILTERS[self.interpolation])
        return np.asarray(image, dtype=np.uint8)

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
        """(N, S, S, 3) uint8 → (N, D) float16.

        Raises:
            BackboneError: a bottleneck is not finite.
        """
        return self.embed_at((self.cut,), pixels)

    @torch.inference_mode()
    def embed_at(self, cuts: Sequence[Cut], pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
        """`embed` at several cuts in one pass, their bottlenecks side by side.

        Args:
            cuts: some of the network's, shallow to deep.
            pixels: (N, S, S, 3) uint8.

        Returns:
            (N, sum of the cuts' features) float16.

        Raises:
            BackboneError: a bottleneck is not finite.
        """
        batch = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float()
        features = torch.cat(self._forward_at(cuts, batch), dim=1).float()
        limit = float(torch.finfo(torch.float16).max)
        if not bool(torch.isfinite(features).all()):
            raise BackboneError(
                f"{self.settings.name} gives bottlenecks that are not finite; its weights are "
                "damaged or were not made for this preprocessing"
            )
        result: NDArray[np.float16] = features.clamp(-limit, limit).half().cpu().numpy()
        return result

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) float in [0, 255] → (N, D), with gradients where they are enabled."""
        return self._forward_at((self.cut,), batch)[0]

    def _forward_at(self, cuts: Sequence[Cut], batch: torch.Tensor) -> list[torch.Tensor]:
        """(N, 3, S, S) → (N, D) for each cut; what lies behind the deepest is not computed."""
        batch = self._normalised(batch)
        indices = [cut.index for cut in cuts if cut.index is not None]
        if not indices:
            return [self.network(batch)]
        to_the_end = len(indices) < len(cuts)
        found = self.network.forward_intermediates(  # type: ignore[operator]
            batch, indices=indices, stop_early=not to_the_end, intermediates_only=not to_the_end
        )
        last, maps = found if to_the_end else (None, found)
        pooled = [one.mean(dim=(2, 3)) for one in maps]
        if to_the_end:
            pooled.append(self.network.forward_head(last))  # type: ignore[operator]
        return pooled

    def _normalised(self, batch: torch.Tensor) -> torch.Tensor:
        """(N, 3, S, S) in [0, 255] → the same as the network wants it, channels last."""
        # a row at a time: three channels at a time take a CPU up to twice as long
        rows = batch.permute(0, 2, 3, 1).flatten(2)  # (N, S, S · 3)
        width = batch.shape[3]
        rows = (rows - self._shift.repeat(width)) / self._scale.repeat(width)
        return rows.view(len(batch), -1, width, 3).permute(0, 3, 1, 2)


_PIL_FILTERS = {
    "nearest": PilImage.Resampling.NEAREST,
    "bilinear": PilImage.Resampling.BILINEAR,
    "bicubic": PilImage.Resampling.BICUBIC,
    "lanczos": PilImage.Resampling.LANCZOS,
    "random": PilImage.Resampling.BILINEAR,
}


def _device(name: str) -> str:
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _cuts(network: nn.Module) -> tuple[Cut, ...]:
    # timm: `num_features` is the width of the last map, which some classifiers widen once more
    width = getattr(network, "head_hidden_size", None) or network.num_features
    maps: Sequence[Mapping[str, Any]] = ()
    if hasattr(network, "forward_intermediates"):
        maps = network.feature_info  # type: ignore[assignment]
    inner = [Cut(str(one["module"]), int(one["num_chs"]), i) for i, one in enumerate(maps)]
    return (*inner, Cut(POOLED, int(width)))  # type: ignore[arg-type]


def _find_cut(cuts: Sequence[Cut], settings: BackboneSettings) -> Cut:
    for cut in cuts:
        if cut.name == settings.cut:
            return cut
    raise BackboneError(
        f"{settings.name} cannot be cut at {settings.cut!r}; set backbone.cut to one of: "
        f"{', '.join(cut.name for cut in cuts)}"
    )


def _load(settings: BackboneSettings) -> nn.Module:
    if settings.checkpoint:
        network = _create(settings.name, pretrained=False)
        state = _read_checkpoint(Path(settings.checkpoint).expanduser())
        _fit(network, state, settings)
        return network
    return _create(settings.name, pretrained=True)


def _create(name: str, *, pretrained: bool) -> nn.Module:
    if name.partition(".")[0] not in timm.list_models(include_tags=False):
        near = timm.list_models(f"*{name.partition('_')[0]}*")[:6]
        raise BackboneError(
            f"timm has no architecture {name!r}; "
            + (f"near it: {', '.join(near)}" if near else "see timm.list_models()")
        )
    try:
        network: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=0)
    except Exception as error:  # the hub client raises a dozen kinds, none of them ours
        if not pretrained:
            raise
        raise BackboneError(
            f"no pretrained weights for {name!r} ({type(error).__name__}: {_first_line(error)}). "
            "Either let this machine reach the model hub once (timm caches what it downloads), or "
            "give local weights with --checkpoint FILE --arch NAME"
        ) from error
    return network


def _read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    if path.is_dir():
        files = [path / name for name in CHECKPOINT_NAMES if (path / name).is_file()]
        if not files:
            raise BackboneError(f"{path} holds neither of {', '.join(CHECKPOINT_NAMES)}")
        path = files[0]
    if not path.is_file():
        raise BackboneError(f"there is no checkpoint {path}; --checkpoint names a file or folder")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, OSError, ValueError, EOFError) as error:
        raise BackboneError(f"{path} is not a readable checkpoint: {_first_line(error)}") from error
    except Exception as error:  # pickle's own errors, several unrelated classes
        raise BackboneError(f"{path} holds more than weights: {_first_line(error)}") from error
    return _state_dict(content, path)


def _state_dict(content: Any, path: Path) -> dict[str, torch.Tensor]:
    for key in ("state_dict_ema", "state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(
        isinstance(value, torch.Tensor) for value in content.values()
    ):
        raise BackboneError(f"{path} holds no mapping of names to tensors")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _fit(network: nn.Module, state: dict[str, torch.Tensor], settings: BackboneSettings) -> None:
    """Load weights, leaving out only the classifier that was cut off."""
    own = network.state_dict()
    classifier = tuple(f"{name}." for name in _classifier_names(network))
    state = {
        name: tensor
        for name, tensor in state.items()
        if name in own or not name.startswith(classifier)
    }
    wrong = [
        f"{name}: {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    problems = {
        "missing": sorted(set(own) - set(state)),
        "unexpected": sorted(set(state) - set(own)),
        "of another shape": wrong,
    }
    said = [f"{len(names)} {kind} ({names[0]})" for kind, names in problems.items() if names]
    if said:
        raise BackboneError(
            f"{settings.checkpoint} does not fit {settings.name}: tensors {', '.join(said)}; "
            "give the architecture it was trained with (--arch)"
        )
    network.load_state_dict(state)


def _classifier_names(network: nn.Module) -> Sequence[str]:
    names = network.pretrained_cfg.get("classifier", "head")  # type: ignore[union-attr,operator]
    return (names,) if isinstance(names, str) else tuple(names)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:200]
