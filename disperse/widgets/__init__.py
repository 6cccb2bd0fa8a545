"""Interactive pieces for notebooks."""

from .live import LiveCurves

__all__ = ["LiveCurves"]
