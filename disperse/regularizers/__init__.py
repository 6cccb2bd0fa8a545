"""Regularisers: what is added to an objective."""

from ..spec import ContrastiveSpec, DispersiveSpec
from .base import Regularizer, RegularizerOutput, block_indices
from .terms import ContrastiveRegularizer, DispersiveRegularizer


def build_regularizer(spec: DispersiveSpec | ContrastiveSpec, depth: int) -> Regularizer:
    """The regulariser of a specification, for a model of ``depth`` blocks."""
    if isinstance(spec, ContrastiveSpec):
        return ContrastiveRegularizer(spec, depth)
    return DispersiveRegularizer(spec, depth)


__all__ = [
    "ContrastiveRegularizer",
    "DispersiveRegularizer",
    "Regularizer",
    "RegularizerOutput",
    "block_indices",
    "build_regularizer",
]
