"""Rows of all ranks that see each other, while no rank holds all their features.

Squared distances, products and their sums over dimensions add up over slices of the dimensions. So each
rank trades its rows, with all d dimensions, for all rows with its share of the dimensions
(``columns``), and the partial matrices, b×b, are summed over ranks (``total``). A loss function takes
part by its argument ``share_of``: how many dimensions there are in all, where ``z`` holds one rank's share
of them; None where it holds all.

Every backward pass here is the adjoint of its forward pass over all ranks. With the loss of all rows on
each rank, the *mean over ranks* of the gradients of the weights, which is what DistributedDataParallel
computes, is therefore the gradient of that loss in one process.
"""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from .. import distributed
from ..errors import ConfigError


class _Sum(torch.autograd.Function):
    """Sum over ranks; its adjoint is itself."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _Sum.apply(grads[0])


class _Trade(torch.autograd.Function):
    """Block s of rank r becomes block r of rank s, shape (ranks, ...); its adjoint is itself."""

    @staticmethod
    def forward(ctx: Any, blocks: Tensor) -> Tensor:
        received = torch.empty_like(blocks, memory_format=torch.contiguous_format)
        dist.all_to_all_single(received, blocks.contiguous())
        return received

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _Trade.apply(grads[0])


def needed(rows: int, local_batch: int | None) -> bool:
    """Whether some group of the batch has rows of several ranks, if each rank holds so many."""
    return distributed.size() > 1 and (local_batch is None or rows % local_batch != 0)


def columns(rows: Tensor) -> Tensor:
    """This rank's rows (b/N, d) → all rows of the N ranks with a share of the dimensions, (b, ⌈d/N⌉).

    Rows stand in the order of ranks. Where N does not divide d, dimensions of zeros fill up: they add
    nothing to a distance, and constant ones don't count in a covariance.
    """
    ranks = distributed.size()
    filled = F.pad(rows, (0, -rows.shape[1] % ranks))
    blocks = filled.unflatten(1, (ranks, -1)).transpose(0, 1)
    return _Trade.apply(blocks).flatten(0, 1)


def all_rows(values: Tensor) -> Tensor:
    """Entries of this rank's rows (b/N, ...) → those of all rows, (b, ...), in the order of ranks."""
    ranks = distributed.size()
    return _Trade.apply(values.expand(ranks, *values.shape)).flatten(0, 1)


def total(partial: Tensor, share_of: int | None) -> Tensor:
    """A sum over this rank's dimensions → the sum over all of them."""
    return partial if share_of is None else _Sum.apply(partial)


def largest(partial: Tensor, share_of: int | None) -> Tensor:
    """The largest over this rank's dimensions → the largest over all of them. No gradient."""
    return partial.detach() if share_of is None else distributed.gathered(partial).amax(dim=0)


def check_same_rows(rows: Tensor) -> None:
    """Refuse ranks that hold other numbers of rows or dimensions: the exchange would never end.

    Raises:
        ConfigError: on all ranks.
    """
    shape = torch.tensor(rows.shape, device=rows.device)
    shapes = distributed.gathered(shape).tolist()
    if any(found != shapes[0] for found in shapes):
        raise ConfigError(
            f"features: expected as many rows and dimensions on every rank, got {shapes}; "
            "drop the last incomplete batch"
        )
