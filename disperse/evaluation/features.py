"""Feature spaces: small networks, and plain pixels, in which the Fréchet distance compares images.

Each data set has a classifier, the evaluator, whose distance is ``fd``; a self-supervised encoder, which
never saw a label; and its pixels. The networks' weights ship with the package; the modules named in their
rows made them, from the train split alone. A network's name ends with the first digits of the SHA-256 of its
weights, so that other weights are another evaluator.
"""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from ..atomic import sha256_file
from ..data import ImageSet, base_name
from ..errors import CheckpointError, ConfigError, unknown
from .images import train_pool
from .networks import (
    ENCODERS,
    Cifar10Classifier,
    DigitsClassifier,
    Encoder,
    FashionClassifier,
    FeatureNetwork,
)

FOLDER = Path(__file__).parent / "weights"
EVALUATOR = "digits-classifier-f77f"
CIFAR10_EVALUATOR = "cifar10-classifier-f1f1"
FASHION_EVALUATOR = "fashion-classifier-4dd8"
DIGITS_ENCODER = "digits-selfsup-e830"
FASHION_ENCODER = "fashion-selfsup-9488"
PIXELS = "pixels"
COMPONENTS = 64  # of pixels, where an image has more


@dataclass(frozen=True)
class Evaluator:
    """A network that ships with the package.

    Attributes:
        data: the data sets that it knows; images of another size are brought to that of its own.
        shape: (c, h, w) of its images.
        network: makes it; its method ``features`` gives (n, d), its ``head`` class scores.
        num_features: d.
        weights: name of its file and, with another suffix, of its record.
        script: module that makes them.
        classifies: whether it has class scores.
    """

    data: tuple[str, ...]
    shape: tuple[int, int, int]
    network: Callable[[], FeatureNetwork]
    num_features: int
    weights: str
    script: str
    classifies: bool = True


EVALUATORS = {
    EVALUATOR: Evaluator(
        ("digits",), (1, 8, 8), DigitsClassifier, DigitsClassifier.num_features,
        "digits_classifier.safetensors", "train_classifier",
    ),
    CIFAR10_EVALUATOR: Evaluator(
        ("cifar10", "cifar16"), (3, 32, 32), Cifar10Classifier, Cifar10Classifier.num_features,
        "cifar10_classifier.safetensors", "train_cifar_classifier",
    ),
    FASHION_EVALUATOR: Evaluator(
        ("fashion",), (1, 28, 28), FashionClassifier, FashionClassifier.num_features,
        "fashion_classifier.safetensors", "train_classifier",
    ),
    DIGITS_ENCODER: Evaluator(
        ("digits",), (1, 8, 8), lambda: Encoder(*ENCODERS["digits"]), 32,
        "digits_selfsup.safetensors", "train_selfsup", classifies=False,
    ),
    FASHION_ENCODER: Evaluator(
        ("fashion",), (1, 28, 28), lambda: Encoder(*ENCODERS["fashion"]), 64,
        "fashion_selfsup.safetensors", "train_selfsup", classifies=False,
    ),
}  # fmt: skip


def evaluator_for(data: str) -> str:
    """Name of the classifier that knows a data set, whatever part or content of it is named.

    Raises:
        ConfigError: none does.
    """
    base = base_name(data)
    for name, row in EVALUATORS.items():
        if base in row.data and row.classifies:
            return name
    raise unknown("evaluation data", data, [each for row in EVALUATORS.values() for each in row.data])


def spaces_for(data: str) -> tuple[str, ...]:
    """Names of the further feature spaces of a data set: its self-supervised encoder, if any, and pixels."""
    base = base_name(data)
    found = [name for name, row in EVALUATORS.items() if base in row.data and not row.classifies]
    return (*found, PIXELS)


def metric_name(space: str) -> str:
    """Name of the distance in a space: ``fd`` of the evaluator, ``fd_selfsup``, ``fd_pixels``.

    Raises:
        ConfigError: unknown space.
    """
    if space == PIXELS:
        return "fd_pixels"
    return "fd" if find_evaluator(space).classifies else "fd_selfsup"


def find_evaluator(name: str, field: str = "protocol.evaluator") -> Evaluator:
    """A row of the table; ``field`` is what an error says was wrong.

    Raises:
        ConfigError: this version has no such network, or other weights of it.
    """
    if name not in EVALUATORS:
        raise ConfigError(f"{field} = {name}: this version has {', '.join(EVALUATORS)}")
    return EVALUATORS[name]


def record_of(name: str) -> dict[str, Any]:
    """The record beside a network's weights: how it was trained, its digest, and what it sees of real images.

    Raises:
        ConfigError: unknown evaluator.
        CheckpointError: missing, or not a record.
    """
    path = (FOLDER / find_evaluator(name).weights).with_suffix(".json")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(record["sha256"], str):
            raise ValueError("no SHA-256")
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path}: not the record of a network ({error}); reinstall the package"
        ) from None
    except OSError as error:
        raise _missing(error, name) from None
    return record


def _missing(error: OSError, name: str) -> CheckpointError:
    return CheckpointError(
        f"{error.filename}: missing; reinstall the package, or run "
        f"python -m disperse.evaluation.{find_evaluator(name).script}"
    )


def describe(space: str) -> str:
    """A space by name, with what it sees of real images."""
    if space == PIXELS:
        return f"pixels (at most {COMPONENTS} principal components)"
    row, seen = find_evaluator(space), record_of(space).get("held_out_features", {})
    text = f"{space}, {row.num_features} features"
    if not seen:
        return text
    return (
        f"{text} ({seen['alive'] * row.num_features:.0f} alive, effective rank {seen['effective_rank']:.0f}, "
        f"{seen['within_class']:.0%} of their variance within classes)"
    )


@functools.cache
def network(name: str) -> FeatureNetwork:
    """A shipped network, verified against its record; float32 whatever its file holds.

    Raises:
        ConfigError: unknown evaluator.
        CheckpointError: the weights are missing or not those of the record.
    """
    row, expected = find_evaluator(name), record_of(name)["sha256"]
    weights = FOLDER / row.weights
    try:
        found = sha256_file(weights)
    except OSError as error:
        raise _missing(error, name) from None
    if found != expected:
        raise CheckpointError(
            f"{weights}: SHA-256 {found[:12]}, the record says {expected[:12]}; reinstall the package"
        )
    model = row.network()
    # Counters of batches that batch norm keeps are not stored: nothing reads them in eval mode.
    tensors = {key: value.float() for key, value in load_file(weights).items()}
    counters = {
        key: value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")
    }
    model.load_state_dict({**counters, **tensors})
    return model.eval().requires_grad_(False)


@torch.no_grad()
def classify(
    images: Tensor | ImageSet, batch_size: int = 500, *, evaluator: str = EVALUATOR
) -> tuple[Tensor, Tensor]:
    """Features and class scores of images, clipped to the range of the data.

    Args:
        images: a data set, or a tensor of shape (n, c, h, w) with values about [−1, 1]; as the evaluator
            knows them, (n, 1, 8, 8) for digits.
        batch_size: images at a time.
        evaluator: name of a classifier of ``EVALUATORS``.

    Returns:
        Features (n, d) and scores (n, 10), float32.

    Raises:
        ConfigError: another shape, not a float dtype, or a network without class scores.
    """
    row = find_evaluator(evaluator)
    if not row.classifies:
        raise ConfigError(f"evaluator = {evaluator}: has no class scores; use read_features")
    stacked = _features(images, evaluator, batch_size)
    return stacked, network(evaluator).head(stacked)


@torch.no_grad()
def read_features(images: Tensor | ImageSet, space: str, *, data: str, batch_size: int = 500) -> Tensor:
    """Features (n, d) of images in a space, clipped to the range of the data, float32.

    Args:
        images: as of ``classify``.
        space: a network of ``EVALUATORS``, or ``"pixels"``: the pixels themselves, or where an image has
            more than 64 their first 64 principal components over the training images.
        data: the data set that the images are like.
        batch_size: images at a time.

    Raises:
        ConfigError: unknown space, or images of another shape.
    """
    if space != PIXELS:
        return _features(images, space, batch_size)
    mean, axes = _components(base_name(data))
    points = images.read(slice(None)) if isinstance(images, ImageSet) else images
    if points[0:1].flatten(1).shape[1] != len(mean):
        raise ConfigError(f"images: expected {len(mean)} pixels, those of {data}, got {tuple(points.shape)}")
    flat = points.clamp(-1, 1).flatten(1)
    return flat if axes is None else (flat - mean) @ axes


def _features(images: Tensor | ImageSet, name: str, batch_size: int) -> Tensor:
    row = find_evaluator(name)
    if isinstance(images, ImageSet):
        fits, found = _fits(tuple(images.shape), row), f"images of shape {images.shape}"
    else:
        fits = _fits(tuple(images.shape[1:]), row) and images.is_floating_point()
        found = f"{images.dtype} {tuple(images.shape)}"
    if not fits:
        shape = ", ".join(map(str, row.shape))
        raise ConfigError(f"images: expected a float tensor of shape (n, {shape}), got {found}")
    model, features = network(name), []
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        x = images.read(part) if isinstance(images, ImageSet) else images[part]
        features.append(model.features(_resized(x.clamp(-1, 1), row.shape[-1])))
    return torch.cat(features) if features else torch.empty(0, row.num_features)


def _fits(shape: tuple[int, ...], row: Evaluator) -> bool:
    """The network's own shape, or with several data sets one a whole number of times as large or small."""
    if len(shape) != 3 or shape[0] != row.shape[0] or shape[1] != shape[2]:
        return False
    sizes = sorted((shape[1], row.shape[1]))
    return shape == row.shape or (len(row.data) > 1 and sizes[1] % sizes[0] == 0)


def _resized(x: Tensor, size: int) -> Tensor:
    """Images averaged over blocks, or repeated, to ``size`` pixels a side."""
    own = x.shape[-1]
    if own > size:
        return F.avg_pool2d(x, own // size)
    return x if own == size else x.repeat_interleave(size // own, -1).repeat_interleave(size // own, -2)


@functools.cache
def _components(data: str) -> tuple[Tensor, Tensor | None]:
    """Mean (p,) and the first principal axes (p, 64) of the training images' pixels; None: all pixels."""
    x = train_pool(data).images.flatten(1).double()
    mean = x.mean(dim=0)
    if x.shape[1] <= COMPONENTS:
        return mean.float(), None
    covariance = (x - mean).T @ (x - mean) / (len(x) - 1)
    axes = torch.linalg.eigh(covariance).eigenvectors[:, -COMPONENTS:].flip(1)
    return mean.float(), axes.float()
