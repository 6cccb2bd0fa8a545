"""Objectives: from a model and a batch to one loss per sample, and the features on the way."""

from .base import (
    OBJECTIVES,
    Draws,
    ForwardPass,
    IndependentNoise,
    Losses,
    Objective,
    OnStep,
    Predict,
    RestrictedNoise,
    Steps,
    Velocity,
    View,
    build_objective,
    draws_at,
    objective,
    uniform_times,
)
from .diffusion import DiTSpec, GaussianDiffusion
from .interpolant import Interpolant, SiTSpec
from .meanflow import MeanFlow, MeanFlowSpec
from .paths import PATHS, Path
from .shortcut import Shortcut, ShortcutSpec
from .stacked import stacked_objective

__all__ = [
    "OBJECTIVES",
    "PATHS",
    "DiTSpec",
    "Draws",
    "ForwardPass",
    "GaussianDiffusion",
    "IndependentNoise",
    "Interpolant",
    "Losses",
    "MeanFlow",
    "MeanFlowSpec",
    "Objective",
    "OnStep",
    "Path",
    "Predict",
    "RestrictedNoise",
    "Shortcut",
    "ShortcutSpec",
    "SiTSpec",
    "Steps",
    "Velocity",
    "View",
    "build_objective",
    "draws_at",
    "objective",
    "stacked_objective",
    "uniform_times",
]
