"""What each feature space tells apart: real images from the same images blurred, or with less variety.

A distance that is no larger for a spoiled set than for fresh real images cannot judge a model that spoils its
samples in that way. ``spoiled_distances`` measures this on train images, which no evaluation compares with.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..rng import stream
from .features import read_features
from .floors import pool_features, real_distance, reference
from .frechet import Array, Estimate, fit_gaussian, frechet_distance
from .images import train_pool

KERNEL = (0.25, 0.5, 0.25)  # of the blur, along each side
STYLE_SHARE = 0.25  # of a class that is nearest to one of its images, in pixels
REPEATS = 5


@dataclass(frozen=True)
class Separation:
    """Distances in one space.

    Attributes:
        real: of fresh real images, with the interval of 20 draws: the floor.
        blurred: of the same number of blurred images.
        class_missing: of images of all classes but one; the smallest over which one.
        one_style: of images drawn, with repeats, from the quarter of each class nearest to one image of it.
        quarter: of images drawn so from a random quarter of each class: what repeats alone do.
    """

    real: Estimate
    blurred: float
    class_missing: float
    one_style: float
    quarter: float

    @property
    def beyond(self) -> dict[str, bool]:
        """Whether each spoiled set lies beyond the floor, and one style beyond a random quarter."""
        return {
            "blurred": self.blurred > self.real.high,
            "class_missing": self.class_missing > self.real.high,
            "one_style": self.one_style > max(self.quarter, self.real.high),
        }


def blurred(images: Tensor) -> Tensor:
    """Images (n, c, h, w) averaged with their neighbours: weights ¼, ½, ¼ along each side."""
    row = torch.tensor(KERNEL)
    kernel = (row[:, None] * row).expand(images.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), kernel, groups=images.shape[1])


def spoiled_distances(data: str, space: str, num_samples: int, split: str = "held-out") -> Separation:
    """Distances of real and of spoiled train images to the real images of a split.

    Args:
        data: name of a data set with labels.
        space: feature space.
        num_samples: images of each set, balanced over the classes that are there.
        split: that they are compared with.

    Raises:
        ConfigError: as ``real_distance``.
    """
    train, against = train_pool(data), reference(data, split, space)
    labels, features = train.labels.numpy(), pool_features(data, space)
    classes = int(labels.max()) + 1

    def score(rows: Array) -> float:
        return frechet_distance(fit_gaussian(features[rows]), against)

    blurs = []
    for repeat in range(REPEATS):
        rows = _drawn(labels, range(classes), num_samples, "separation", repeat)
        images = blurred(train.read(torch.from_numpy(rows)))
        found = read_features(images, space, data=data).double().numpy()
        blurs.append(frechet_distance(fit_gaussian(found), against))
    missing = [
        score(_drawn(labels, [c for c in range(classes) if c != gone], num_samples, "missing", gone))
        for gone in range(classes)
    ]

    def styles(alike: bool) -> float:
        drawn = [
            [_style(train.images, labels, c, num_samples // classes, r, alike) for c in range(classes)]
            for r in range(REPEATS)
        ]
        return float(np.mean([score(np.concatenate(rows)) for rows in drawn]))

    real = real_distance(data, split, space, num_samples)
    return Separation(real, float(np.mean(blurs)), float(min(missing)), styles(True), styles(False))


def _drawn(labels: Array, classes: range | list[int], n: int, *key: str | int) -> Array:
    """Rows of ``n`` different images, as many of each class."""
    draw, each = stream(*key), n // len(classes)
    return np.concatenate([draw.permutation(np.flatnonzero(labels == c))[:each] for c in classes])


def _style(images: Tensor, labels: Array, label: int, n: int, repeat: int, alike: bool) -> Array:
    """Rows of ``n`` images, with repeats, of a quarter of a class: nearest to one of its images, or any."""
    draw, rows = stream("style", label, repeat), np.flatnonzero(labels == label)
    points = images[torch.from_numpy(rows)].flatten(1).float()
    distance = (points - points[int(draw.integers(len(rows)))]).square().sum(dim=1).numpy()
    order = np.argsort(distance, kind="stable") if alike else draw.permutation(len(rows))
    return draw.choice(rows[order[: max(int(STYLE_SHARE * len(rows)), 1)]], n)
