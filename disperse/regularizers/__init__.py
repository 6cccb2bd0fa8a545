"""Regularisers: what is added to an objective."""

from .dispersive import DispersiveRegularizer, RegularizerOutput, block_indices

__all__ = ["DispersiveRegularizer", "RegularizerOutput", "block_indices"]
