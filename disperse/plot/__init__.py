"""Plots of tidy frames: take what ``disperse.results`` gives, draw on axes, return them."""

from .maps import heat, images, points
from .marks import changes, crosses, curves, diamonds, dots, interval_marks, legend, percent
from .theme import (
    ACCENT,
    BASELINE,
    COLORS,
    DISPERSIVE,
    axes,
    line_across,
    log_axis,
    look,
    palette,
    save,
)

__all__ = [
    "ACCENT",
    "BASELINE",
    "COLORS",
    "DISPERSIVE",
    "axes",
    "changes",
    "crosses",
    "curves",
    "diamonds",
    "dots",
    "heat",
    "images",
    "interval_marks",
    "legend",
    "line_across",
    "log_axis",
    "look",
    "palette",
    "percent",
    "points",
    "save",
]
