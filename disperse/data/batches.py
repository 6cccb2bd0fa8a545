"""Which samples a step sees: a pure function of (seed, step)."""

import functools
import re
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError, DataError, check_count, unknown
from ..plugins import known
from ..rng import stream
from .averaged import AVERAGED, averaged_set
from .digits import TRAIN_IMAGES, digits
from .idx import IDX_SETS, idx_set
from .images import IMAGE_SETS, image_set
from .latents import LATENT_SETS, LatentSet, latent_set
from .sets import ImageSet
from .vae import decoded

_BROUGHT: dict[str, Callable[[str], ImageSet]] = {
    **{name: functools.partial(image_set, name) for name in IMAGE_SETS},
    **{name: functools.partial(idx_set, name) for name in IDX_SETS},
}
DATASETS: dict[str, Callable[[str], ImageSet | LatentSet]] = {
    "digits": digits,
    **_BROUGHT,
    **{name: functools.partial(averaged_set, name, _BROUGHT[row.base]) for name, row in AVERAGED.items()},
    **{name: functools.partial(latent_set, name) for name in LATENT_SETS},
}
_TRAIN_IMAGES = {
    "digits": TRAIN_IMAGES,
    **{name: source.counts[0] * source.classes for name, source in IMAGE_SETS.items()},
    **{name: source.counts[0] for name, source in IDX_SETS.items()},
    **LATENT_SETS,
}
_TRAIN_IMAGES |= {name: _TRAIN_IMAGES[row.base] for name, row in AVERAGED.items()}


def dataset(
    name: str, *, train_images: int
) -> Callable[[Callable[[str], ImageSet | LatentSet]], Callable[[str], ImageSet | LatentSet]]:
    """Enter a data set: a decorator of a function split → images.

    Args:
        name: of it, without ``:`` and ``@``.
        train_images: how many images its train split has.

    Raises:
        ConfigError: the name is taken by another function, or is none.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise ConfigError(f"data set {name!r}: expected lower-case letters, digits and -")

    def enter(load: Callable[[str], ImageSet | LatentSet]) -> Callable[[str], ImageSet | LatentSet]:
        there = getattr(DATASETS.get(name, load), "__qualname__", None)
        if there != load.__qualname__:
            raise ConfigError(f"data set {name!r}: taken; choose another name")
        DATASETS[name], _TRAIN_IMAGES[name] = load, train_images
        return load

    return enter


def num_train_images(name: str) -> int:
    """How many images a data set is trained on, known without reading it: so figures need no data.

    Args:
        name: as of ``load_data``.

    Raises:
        ConfigError: unknown name.
    """
    base, count = base_name(name), name.partition(":")[2]
    if not known(base, _TRAIN_IMAGES):
        raise unknown("data", name, _TRAIN_IMAGES)
    return int(count or _TRAIN_IMAGES[base])


def base_name(name: str) -> str:
    """Of a data set named as for ``load_data``, without the part or content that is asked for."""
    return name.partition(":")[0].partition("@")[0]


def holds_latents(name: str) -> bool:
    """Whether a data set, named as for ``load_data``, holds latents of images."""
    return base_name(name) in LATENT_SETS


def load_data(name: str, split: str = "train") -> ImageSet | LatentSet:
    """Images, or latents of images, of a named data set and split.

    Args:
        name: of the data set; ``"digits:400"`` keeps 400 images of the train split, as many of each
            class. A smaller such set is part of a larger one; other splits stay whole.
            ``"cifar10@f35c81e2"`` accepts only the content whose SHA-256 begins so.
        split: ``"train"`` or ``"held-out"``.

    Raises:
        ConfigError: unknown name or split, or a count that can't be had.
        DataError: data that the user must bring are missing, damaged, or others than the name says.
    """
    base, colon, count = str(name).partition(":")
    base, at, content = base.partition("@")
    if not known(base, DATASETS):
        raise unknown("data", name, DATASETS)
    data = DATASETS[base](split)
    if at and not (content and data.sha256.startswith(content)):
        raise DataError(
            f"data = {name}: the images found are {base}@{data.sha256[:12]}; expected those of the name"
            if data.sha256
            else f"data = {name}: {base} comes with the packages and has no such mark; leave out @{content}"
        )
    if not colon or split != "train":
        return data
    return _balanced(data, base, count)


def _balanced(data: ImageSet | LatentSet, base: str, count: str) -> ImageSet | LatentSet:
    """``count`` images, as many of each class: those that come first in an order drawn once.

    The smallest class bounds how many; an averaged set gives the images that its base would.
    """
    members = [np.flatnonzero(data.labels.numpy() == label) for label in range(int(data.labels.max()) + 1)]
    most = min(map(len, members)) * len(members)
    if not count.isdecimal() or not 0 < int(count) <= most or int(count) % len(members):
        raise ConfigError(
            f"data = {base}:{count}: expected a multiple of the {len(members)} classes up to {most}"
        )
    each = int(count) // len(members)
    drawn = AVERAGED[base].base if base in AVERAGED else base
    chosen = [stream("subset", drawn, label).permutation(rows)[:each] for label, rows in enumerate(members)]
    index = torch.from_numpy(np.sort(np.concatenate(chosen)))
    return data.take(index)


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


def indices_of_steps(size: int, batch_size: int, seed: int, first: int, count: int) -> Tensor:
    """``batch_indices`` of ``count`` steps from ``first`` on, shape (count, b), int64; errors as there."""
    batch_indices(size, batch_size, seed, first)
    each = size // batch_size
    epochs = range(first // each, (first + count - 1) // each + 1)
    orders = np.concatenate([_order(size, seed, epoch)[: each * batch_size] for epoch in epochs])
    start = (first - epochs[0] * each) * batch_size
    rows = orders[start : start + count * batch_size].reshape(count, batch_size)
    return torch.from_numpy(rows.copy()).long()


def pictures(images: Tensor, data: str) -> Tensor:
    """Images of a data set as one looks at them, in [−1, 1]: latents decoded, others as they are.

    Args:
        images: (n, c, h, w), of the data set or samples like them.
        data: name of the data set.

    Raises:
        ConfigError, DataError: the autoencoder of latents is not there, or cannot be loaded.
    """
    return (decoded(images) if holds_latents(data) else images).clamp(-1, 1)
