"""Per-level heads over one shared trunk, reconciled along the taxonomy."""

from collections.abc import Collection

from torch import Tensor, nn
from torch.nn import functional as F

from atlas.heads import Head
from atlas.heads._layers import ByTask, seed_weights
from atlas.taxonomy import Taxonomy


class SharedTrunk(Head):
    """A hidden layer that all tasks share, and a linear head a task.

    Each level has its own softmax and its own loss; `Head.reconciled` makes them nest.

    Args:
        features: D.
        taxonomy: what is predicted.
        l2: weight penalty.
        width: size of the hidden layer.
        seed: of the trunk's initial weights.
    """

    max_iterations = 25

    def __init__(
        self, features: int, taxonomy: Taxonomy, *, l2: float = 0.1, width: int = 64, seed: int = 0
    ) -> None:
        super().__init__(features, taxonomy, l2=l2)
        self.trunk = nn.Linear(features, width)
        self.tasks = ByTask(
            {task: nn.Linear(width, outputs) for task, outputs in taxonomy.outputs.items()}
        )
        seed_weights(self, seed)

    def scores(self, x: Tensor, tasks: Collection[str] | None = None) -> dict[str, Tensor]:
        """See `Head`."""
        hidden = F.gelu(self.trunk(x))
        return {task: layer(hidden) for task, layer in self.own_layers(tasks).items()}

    def shared(self) -> tuple[Tensor, ...]:
        """See `Head`."""
        return (self.trunk.weight,)


HEAD = SharedTrunk
