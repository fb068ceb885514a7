"""The network and the head as one module: what is trained, how fast, and in which mode."""

from copy import deepcopy

from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from timm.scheduler import CosineLRScheduler
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from atlas.backbone import Backbone
from atlas.errors import SettingsError
from atlas.heads import Head
from atlas.settings import FinetuneSettings


class Learner(nn.Module):
    """Pictures → standardised bottlenecks; the head goes along for its parameters.

    Attributes:
        backbone: its network is trained in place.
        network: of the backbone.
        head: a copy of the one given, on the backbone's device.

    Raises:
        SettingsError: `finetune.unfreeze_from` names no layer.
    """

    def __init__(self, backbone: Backbone, head: Head, settings: FinetuneSettings) -> None:
        super().__init__()
        self.backbone = backbone
        self.network = backbone.network
        self.head = deepcopy(head).to(backbone.device)
        self.head.l2 = settings.head_l2  # its own is for features that cannot change
        self.settings = settings
        self.head.requires_grad_(True)
        unfreeze(self.network, settings.unfreeze_from)
        self.autocast = settings.precision == "auto" and has_bfloat16(backbone.device)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.backbone.device

    def trained(self) -> list[nn.Parameter]:
        """The parameters that are not frozen."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def train(self, mode: bool = True) -> "Learner":
        """Training mode, but for batch norms that keep their statistics.

        Those are all where `finetune.batch_norm` is "frozen" (what they scale and shift by is
        trained all the same), and always those of frozen layers.
        """
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                frozen = any(not parameter.requires_grad for parameter in module.parameters())
                if frozen or self.settings.batch_norm == "frozen":
                    module.eval()
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, S, S, 3) uint8 → (N, D) float32; the network in bfloat16 where there is hardware."""
        batch = pixels.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            bottlenecks = self.backbone.forward(batch)
        return self.head.standardise(bottlenecks.float())


def has_bfloat16(device: torch.device) -> bool:
    """Whether it is a GPU that computes in bfloat16 itself; those that emulate it are slower."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def unfreeze(network: nn.Module, first: str) -> None:
    """Train every layer from the one named on, in timm's order; all where `first` is empty.

    Raises:
        SettingsError: no layer of that name.
    """
    network.requires_grad_(True)
    if not first:
        return
    order = group_parameters(network, network.group_matcher(), reverse=True)  # type: ignore[operator]
    found = [place for name, place in order.items() if f"{name}.".startswith(f"{first}.")]
    if not found:
        layers = dict.fromkeys(name.rpartition(".")[0] for name in order)
        raise SettingsError(
            f"finetune.unfreeze_from = {first!r} is no layer of the network; it is one of "
            f"{', '.join(layers)}, or what such a name begins with up to a dot"
        )
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(order[name] >= min(found))


def new_optimizer(learner: Learner) -> torch.optim.AdamW:
    """AdamW; each layer has `layer_decay` times the learning rate of the next, the head all of it.

    The head's penalty is part of the loss, so its weights do not decay here.
    """
    settings, network = learner.settings, learner.network
    exempt: set[str] = getattr(network, "no_weight_decay", set)()
    groups = param_groups_layer_decay(
        network,
        weight_decay=settings.weight_decay,
        no_weight_decay_list=exempt,
        layer_decay=settings.layer_decay,
    )
    for group in groups:
        group["lr_scale"] *= settings.layer_decay  # the head is the last layer, after timm's
    head = {"params": list(learner.head.parameters()), "weight_decay": 0.0, "lr_scale": 1.0}
    # fused: on a CPU one pass over a layer instead of a dozen
    return torch.optim.AdamW([*groups, head], lr=settings.learning_rate, fused=True)


def new_schedule(optimizer: torch.optim.Optimizer, settings: FinetuneSettings) -> CosineLRScheduler:
    """Warm-up, then a cosine to 0. Timm's: torch's own schedulers do not know `lr_scale`."""
    warmup = round(settings.steps * settings.warmup)
    return CosineLRScheduler(
        optimizer,
        t_initial=settings.steps,
        warmup_t=warmup,
        warmup_lr_init=settings.learning_rate / (warmup + 1),
    )
