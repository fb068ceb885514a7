"""One process or several: who I am, and sums over all of us.

Several processes are started by torch's own launcher (`torchrun`), which sets WORLD_SIZE and RANK.
`DistributedDataParallel` is not used: where a task has no label in the last of several accumulated
forwards, it keeps each process's own gradient and the copies drift apart. Here gradients are summed
in one message after the last backward, and a layer that had none anywhere still has none.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import os
from typing import Any

import torch
from torch import Tensor, distributed

from atlas.settings import BackboneSettings
from atlas.training.finetune.batches import Share


class Processes:
    """All processes of a fine-tune, seen from one of them.

    Attributes:
        share: which one this is, of how many.
    """

    def __init__(self, share: Share) -> None:
        self.share = share

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.share.rank == 0

    def any(self, flags: Sequence[bool], device: torch.device) -> list[bool]:
        """For each flag, whether it is true in some process; all must ask at the same time."""
        if self.share.world == 1:
            return list(flags)
        values = torch.tensor(flags, dtype=torch.int32, device=device)
        distributed.all_reduce(values, distributed.ReduceOp.MAX)
        return [bool(value) for value in values.tolist()]

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes of a tensor of the same shape in each."""
        if self.share.world > 1:
            distributed.all_reduce(values)
        return values

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Make each gradient the sum over all processes; None stays None where all have none."""
        if self.share.world == 1:
            return
        given = [p.grad is not None for p in parameters]
        parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        anywhere = self.any(given, parts[0].device)
        flat = self.sum(torch.cat([part.reshape(-1) for part in parts]))
        pieces = torch.split(flat, [part.numel() for part in parts])
        for parameter, there, summed in zip(parameters, anywhere, pieces, strict=True):
            # laid out in memory as the parameter is, which the fused AdamW takes for granted
            grad = torch.empty_like(parameter).copy_(summed.view_as(parameter)) if there else None
            parameter.grad = grad

    def from_first(self, value: Any) -> Any:
        """What the first process gives, in all of them; the others give anything."""
        if self.share.world == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    def wait(self) -> None:
        """Until all processes are here."""
        if self.share.world > 1:
            distributed.barrier()


@contextmanager
def join_processes(settings: BackboneSettings) -> Iterator[tuple[Processes, BackboneSettings]]:
    """Meet the other processes where `torchrun` started several.

    Yields:
        The processes, and the settings with this process's device.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes(Share()), settings
        return
    on_gpu = settings.device in ("auto", "cuda") and torch.cuda.is_available()
    if on_gpu:
        local = int(os.environ["LOCAL_RANK"])
        torch.cuda.set_device(local)
        settings = settings.model_copy(update={"device": f"cuda:{local}"})
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Processes(Share(distributed.get_rank(), world)), settings
    finally:
        distributed.destroy_process_group()
