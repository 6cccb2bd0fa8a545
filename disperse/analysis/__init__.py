"""Measures of inner representations."""

from .dispersion import Dispersion, block_features, descend, measure, measure_blocks

__all__ = ["Dispersion", "block_features", "descend", "measure", "measure_blocks"]
