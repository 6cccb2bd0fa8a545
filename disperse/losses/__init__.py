"""Losses: pure functions of a feature matrix, and the modules that plug them in."""

from .contrastive import (
    alignment,
    contrastive_covariance,
    contrastive_hinge,
    contrastive_infonce_cosine,
    contrastive_infonce_l2,
)
from .dispersive import NoPairsWarning, bounds, covariance, hinge, infonce_cosine, infonce_l2
from .distances import cosine_similarities, squared_distances
from .module import PRESETS, VARIANTS, ContrastiveLoss, DispersionReport, DispersiveLoss

__all__ = [
    "PRESETS",
    "VARIANTS",
    "ContrastiveLoss",
    "DispersionReport",
    "DispersiveLoss",
    "NoPairsWarning",
    "alignment",
    "bounds",
    "contrastive_covariance",
    "contrastive_hinge",
    "contrastive_infonce_cosine",
    "contrastive_infonce_l2",
    "cosine_similarities",
    "covariance",
    "hinge",
    "infonce_cosine",
    "infonce_l2",
    "squared_distances",
]
