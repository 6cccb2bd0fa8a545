"""Real handwritten digits that come with scikit-learn: 1797 grey images of 8×8 pixels, 10 classes.

Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits (UCI), test part.
"""

import functools

import numpy as np
import torch

from ..errors import unknown
from ..rng import stream
from .sets import SPLITS, ImageSet

HELD_OUT_PER_CLASS = 50
TRAIN_IMAGES = 1297


@functools.cache
def digits(split: str = "train") -> ImageSet:
    """Digits of one split: 1297 for ``"train"``, 500 for ``"held-out"`` (50 of each class).

    The split is drawn once, class by class, from a fixed stream: the same images for ever, and
    balanced. Pixel values 0..16 become −1..1.

    Raises:
        ConfigError: unknown split.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    from sklearn.datasets import load_digits  # slow to import, needed only here

    source = load_digits()
    chosen = []
    for label in range(10):
        members = stream("digits split", label).permutation(np.flatnonzero(source.target == label))
        held_out, train = np.split(members, [HELD_OUT_PER_CLASS])
        chosen.append(train if split == "train" else held_out)
    index = np.sort(np.concatenate(chosen))
    images = torch.from_numpy(source.images[index]).float()[:, None] / 8 - 1
    return ImageSet(images, torch.from_numpy(source.target[index]).long())
