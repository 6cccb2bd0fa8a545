"""What the share of samples near to training images is for a model that copies nothing, or nothing else."""

import functools

import numpy as np
from torch import Tensor

from ..data import load_data
from ..evaluation import Estimate, nearer_to_seen
from ..evaluation.frechet import Array
from ..store import ANALYSED


@functools.cache
def copying_bounds(data: str, reference: str) -> tuple[Estimate, float]:
    """What ``nearer_to_seen`` is of real images that are in neither set, and of copies of training images.

    The first is ½ but for chance: some of the images compared have more others near them, and that is alike
    for every model. The second is below 1 where only a part of the training images is compared: copies of
    the others count as the first.

    Args:
        data: that a run was trained on, ``"digits:160"`` or ``"digits"``.
        reference: split of the unseen images.

    Returns:
        Share of real images with Wilson's interval, and share of copies.
    """
    whole = load_data(data.partition(":")[0], "train").few(8 * ANALYSED)
    own, unseen = load_data(data, "train"), load_data(data, reference)
    seen = own.few(2 * ANALYSED)  # as in an evaluation against training
    fewest = min(len(seen), len(unseen))
    compared = {image.numpy().tobytes() for image in seen.few(fewest).images}
    others = [row for row, image in enumerate(whole.images) if image.numpy().tobytes() not in compared]
    real = nearer_to_seen(
        _points(whole.images[others]), _points(seen.images), _points(unseen.few(len(unseen)).images)
    )
    share = fewest / len(own)
    return real, share + (1 - share) * real.value


def _points(images: Tensor) -> Array:
    return images.flatten(1).numpy().astype(np.float64)
