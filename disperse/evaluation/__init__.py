"""Evaluation: distances in float64, each with n and an interval, and the protocol beside them."""

from .features import (
    CIFAR10_EVALUATOR,
    EVALUATOR,
    EVALUATORS,
    classifier,
    classify,
    evaluator_for,
    find_evaluator,
)
from .fid import EVALUATOR as FID_EVALUATOR
from .frechet import (
    Estimate,
    Gaussian,
    fit_gaussian,
    frechet_distance,
    frechet_with_interval,
    log_ratio,
    mean_over_seeds,
    proportion,
    within,
)
from .neighbours import nearer_to_seen, precision_recall
from .protocol import Protocol, check_evaluator, evaluate, noise_floor

__all__ = [
    "CIFAR10_EVALUATOR",
    "EVALUATOR",
    "EVALUATORS",
    "FID_EVALUATOR",
    "Estimate",
    "Gaussian",
    "Protocol",
    "check_evaluator",
    "classifier",
    "classify",
    "evaluate",
    "evaluator_for",
    "find_evaluator",
    "fit_gaussian",
    "frechet_distance",
    "frechet_with_interval",
    "log_ratio",
    "mean_over_seeds",
    "nearer_to_seen",
    "noise_floor",
    "precision_recall",
    "proportion",
    "within",
]
