"""The evaluators: small classifiers whose features the Fréchet distance compares.

Their weights ship with the package; ``python -m disperse.evaluation.train_classifier`` and
``...train_cifar_classifier`` made them. An evaluator is named after its network and the first digits of
its weights' SHA-256, so that other weights are another evaluator.
"""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from ..atomic import sha256_file
from ..data import ImageSet, base_name
from ..errors import CheckpointError, ConfigError, unknown
from .networks import Cifar10Classifier, DigitsClassifier

FOLDER = Path(__file__).parent / "weights"
EVALUATOR = "digits-classifier-f77f"
CIFAR10_EVALUATOR = "cifar10-classifier-f1f1"
Classifier = DigitsClassifier | Cifar10Classifier


@dataclass(frozen=True)
class Evaluator:
    """A classifier that ships with the package.

    Attributes:
        data: the data set that it knows.
        shape: (c, h, w) of its images.
        network: its class.
        weights: name of its file and, with another suffix, of its record.
        script: module that makes them.
    """

    data: str
    shape: tuple[int, int, int]
    network: Callable[[], Classifier]
    num_features: int
    weights: str
    script: str


EVALUATORS = {
    EVALUATOR: Evaluator(
        "digits", (1, 8, 8), DigitsClassifier, DigitsClassifier.num_features,
        "digits_classifier.safetensors", "train_classifier",
    ),
    CIFAR10_EVALUATOR: Evaluator(
        "cifar10", (3, 32, 32), Cifar10Classifier, Cifar10Classifier.num_features,
        "cifar10_classifier.safetensors", "train_cifar_classifier",
    ),
}  # fmt: skip


def evaluator_for(data: str) -> str:
    """Name of the evaluator that knows a data set, whatever part or content of it is named.

    Raises:
        ConfigError: none does.
    """
    base = base_name(data)
    for name, row in EVALUATORS.items():
        if row.data == base:
            return name
    raise unknown("evaluation data", data, [row.data for row in EVALUATORS.values()])


def find_evaluator(name: str) -> Evaluator:
    """A row of the table.

    Raises:
        ConfigError: this version has no such network, or other weights of it.
    """
    if name not in EVALUATORS:
        raise ConfigError(f"protocol.evaluator = {name}: this version has {', '.join(EVALUATORS)}")
    return EVALUATORS[name]


@functools.cache
def classifier(name: str = EVALUATOR) -> Classifier:
    """A shipped classifier, verified against its record; float32 whatever its file holds.

    Raises:
        ConfigError: unknown evaluator.
        CheckpointError: the weights are missing or not those of the record.
    """
    row = find_evaluator(name)
    weights = FOLDER / row.weights
    try:
        record = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
        expected, found = str(record["sha256"]), sha256_file(weights)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{weights.with_suffix('.json')}: not the record of a classifier ({error}); reinstall the package"
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"{error.filename}: missing; reinstall the package, or run "
            f"python -m disperse.evaluation.{row.script}"
        ) from None
    if found != expected:
        raise CheckpointError(f"{weights}: SHA-256 {found[:12]}, the record says {expected[:12]}")
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
        evaluator: name of a row of ``EVALUATORS``.

    Returns:
        Features (n, d) and scores (n, 10), float32.

    Raises:
        ConfigError: another shape, or not a float dtype.
    """
    row = find_evaluator(evaluator)
    if isinstance(images, ImageSet):
        fits, found = images.shape == row.shape, f"images of shape {images.shape}"
    else:
        fits = tuple(images.shape[1:]) == row.shape and images.is_floating_point()
        found = f"{images.dtype} {tuple(images.shape)}"
    if not fits:
        shape = ", ".join(map(str, row.shape))
        raise ConfigError(f"images: expected a float tensor of shape (n, {shape}), got {found}")
    model = classifier(evaluator)
    features = []
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        x = images.read(part) if isinstance(images, ImageSet) else images[part]
        features.append(model.features(x.clamp(-1, 1)))
    stacked = torch.cat(features) if features else torch.empty(0, row.num_features)
    return stacked, model.head(stacked)
