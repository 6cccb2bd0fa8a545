"""Data sets, and the order in which steps read them."""

from .batches import (
    DATASETS,
    base_name,
    batch_indices,
    dataset,
    holds_latents,
    load_data,
    num_train_images,
    pictures,
)
from .digits import digits
from .latents import LatentSet
from .sets import SPLITS, ImageSet

__all__ = [
    "DATASETS",
    "SPLITS",
    "ImageSet",
    "LatentSet",
    "base_name",
    "batch_indices",
    "dataset",
    "digits",
    "holds_latents",
    "load_data",
    "num_train_images",
    "pictures",
]
