"""Losses: pure functions of a feature matrix, and the modules that plug them in."""

from .contrastive import (
    alignment,
    contrastive_covariance,
    contrastive_hinge,
    contrastive_infonce_cosine,
    contrastive_infonce_l2,
)
from .dispersive import NoPairsWarning, covariance, hinge, infonce_cosine, infonce_l2
from .distances import cosine_similarities, squared_distances
from .module import PRESETS, ContrastiveLoss, DispersionReport, DispersiveLoss
from .variants import VARIANTS, Bounds, Variant, bounds, variant

__all__ = [
    "PRESETS",
    "VARIANTS",
    "Bounds",
    "ContrastiveLoss",
    "DispersionReport",
    "DispersiveLoss",
    "NoPairsWarning",
    "Variant",
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
    "variant",
]
