"""Sampling: solvers, guidance, and images from seeds."""

from ..objectives import uniform_times
from .config import DEFAULTS, KNOBS, Knob, Sampled, SamplerConfig, all_solvers
from .files import read_samples, sample_to_folder
from .guidance import guided_prediction
from .sampler import (
    labels_for_seeds,
    noise_for_seeds,
    sample,
)
from .solvers import SOLVERS, dopri5, euler, heun
from .trajectory import Trajectory, trajectory

__all__ = [
    "DEFAULTS",
    "KNOBS",
    "SOLVERS",
    "Knob",
    "Sampled",
    "SamplerConfig",
    "Trajectory",
    "all_solvers",
    "dopri5",
    "euler",
    "guided_prediction",
    "heun",
    "labels_for_seeds",
    "noise_for_seeds",
    "read_samples",
    "sample",
    "sample_to_folder",
    "trajectory",
    "uniform_times",
]
