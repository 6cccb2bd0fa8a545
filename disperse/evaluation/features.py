"""The small digits classifier whose features the Fréchet distance compares.

Its weights ship with the package; ``python -m disperse.evaluation.train_classifier`` made them.
"""

import functools
import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from ..atomic import sha256_file
from ..errors import CheckpointError, ConfigError

WEIGHTS = Path(__file__).parent / "weights" / "digits_classifier.safetensors"
FEATURES = 64
EVALUATOR = "digits-classifier-f77f"  # its name and the first digits of its weights' SHA-256


class DigitsClassifier(nn.Module):
    """Three convolutions and two dense layers on 8×8 grey images."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 64, 3, padding=1)
        self.dense = nn.Linear(64 * 4 * 4, FEATURES)
        self.head = nn.Linear(FEATURES, 10)

    def features(self, x: Tensor) -> Tensor:
        """(b, 1, 8, 8) in [−1, 1] → (b, 64): the layer before the class scores, after its ReLU."""
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = F.relu(self.conv3(F.max_pool2d(x, 2)))
        return F.relu(self.dense(x.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """(b, 1, 8, 8) → class scores (b, 10)."""
        return self.head(self.features(x))


@functools.cache
def digits_classifier() -> DigitsClassifier:
    """The shipped classifier, verified against its record.

    Raises:
        CheckpointError: the weights are missing or not those of the record.
    """
    try:
        record = json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))
        expected, found = str(record["sha256"]), sha256_file(WEIGHTS)
    except (ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{WEIGHTS.with_suffix('.json')}: not the record of a classifier ({error}); reinstall the package"
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"{error.filename}: missing; reinstall the package, or run "
            "python -m disperse.evaluation.train_classifier"
        ) from None
    if found != expected:
        raise CheckpointError(f"{WEIGHTS}: SHA-256 {found[:12]}, the record says {expected[:12]}")
    model = DigitsClassifier()
    model.load_state_dict(load_file(WEIGHTS))
    return model.eval().requires_grad_(False)


@torch.no_grad()
def classify(images: Tensor, batch_size: int = 500) -> tuple[Tensor, Tensor]:
    """Features and class scores of images, clipped to the range of the data.

    Args:
        images (Tensor): shape (n, 1, 8, 8), values about [−1, 1].
        batch_size: images at a time.

    Returns:
        Features (n, 64) and scores (n, 10), float32.

    Raises:
        ConfigError: another shape, or not a float dtype.
    """
    if images.ndim != 4 or tuple(images.shape[1:]) != (1, 8, 8) or not images.is_floating_point():
        raise ConfigError(
            f"images: expected a float tensor of shape (n, 1, 8, 8), got {images.dtype} {tuple(images.shape)}"
        )
    model = digits_classifier()
    features = [model.features(part) for part in images.clamp(-1, 1).split(batch_size)]
    stacked = torch.cat(features) if features else torch.empty(0, FEATURES)
    return stacked, model.head(stacked)
