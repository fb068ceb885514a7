"""WRN-28-2 (Zagoruyko and Komodakis, 1605.07146), which timm lacks; importing it registers it."""

from typing import Any

from timm.models import register_model
from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (16, 32, 64, 128)
BLOCKS = 4  # a stage: (28 − 4) / 6
SLOPE = 0.1  # of the leaky ReLU, as in UDA's code
CONFIG = {
    "input_size": (3, 32, 32),
    "interpolation": "bilinear",
    "crop_pct": 1.0,
    "mean": (0.4914, 0.4822, 0.4465),
    "std": (0.2471, 0.2435, 0.2616),
    "classifier": "head",
}


class Block(nn.Module):
    """Norm, ReLU and 3×3 convolution, twice; a shortcut that changes shape reads the first ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        changes = inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, outputs, H / stride, W / stride)."""
        active = F.leaky_relu(self.norm1(x), SLOPE)
        beside = x if self.shortcut is None else self.shortcut(active)
        inner = F.leaky_relu(self.norm2(self.conv1(active)), SLOPE)
        result: Tensor = beside + self.conv2(inner)
        return result


class WideResNet(nn.Module):
    """(N, 3, 32, 32) → (N, 128), without a classifier."""

    num_features = WIDTHS[-1]

    def __init__(self) -> None:
        super().__init__()
        self.pretrained_cfg = CONFIG
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        blocks = []
        for stage, (inputs, outputs) in enumerate(zip(WIDTHS, WIDTHS[1:], strict=False)):
            blocks.append(Block(inputs, outputs, stride=1 if stage == 0 else 2))
            blocks += [Block(outputs, outputs, stride=1) for _ in range(BLOCKS - 1)]
        self.blocks = nn.Sequential(*blocks)
        self.norm = nn.BatchNorm2d(WIDTHS[-1])
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="leaky_relu")

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Timm's question how layers follow each other."""
        return {"stem": r"^stem", "blocks": [(r"^blocks\.(\d+)", None), (r"^norm", (99999,))]}

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        features: Tensor = F.leaky_relu(self.norm(self.blocks(self.stem(x))), SLOPE).mean(
            dim=(2, 3)
        )
        return features


@register_model
def wrn_28_2(pretrained: bool = False, **_: Any) -> WideResNet:
    """Random weights; there are no others."""
    return WideResNet()
