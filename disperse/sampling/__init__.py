"""Sampling: solvers, guidance, and images from seeds."""

from .files import read_samples, sample_to_folder
from .guidance import guided_velocity
from .sampler import SamplerConfig, labels_for_seeds, noise_for_seeds, sample
from .solvers import SOLVERS, euler, heun, nfe, uniform_times

__all__ = [
    "SOLVERS",
    "SamplerConfig",
    "euler",
    "guided_velocity",
    "heun",
    "labels_for_seeds",
    "nfe",
    "noise_for_seeds",
    "read_samples",
    "sample",
    "sample_to_folder",
    "uniform_times",
]
