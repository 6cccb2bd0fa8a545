"""Sampling: solvers, guidance, and images from seeds."""

from .config import FAMILIES, SamplerConfig
from .files import read_samples, sample_to_folder
from .guidance import guided_prediction
from .sampler import (
    labels_for_seeds,
    noise_for_seeds,
    sample,
    velocity_field,
)
from .solvers import SOLVERS, dopri5, euler, heun, uniform_times
from .trajectory import Trajectory, trajectory

__all__ = [
    "FAMILIES",
    "SOLVERS",
    "SamplerConfig",
    "Trajectory",
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
    "velocity_field",
]
