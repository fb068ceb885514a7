"""Stages from coarse to fine: each sees the hidden features and what the stage before it said."""

from collections.abc import Collection

from torch import Tensor, nn
from torch.nn import functional as F

from atlas.heads import Head
from atlas.heads._layers import ByTask, seed_weights
from atlas.taxonomy import Taxonomy


class Cascade(Head):
    """A shared hidden layer; the stage of a level is fed by the stage of the level above it.

    After Dai et al., 1512.04412: trained end to end, so that a label of a fine level also trains
    the coarse stages. Links start at zero, where this is `SharedTrunk`. Attributes and quantities
    have no order among them, so they are stages of their own.

    Args:
        features: D.
        taxonomy: what is predicted.
        l2: weight penalty.
        width: size of the hidden layer.
        seed: of the initial weights.
    """

    max_iterations = 25

    def __init__(
        self, features: int, taxonomy: Taxonomy, *, l2: float = 0.1, width: int = 64, seed: int = 0
    ) -> None:
        super().__init__(features, taxonomy, l2=l2)
        self.trunk = nn.Linear(features, width)
        self.tasks = ByTask()
        before = 0
        for task, outputs in taxonomy.outputs.items():
            in_chain = task in taxonomy.levels
            self.tasks[task] = _Stage(width, outputs, before if in_chain else 0)
            before = outputs
        seed_weights(self, seed)
        for name, parameter in self.named_parameters():
            if name.endswith("link.weight"):
                nn.init.zeros_(parameter)

    def scores(self, x: Tensor, tasks: Collection[str] | None = None) -> dict[str, Tensor]:
        """See `Head`; a stage that was not asked for still feeds the next."""
        hidden = F.gelu(self.trunk(x))
        result: dict[str, Tensor] = {}
        before: Tensor | None = None
        for task, stage in self.tasks.items():
            result[task] = stage(hidden, before)
            before = result[task]
        return {task: own for task, own in result.items() if tasks is None or task in tasks}

    def shared(self) -> tuple[Tensor, ...]:
        """See `Head`."""
        return (self.trunk.weight,)


class _Stage(nn.Module):
    """(N, width) features and the (N, before) logits of the stage before → (N, outputs)."""

    def __init__(self, width: int, outputs: int, before: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, outputs)
        self.link = nn.Linear(before, outputs, bias=False) if before else None

    def forward(self, hidden: Tensor, before: Tensor | None) -> Tensor:
        scores: Tensor = self.out(hidden)
        if self.link is None or before is None:
            return scores
        # probabilities, since logits grow without bound as the stage before becomes sure
        linked: Tensor = self.link(F.softmax(before, dim=1))
        return scores + linked


HEAD = Cascade
