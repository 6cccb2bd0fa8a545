"""Measures of inner representations."""

from .dispersion import Dispersion, block_features, descend, measure, measure_blocks
from .geometry import Geometry, geometry
from .levels import measure_levels
from .probes import linear_probe, neighbour_accuracy
from .projection import project
from .similarity import Similarity, cka, cknna
from .terms import measure_terms

__all__ = [
    "Dispersion",
    "Geometry",
    "Similarity",
    "block_features",
    "cka",
    "cknna",
    "descend",
    "geometry",
    "linear_probe",
    "measure",
    "measure_blocks",
    "measure_levels",
    "measure_terms",
    "neighbour_accuracy",
    "project",
]
