"""Real images that evaluation reads, and the small changes under which its networks are trained."""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import ImageSet, load_data
from .networks import FeatureNetwork

POOL = 10_000  # training images, spread evenly over the set


def image_set(data: str, split: str) -> ImageSet:
    """Images of a split; evaluation reads images alone."""
    found = load_data(data, split)
    assert isinstance(found, ImageSet)
    return found


@functools.cache
def train_pool(data: str) -> ImageSet:
    """At most 10,000 images of the train split, which real ones are drawn from."""
    train = image_set(data, "train")
    return train if len(train) <= POOL else train.few(POOL)


@torch.no_grad()
def features_of(model: FeatureNetwork, data: ImageSet) -> Tensor:
    """Features (n, d) of every image of a set, 500 at a time, by a network in eval mode."""
    return torch.cat([model.features(data.read(part)) for part in torch.arange(len(data)).split(500)])


def moved(x: Tensor, draws: Tensor, *, turn: float, shift: float) -> Tensor:
    """Images turned, scaled by up to a tenth, and shifted; what comes in at the border repeats it.

    Args:
        x (Tensor): shape (b, c, h, w).
        draws (Tensor): uniform in [0, 1), shape (4, b): of turn, scale, and shift to the right and down.
        turn, shift: largest rotation in radians, and shift as a share of half the image.
    """
    angle, scale, dx, dy = (draws * 2 - 1).unbind()
    angle, scale = angle * turn, 1 + 0.1 * scale
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([cos, -sin, shift * dx, sin, cos, shift * dy], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False, padding_mode="border")
