"""Figures: from data to matplotlib, saved with a sidecar."""

from .ablations import ABLATIONS, blocks_figure, draw_ablation, lambda_tau_figure, size_figure
from .beyond_fid import draw_beyond_fid
from .changes import draw_changes
from .grid import draw_grid
from .idea import dispersing_points_figure, floor_figure, points_facts
from .nearest import draw_nearest, nearest_figure
from .norm_cost import draw_norm_cost
from .objectives import forces_figure, scales, scales_figure
from .per_timestep import draw_per_timestep
from .published import draw_published
from .sampler import draw_convergence
from .samples import draw_samples, samples_figure, tile
from .systems import (
    draw_solver_order,
    draw_systems,
    solver_order_errors,
    solver_order_figure,
    trajectories_figure,
)
from .theme import COLORS, MARKERS, read_sidecar, save, theme
from .training import term_bounds, training_figure
from .variants import draw_variants, learning_curves_figure, variants_figure

__all__ = [
    "ABLATIONS",
    "COLORS",
    "MARKERS",
    "blocks_figure",
    "dispersing_points_figure",
    "draw_ablation",
    "draw_beyond_fid",
    "draw_changes",
    "draw_convergence",
    "draw_grid",
    "draw_nearest",
    "draw_norm_cost",
    "draw_per_timestep",
    "draw_published",
    "draw_samples",
    "draw_solver_order",
    "draw_systems",
    "draw_variants",
    "floor_figure",
    "forces_figure",
    "lambda_tau_figure",
    "learning_curves_figure",
    "nearest_figure",
    "points_facts",
    "read_sidecar",
    "samples_figure",
    "save",
    "scales",
    "scales_figure",
    "size_figure",
    "solver_order_errors",
    "solver_order_figure",
    "term_bounds",
    "theme",
    "tile",
    "training_figure",
    "trajectories_figure",
    "variants_figure",
]
