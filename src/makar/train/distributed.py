"""Data parallelism without a wrapper: gradient sums and counts are added up across processes, in buckets.

Sharding large models (FSDP2 over `family.blocks`) will stand at this seam; today every process holds the whole net.
"""

import atexit
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

BUCKET = 2**23  # elements: large enough for bandwidth, small beside the model


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Args:
        rank: This one, from 0. Rank 0 writes.
        size: How many.
    """

    rank: int = 0
    size: int = 1

    def share(self, rows: int) -> range:
        """This process's contiguous rows of a batch."""
        return range(rows * self.rank // self.size, rows * (self.rank + 1) // self.size)

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Add tensors up across processes, in place."""
        if self.size == 1:
            return
        for bucket in buckets(tensors):
            flat = torch.cat([t.reshape(-1) for t in bucket])
            dist.all_reduce(flat)
            for tensor, piece in zip(bucket, flat.split([t.numel() for t in bucket]), strict=True):
                tensor.copy_(piece.view_as(tensor))

    def agree(self, value: Any) -> Any:
        """Rank 0's value, everywhere; others wait for it."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    @contextmanager
    def first(self) -> Generator[None]:
        """Rank 0 goes first and the others wait: what it fetches or makes, they find."""
        if self.rank > 0:
            self.agree(None)
        yield
        if self.rank == 0:
            self.agree(None)

    def equalize(self, tensors: Sequence[Tensor]) -> None:
        """Give every process rank 0's tensors."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor.detach(), src=0)


def buckets(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    """Cut a list of tensors into runs of one dtype, on one device, and of about `BUCKET` elements."""
    found: list[list[Tensor]] = []
    room = 0
    for tensor in tensors:
        kind = (tensor.dtype, tensor.device)
        if not found or room < tensor.numel() or (found[-1][0].dtype, found[-1][0].device) != kind:
            found.append([])
            room = BUCKET
        found[-1].append(tensor)
        room -= tensor.numel()
    return found


def join() -> World:
    """Join the processes that torchrun started; alone otherwise.

    The group lasts as long as the process: a recipe of several stages trains several times.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return World()
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"  # rewards are added up on the CPU
        dist.init_process_group(backend, timeout=timedelta(hours=2))  # a look at the model on rank 0 may take long
        atexit.register(dist.destroy_process_group)
    return World(dist.get_rank(), dist.get_world_size())
