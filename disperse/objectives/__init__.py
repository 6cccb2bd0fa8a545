"""Objectives: from a model and a batch to one loss per sample, and the features on the way."""

from ..spec import DiTSpec, MeanFlowSpec, SiTSpec
from .base import Draws, ForwardPass, IndependentNoise, Losses, Objective, RestrictedNoise, View, draws_at
from .diffusion import GaussianDiffusion
from .interpolant import Interpolant
from .meanflow import MeanFlow
from .paths import PATHS, Path
from .stacked import stacked_objective


def build_objective(
    spec: SiTSpec | DiTSpec | MeanFlowSpec, num_classes: int, *, label_drop: float = 0.0
) -> Objective:
    """The objective of a specification.

    Args:
        spec: which, and its settings.
        num_classes: of the model; also the index of the null class.
        label_drop: probability in [0, 1] that a label is replaced by the null class.
    """
    if isinstance(spec, DiTSpec):
        return GaussianDiffusion(num_classes, label_drop=label_drop)
    if isinstance(spec, MeanFlowSpec):
        return MeanFlow(spec, num_classes, label_drop=label_drop)
    return Interpolant(spec, num_classes, label_drop=label_drop)


__all__ = [
    "PATHS",
    "Draws",
    "ForwardPass",
    "GaussianDiffusion",
    "IndependentNoise",
    "Interpolant",
    "Losses",
    "MeanFlow",
    "Objective",
    "Path",
    "RestrictedNoise",
    "View",
    "build_objective",
    "draws_at",
    "stacked_objective",
]
