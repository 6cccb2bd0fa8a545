"""Plots of tidy frames: take what ``disperse.results`` gives, draw on axes, return them."""

from .maps import heat, images, points
from .marks import changes, curves, diamonds, dots, interval_marks, percent
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
    "curves",
    "diamonds",
    "dots",
    "heat",
    "images",
    "interval_marks",
    "line_across",
    "log_axis",
    "look",
    "palette",
    "percent",
    "points",
    "save",
]
