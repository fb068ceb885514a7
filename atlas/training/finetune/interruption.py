"""What ends a forward or a backward before its time: a stop, or too little memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from atlas.errors import Stopped


def never() -> bool:
    """Does not stop."""
    return False


class Watch:
    """Lets a stop end a forward or a backward of a network between two layers.

    On a CPU a batch takes many seconds to go through, so that to ask between batches is too late.

    Args:
        network: its layers that have parameters are watched on the way there, and on the way back
            those that are trained.
    """

    def __init__(self, network: nn.Module) -> None:
        self._should_stop: Callable[[], bool] = never
        for layer in network.modules():
            own = list(layer.parameters(recurse=False))
            if own:
                layer.register_forward_pre_hook(self._ask)
            trained = [parameter for parameter in own if parameter.requires_grad]
            for parameter in trained[:1]:
                parameter.register_post_accumulate_grad_hook(self._ask)  # type: ignore[no-untyped-call]

    @contextmanager
    def asking(self, should_stop: Callable[[], bool]) -> Iterator[None]:
        """Within it the network raises `Stopped` once `should_stop()` says so.

        Args:
            should_stop: asked some hundred times in a step, so it should answer at once.
        """
        self._should_stop = should_stop
        try:
            yield
        finally:
            self._should_stop = never

    def _ask(self, *_: object) -> None:
        if self._should_stop():
            raise Stopped("stopped between two layers")


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says with it that memory ran out, a GPU's or the machine's own."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return "can't allocate memory" in str(error)  # on a CPU torch has no kind of its own for it
