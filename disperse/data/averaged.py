"""Smaller editions of image sets: each f×f block of pixels averaged to one.

``y[c, i, j] = round(mean of x[c, f·i : f·(i + 1), f·j : f·(j + 1)])``, halves to the even number, of the
values as they are stored: ``cifar16`` is CIFAR-10 as (3, 16, 16). They stay uint8: at most half a level
(0.004 of −1..1) from the mean, in a quarter of the memory of float32, and read as those of every other set.
Nothing is written to the disk: all of CIFAR-10 takes a second.

A subset such as ``cifar16:1000`` holds the images of ``cifar10:1000``.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from .sets import SPLITS, ImageSet, content_digest

_ROWS = 4096  # averaged together: float32 of the whole set would be four times the set


@dataclass(frozen=True)
class Averaged:
    """What a set is made from.

    Attributes:
        base: name of the set with larger images, uint8.
        factor: side of the blocks, f; divides their height and width.
    """

    base: str
    factor: int


AVERAGED = {"cifar16": Averaged("cifar10", 2)}


def averaged_set(name: str, load: Callable[[str], ImageSet], split: str) -> ImageSet:
    """Images of one split, uint8, in memory, in the order of the base.

    Args:
        name: a row of ``AVERAGED``.
        load: what gives a split of its base.
        split: of both, alike.

    Raises:
        DataError, ConfigError: as ``load`` does.
    """
    return _splits(name, load, load(split).sha256)[split]


@functools.lru_cache(maxsize=2)
def _splits(name: str, load: Callable[[str], ImageSet], content: str) -> dict[str, ImageSet]:
    """Both splits, since their digest is of both; made anew when ``content``, the base's digest, changes."""
    tensors: dict[str, Tensor] = {}
    for split in SPLITS:
        base = load(split)
        tensors[f"{split}.images"] = averaged(base.images, AVERAGED[name].factor)
        tensors[f"{split}.labels"] = base.labels
    mark = content_digest(tensors)
    return {each: ImageSet(tensors[f"{each}.images"], tensors[f"{each}.labels"], mark) for each in SPLITS}


def averaged(images: Tensor, factor: int) -> Tensor:
    """Images (n, c, h, w), uint8, as (n, c, h/f, w/f), uint8: exact means, rounded."""
    means = [avg_pool2d(part.float(), factor).round().to(torch.uint8) for part in images.split(_ROWS)]
    return torch.cat(means)
