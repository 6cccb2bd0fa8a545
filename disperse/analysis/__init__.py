"""Measures of inner representations."""

from .dispersion import Dispersion, block_features, descend, measure, measure_blocks, measure_plane
from .geometry import (
    Geometry,
    alive,
    cosines,
    effective_rank,
    geometry,
    mean_cosine,
    participation_ratio,
    relative_distance,
    rms,
    squared_distance,
    uniformity,
)
from .levels import measure_levels
from .probes import linear_probe, neighbour_accuracy, probe_sets
from .projection import neighbour_overlap, project
from .representations import Place, compare_places, measure_places, unlabelled_features
from .similarity import Similarity, cka, cknna, compare
from .terms import measure_terms

__all__ = [
    "Dispersion",
    "Geometry",
    "Place",
    "Similarity",
    "alive",
    "block_features",
    "cka",
    "cknna",
    "compare",
    "compare_places",
    "cosines",
    "descend",
    "effective_rank",
    "geometry",
    "linear_probe",
    "mean_cosine",
    "measure",
    "measure_blocks",
    "measure_levels",
    "measure_places",
    "measure_plane",
    "measure_terms",
    "neighbour_accuracy",
    "neighbour_overlap",
    "participation_ratio",
    "probe_sets",
    "project",
    "relative_distance",
    "rms",
    "squared_distance",
    "uniformity",
    "unlabelled_features",
]
