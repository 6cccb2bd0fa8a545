"""Evaluation: distances in float64, each with n and an interval, and the protocol beside them."""

from .features import (
    CIFAR10_EVALUATOR,
    EVALUATOR,
    EVALUATORS,
    FASHION_EVALUATOR,
    PIXELS,
    classify,
    describe,
    evaluator_for,
    find_evaluator,
    metric_name,
    network,
    read_features,
    spaces_for,
)
from .fid import EVALUATOR as FID_EVALUATOR
from .floors import Sight, memorizer_distance, real_distance, sight
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
from .held_out import held_out_loss
from .neighbours import nearer_to_seen, nearest, precision_recall
from .protocol import Protocol, check_evaluator, evaluate, noise_floor

__all__ = [
    "CIFAR10_EVALUATOR",
    "EVALUATOR",
    "EVALUATORS",
    "FASHION_EVALUATOR",
    "FID_EVALUATOR",
    "PIXELS",
    "Estimate",
    "Gaussian",
    "Protocol",
    "Sight",
    "check_evaluator",
    "classify",
    "describe",
    "evaluate",
    "evaluator_for",
    "find_evaluator",
    "fit_gaussian",
    "frechet_distance",
    "frechet_with_interval",
    "held_out_loss",
    "log_ratio",
    "mean_over_seeds",
    "memorizer_distance",
    "metric_name",
    "nearer_to_seen",
    "nearest",
    "network",
    "noise_floor",
    "precision_recall",
    "proportion",
    "read_features",
    "real_distance",
    "sight",
    "spaces_for",
    "within",
]
