"""Processes that work on one run together ("ranks"), as torchrun starts them, one per device.

``torchrun --standalone --nproc-per-node 2 -m disperse train ...``

Alone, that is without a process group, there is one rank, and nothing here copies or waits. What is
called on one rank must be called on all of them, in the same order.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .device import resolve_device
from .errors import ConfigError, DisperseError, RunFailedError

T = TypeVar("T")


def size() -> int:
    """Number of ranks; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0; rank 0 alone writes files."""
    return dist.get_rank() if size() > 1 else 0


def started_ranks() -> int:
    """How many processes torchrun, or what stands in its place, says that it started; 1 without it."""
    text = os.environ.get("WORLD_SIZE", "1") if "RANK" in os.environ else "1"
    return int(text) if text.isdecimal() else 1


def rows(count: int) -> slice:
    """This rank's equal share of ``count`` consecutive rows of a batch.

    Raises:
        ConfigError: there is no equal share.
    """
    share, rest = divmod(count, size())
    if rest:
        raise ConfigError(
            f"batch_size = {count}: not divisible by the {size()} ranks; choose a multiple of {size()}, "
            "or start another number of processes"
        )
    return slice(rank() * share, (rank() + 1) * share)


def gathered(values: Tensor) -> Tensor:
    """The tensors of all ranks, in their order: shape (...) → (number of ranks, ...). No gradient."""
    if size() == 1:
        return values.detach()[None]
    found = values.new_empty(size(), *values.shape)
    dist.all_gather(list(found.unbind()), values.detach().contiguous())
    return found


def gathered_objects(value: T) -> list[T]:
    """The objects of all ranks, in their order; pickled, so for what is small and rare."""
    if size() == 1:
        return [value]
    found: list[Any] = [None] * size()
    dist.all_gather_object(found, value)
    return found


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What fails on one rank fails on all, with the same error: that of the lowest rank that has one.

    For what only some ranks do, such as writing a file: the others wait at the end of the block.

    Raises:
        DisperseError: of this rank or of another, with ``on_all_ranks`` set.
    """
    if size() == 1:
        yield
        return
    error = None
    try:
        yield
    except DisperseError as caught:
        error = caught
    first = next((found for found in gathered_objects(error) if found is not None), None)
    if first is not None:
        first.on_all_ranks = True
        raise first


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over ranks, all of them in one message."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if size() == 1 or not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def rank_device(name: str) -> torch.device:
    """As ``resolve_device``; with several ranks the name must leave each its own device.

    Raises:
        ConfigError: the ranks would share one, there are too few, or it can't exchange.
    """
    device = resolve_device(name)
    if size() == 1:
        return device
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f'device = "{name}": {device.type} has no exchange between ranks; use cpu')
    if device.type == "cuda" and device.index is not None:
        raise ConfigError(f'device = "{name}": the {size()} ranks would share it; use cuda')
    local = int(os.environ.get("LOCAL_RANK", 0))
    if device.type == "cuda" and local >= torch.cuda.device_count():
        raise ConfigError(
            f'device = "{name}": rank {rank()} has no GPU of its own, this machine has '
            f"{torch.cuda.device_count()}; start fewer processes on it, or use cpu"
        )
    return device


@contextlib.contextmanager
def process_group() -> Iterator[None]:
    """Join the other processes that torchrun started, each with its own GPU; alone, do nothing.

    Raises:
        ConfigError: the environment names other ranks, but they can't be met.
        RunFailedError: another rank died.
    """
    if started_ranks() == 1 or size() > 1:
        yield
        return
    local = int(os.environ.get("LOCAL_RANK", 0))
    if torch.cuda.is_available() and local < torch.cuda.device_count():
        torch.cuda.set_device(local)
    try:
        dist.init_process_group()  # gloo for tensors on the CPU, NCCL for those on GPUs
    except (ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"RANK and WORLD_SIZE = {started_ranks()} are set, but the ranks can't meet ({reason}); "
            "start with torchrun, or unset them"
        ) from None
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, DisperseError) or not _is_lost_contact(error):
            raise
        raise RunFailedError(
            f"rank {rank()}: lost contact with another rank ({str(error).splitlines()[0]}); "
            "type the same command to go on from the last checkpoint"
        ) from None
    finally:
        dist.destroy_process_group()


def _is_lost_contact(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or any(
        word in str(error) for word in ("gloo", "NCCL", "Connection closed", "Connection reset")
    )
