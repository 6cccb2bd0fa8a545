"""Plots of tidy frames: take what ``disperse.results`` gives, draw on axes, return them."""

from .maps import heat, images, plane_limits, points
from .marks import changes, crosses, curves, diamonds, dots, interval_marks, legend, percent
from .theme import (
    ACCENT,
    BASELINE,
    COLORS,
    DISPERSIVE,
    axes,
    class_colors,
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
    "class_colors",
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
    "plane_limits",
    "points",
    "save",
]
