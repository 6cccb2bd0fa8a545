"""Exponential moving averages of weights, as rules for the decay at each step."""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def power_exponent(relative_length: float) -> float:
    """Exponent γ of the power-function profile whose width is ``relative_length`` of training.

    Solves ``σ_rel = √(γ+1) / ((γ+2) √(γ+3))`` for γ.

    Source: EDM2 (Karras et al. 2024), power-function EMA.
    """
    inverse = relative_length**-2
    return float(np.roots([1.0, 7.0, 16.0 - inverse, 12.0 - inverse]).real.max())


def decay(name: str, step: int) -> float:
    """Decay β of update number ``step`` (from 1): ``ema ← β ema + (1 − β) weights``.

    ``"power-0.1"``: ``β = (1 − 1/k)^{γ+1}``, an average whose length is that fraction of the training
    so far, so it fits at every length. ``"constant-0.9999"``: that constant; after a few thousand
    steps such an average is mostly initial weights.
    """
    kind, _, value = name.partition("-")
    if kind == "constant":
        return float(value)
    return (1.0 - 1.0 / step) ** (power_exponent(float(value)) + 1.0)


@torch.no_grad()
def update(average: Iterable[Tensor], weights: Iterable[Tensor], beta: float) -> None:
    """``average ← β average + (1 − β) weights``, in place, all tensors in one call."""
    torch._foreach_lerp_(list(average), list(weights), 1.0 - beta)
