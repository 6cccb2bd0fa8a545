"""Faults are compared with a run that had none."""

from ..training.conftest import undisturbed

__all__ = ["undisturbed"]
