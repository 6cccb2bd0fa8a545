"""Evaluation: distances in float64, each with n and an interval, and the protocol beside them."""

from .features import FEATURES, classify, digits_classifier
from .frechet import (
    Estimate,
    Gaussian,
    fit_gaussian,
    frechet_distance,
    frechet_with_interval,
    log_ratio,
    mean_over_seeds,
    proportion,
)
from .neighbours import precision_recall
from .protocol import Protocol, evaluate, noise_floor

__all__ = [
    "FEATURES",
    "Estimate",
    "Gaussian",
    "Protocol",
    "classify",
    "digits_classifier",
    "evaluate",
    "fit_gaussian",
    "frechet_distance",
    "frechet_with_interval",
    "log_ratio",
    "mean_over_seeds",
    "noise_floor",
    "precision_recall",
    "proportion",
]
