"""Regularisers: what is added to an objective."""

from .alignment import AlignmentRegularizer, AlignmentSpec
from .base import (
    REGULARIZERS,
    Encoder,
    Regularizer,
    RegularizerOutput,
    block_indices,
    build_regularizer,
    mean_over_blocks,
    regularizer,
)
from .contrastive import ContrastiveRegularizer, ContrastiveSpec
from .dispersive import DispersiveRegularizer, DispersiveSpec, term_bounds
from .repa import Repa, RepaSpec

__all__ = [
    "REGULARIZERS",
    "AlignmentRegularizer",
    "AlignmentSpec",
    "ContrastiveRegularizer",
    "ContrastiveSpec",
    "DispersiveRegularizer",
    "DispersiveSpec",
    "Encoder",
    "Regularizer",
    "RegularizerOutput",
    "Repa",
    "RepaSpec",
    "block_indices",
    "build_regularizer",
    "mean_over_blocks",
    "regularizer",
    "term_bounds",
]
