"""Losses: pure functions of a feature matrix, and the module that plugs them in."""

from .dispersive import NoPairsWarning, bounds, covariance, hinge, infonce_cosine, infonce_l2
from .distances import cosine_similarities, squared_distances
from .module import PRESETS, VARIANTS, DispersionReport, DispersiveLoss

__all__ = [
    "PRESETS",
    "VARIANTS",
    "DispersionReport",
    "DispersiveLoss",
    "NoPairsWarning",
    "bounds",
    "cosine_similarities",
    "covariance",
    "hinge",
    "infonce_cosine",
    "infonce_l2",
    "squared_distances",
]
