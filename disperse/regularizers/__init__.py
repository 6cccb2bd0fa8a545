"""Regularisers: what is added to an objective."""

from ..spec import AlignmentSpec, ContrastiveSpec, DispersiveSpec, TermSpec
from .base import Regularizer, RegularizerOutput, block_indices
from .terms import AlignmentRegularizer, ContrastiveRegularizer, DispersiveRegularizer


def build_regularizer(spec: TermSpec, depth: int) -> Regularizer:
    """The regulariser of a specification, for a model of ``depth`` blocks."""
    match spec:
        case DispersiveSpec():
            return DispersiveRegularizer(spec, depth)
        case ContrastiveSpec():
            return ContrastiveRegularizer(spec, depth)
        case AlignmentSpec():
            return AlignmentRegularizer(spec, depth)


__all__ = [
    "AlignmentRegularizer",
    "ContrastiveRegularizer",
    "DispersiveRegularizer",
    "Regularizer",
    "RegularizerOutput",
    "block_indices",
    "build_regularizer",
]
