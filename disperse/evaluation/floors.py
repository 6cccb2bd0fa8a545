"""What real images score: floors of the distances, and what a feature space sees of real images."""

import functools
from dataclasses import asdict, dataclass

import numpy as np

from ..data import base_name
from ..errors import ConfigError
from ..rng import stream
from .features import read_features
from .frechet import Array, Estimate, Gaussian, fit_gaussian, frechet_distance
from .images import image_set, train_pool

ALIVE = 1e-3  # of the largest standard deviation: a feature that moves less is dead


@functools.cache
def real_features(data: str, split: str, space: str) -> Array:
    """Features (n, d) of every image of a split in a space, float64."""
    return read_features(image_set(data, split), space, data=data).double().numpy()


@functools.cache
def reference(data: str, split: str, space: str) -> Gaussian:
    """The Gaussian that samples are compared with."""
    return fit_gaussian(real_features(data, split, space))


@functools.cache
def pool_features(data: str, space: str) -> Array:
    """Features (n, d) of those images in a space, float64."""
    return read_features(train_pool(data), space, data=data).double().numpy()


@functools.cache
def real_distance(data: str, split: str, space: str, num_samples: int, repeats: int = 20) -> Estimate:
    """Distance of real to real images at the same n and reference: that of fresh images of the same law.

    Each repeat draws ``num_samples`` different train images, balanced over classes; they overlap, so
    the interval (2.5% to 97.5% of the repeats) is narrower than that of fresh images.

    Raises:
        ConfigError: the train split has too few images for that n.
    """
    labels = train_pool(data).labels.numpy()
    counts = _balanced(labels, num_samples)
    smallest = int(np.bincount(labels).min())
    if max(counts) > smallest:
        raise ConfigError(
            f"num_samples = {num_samples}: the noise floor needs {max(counts)} real images of "
            f"each class, there are {smallest}; take at most {smallest * len(counts)} samples"
        )
    features, against = pool_features(data, space), reference(data, split, space)
    values = []
    for repeat in range(repeats):
        draw = stream("noise floor", repeat)
        rows = np.concatenate(
            [draw.permutation(np.flatnonzero(labels == c))[:n] for c, n in enumerate(counts)]
        )
        values.append(frechet_distance(fit_gaussian(features[rows]), against))
    return _over(values, num_samples, f"{repeats} draws of real images")


@functools.cache
def memorizer_distance(data: str, split: str, space: str, num_samples: int, repeats: int = 20) -> Estimate:
    """Distance that a model scores that only repeats its training images: the floor of a small set.

    Each repeat draws ``num_samples`` images of ``data`` (such as ``"digits:160"``) with replacement, balanced
    over classes as samples are. A model trained on that set that scores this has learned it by heart; one
    that scores less has done better than that.
    """
    train = image_set(data, "train")
    base = base_name(data)
    features = read_features(train, space, data=base).double().numpy()
    labels, against = train.labels.numpy(), reference(base, split, space)
    counts, values = _balanced(labels, num_samples), []
    for repeat in range(repeats):
        draw = stream("memorizer", repeat)
        rows = np.concatenate([draw.choice(np.flatnonzero(labels == c), n) for c, n in enumerate(counts)])
        values.append(frechet_distance(fit_gaussian(features[rows]), against))
    return _over(values, num_samples, f"{repeats} draws of {len(train)} training images")


def _balanced(labels: Array, num_samples: int) -> Array:
    """How many of class c are sampled: label i mod classes."""
    classes = int(labels.max()) + 1
    return np.bincount(np.arange(num_samples) % classes, minlength=classes)


def _over(values: list[float], n: int, method: str) -> Estimate:
    low, high = np.quantile(values, (0.025, 0.975))
    return Estimate(float(np.mean(values)), float(low), float(high), n, method)


@dataclass(frozen=True)
class Sight:
    """What a feature space sees of real images.

    Attributes:
        num_features: d.
        alive: share of the features whose standard deviation is above 1e-3 of the largest, in [0, 1].
        effective_rank: ``exp(−Σ p log p)`` of the shares p of variance along principal axes, in [1, d].
        directions95: how many principal axes hold 95% of the variance.
        within_class: share of the variance about the means of the classes, in [0, 1]. Near 0 a space sees
            which class an image is of and hardly anything else.
    """

    num_features: int
    alive: float
    effective_rank: float
    directions95: int
    within_class: float

    def describe(self) -> str:
        """One line."""
        return (
            f"{self.alive:.0%} of {self.num_features} features alive, effective rank "
            f"{self.effective_rank:.1f}, 95% of the variance in {self.directions95} directions, "
            f"{self.within_class:.0%} of it within classes"
        )

    def asdict(self) -> dict[str, float]:
        """Plain data."""
        return asdict(self)


def describe_features(features: Array, labels: Array) -> Sight:
    """What features (n, d) of labelled images tell."""
    deviation = features.std(axis=0)
    variances = np.clip(np.linalg.eigvalsh(np.cov(features, rowvar=False)), 0, None)[::-1]
    shares = variances[variances > 0] / variances.sum()
    total = np.square(features - features.mean(axis=0)).sum()
    within = sum(
        np.square(features[labels == c] - features[labels == c].mean(axis=0)).sum() for c in np.unique(labels)
    )
    return Sight(
        features.shape[1],
        float((deviation > ALIVE * deviation.max()).mean()),
        float(np.exp(-(shares * np.log(shares)).sum())),
        int(np.searchsorted(shares.cumsum(), 0.95)) + 1,
        float(within / total),
    )


@functools.cache
def sight(data: str, space: str, split: str = "held-out") -> Sight:
    """What a space sees of the images of a split."""
    return describe_features(real_features(data, split, space), image_set(data, split).labels.numpy())
