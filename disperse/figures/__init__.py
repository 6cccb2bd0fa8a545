"""Figures: from data to matplotlib, saved with a sidecar."""

from .idea import dispersing_points_figure, floor_figure
from .norm_cost import draw_norm_cost
from .published import draw_published
from .sampler import draw_convergence
from .samples import samples_figure, tile
from .systems import solver_order_errors, solver_order_figure, trajectories_figure
from .theme import COLORS, read_sidecar, save, theme
from .training import training_figure
from .variants import draw_variants, learning_curves_figure, variants_figure

__all__ = [
    "COLORS",
    "dispersing_points_figure",
    "draw_convergence",
    "draw_norm_cost",
    "draw_published",
    "draw_variants",
    "floor_figure",
    "learning_curves_figure",
    "read_sidecar",
    "samples_figure",
    "save",
    "solver_order_errors",
    "solver_order_figure",
    "theme",
    "tile",
    "training_figure",
    "trajectories_figure",
    "variants_figure",
]
