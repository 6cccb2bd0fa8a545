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

    The samples of all epochs stand in one row, each epoch in an order of its own; step k reads
    positions k·b to (k+1)·b − 1. So each epoch shows every sample once, and nothing is dropped.

    Raises:
        ConfigError: an empty data set, or a batch that would show a sample twice.
    """
    check_count("batch_size", batch_size, 1)
    check_count("step", step, 0)
    if batch_size > size:
        raise ConfigError(f"batch_size = {batch_size}: must be from 1 to the {size} samples there are")
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // size
    picks = [_order(size, seed, int(epoch))[positions[epochs == epoch] % size] for epoch in np.unique(epochs)]
    return torch.from_numpy(np.concatenate(picks)).long()
