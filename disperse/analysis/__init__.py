"""Measures of inner representations."""

from .dispersion import Dispersion, block_features, descend, measure, measure_blocks
from .levels import measure_levels
from .terms import measure_terms

__all__ = [
    "Dispersion",
    "block_features",
    "descend",
    "measure",
    "measure_blocks",
    "measure_levels",
    "measure_terms",
]
