"""Which samples a step sees: a pure function of (seed, step)."""

import functools

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError, check_count, unknown
from ..rng import stream
from .digits import ImageSet, digits

DATASETS = {"digits": digits}


def load_data(name: str, split: str = "train") -> ImageSet:
    """Images of a named data set and split.

    Raises:
        ConfigError: unknown name or split.
    """
    if name not in DATASETS:
        raise unknown("data", name, DATASETS)
    return DATASETS[name](split)


@functools.lru_cache(maxsize=4)
def _order(size: int, seed: int, epoch: int) -> np.ndarray:
    return stream("order", seed, epoch).permutation(size)


def batch_indices(size: int, batch_size: int, seed: int, step: int) -> Tensor:
    """Indices of the samples of one step, shape (b,), int64.

    An epoch is ⌊n/b⌋ steps, in an order of its own; the n mod b samples left over are others in each
    epoch. So no batch holds a sample twice, which a batch loss would see as a pair at distance 0.

    Raises:
        ConfigError: an empty data set, or a batch that would show a sample twice.
    """
    check_count("batch_size", batch_size, 1)
    check_count("step", step, 0)
    if batch_size > size:
        raise ConfigError(f"batch_size = {batch_size}: must be from 1 to the {size} samples there are")
    epoch, position = divmod(step, size // batch_size)
    first = position * batch_size
    return torch.from_numpy(_order(size, seed, epoch)[first : first + batch_size].copy()).long()
