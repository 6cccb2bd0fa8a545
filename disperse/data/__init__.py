"""Data sets, and the order in which steps read them."""

from .batches import DATASETS, batch_indices, load_data
from .digits import ImageSet, digits

__all__ = ["DATASETS", "ImageSet", "batch_indices", "digits", "load_data"]
