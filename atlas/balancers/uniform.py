"""Every task counts the same: the baseline that is hard to beat."""

from collections.abc import Mapping

from torch import Tensor

from atlas.balancers import Balancer, total


class Uniform(Balancer):
    """The plain sum, which matches more complex ways when it is tuned (Kurin et al. 2201.04122)."""

    def forward(self, losses: Mapping[str, Tensor]) -> Tensor:
        """See `Balancer`."""
        return total(list(losses.values()))

    def weights(self) -> dict[str, float]:
        """See `Balancer`."""
        return dict.fromkeys(self.tasks, 1.0)


BALANCER = Uniform
