"""Data sets, and the order in which steps read them."""

from .batches import DATASETS, batch_indices, load_data
from .digits import digits
from .latents import LatentSet
from .sets import ImageSet

__all__ = ["DATASETS", "ImageSet", "LatentSet", "batch_indices", "digits", "load_data"]
