"""Plots of tidy frames: take what ``disperse.results`` gives, draw on axes, return them."""

from .maps import DIFFERENCE, differences, heat, images, points, tile, tile_differences
from .marks import changes, crosses, curves, diamonds, dots, interval_marks, legend, percent
from .theme import (
    ACCENT,
    BASELINE,
    COLORS,
    COLUMN,
    DISPERSIVE,
    Picture,
    axes,
    keep,
    line_across,
    log_axis,
    look,
    palette,
    save,
)
from .training import training

__all__ = [
    "ACCENT",
    "BASELINE",
    "COLORS",
    "COLUMN",
    "DIFFERENCE",
    "DISPERSIVE",
    "Picture",
    "axes",
    "changes",
    "crosses",
    "curves",
    "diamonds",
    "differences",
    "dots",
    "heat",
    "images",
    "interval_marks",
    "keep",
    "legend",
    "line_across",
    "log_axis",
    "look",
    "palette",
    "percent",
    "points",
    "save",
    "tile",
    "tile_differences",
    "training",
]
