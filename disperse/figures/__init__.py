"""Figures: from data to matplotlib, saved with a sidecar."""

from .ablations import (
    ABLATIONS,
    blocks_figure,
    draw_ablation,
    lambda_tau_figure,
    regularised_blocks,
)
from .beyond_fid import draw_beyond_fid
from .changes import draw_changes
from .curated import draw_curated, draw_pairs, other_baseline
from .from_weights import draw_from_weights
from .gallery import gallery_figure
from .grid import draw_grid
from .guided import draw_guided
from .idea import dispersing_points_figure, floor_figure, points_facts
from .longer import draw_longer, longer_figure
from .meanflow import draw_meanflow, meanflow_figure
from .nearest import draw_nearest, nearest_figure
from .norm_cost import draw_norm_cost
from .norms import draw_norms, norms_figure
from .objectives import forces_figure, scales, scales_figure
from .one_step import draw_one_step
from .opened import draw_representations, probed_images
from .per_timestep import draw_per_timestep
from .published import draw_published
from .sampler import draw_convergence
from .samples import (
    agreement,
    draw_from,
    draw_grids,
    draw_samples,
    pictures,
    real_images,
    samples_figure,
    tile,
)
from .scale import draw_scale, scale_figure
from .sizes import draw_model_size, size_figure
from .sweeps import alpha_figure, local_batch_figure
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
    "agreement",
    "alpha_figure",
    "blocks_figure",
    "dispersing_points_figure",
    "draw_ablation",
    "draw_beyond_fid",
    "draw_changes",
    "draw_convergence",
    "draw_curated",
    "draw_from",
    "draw_from_weights",
    "draw_grid",
    "draw_grids",
    "draw_guided",
    "draw_longer",
    "draw_meanflow",
    "draw_model_size",
    "draw_nearest",
    "draw_norm_cost",
    "draw_norms",
    "draw_one_step",
    "draw_pairs",
    "draw_per_timestep",
    "draw_published",
    "draw_representations",
    "draw_samples",
    "draw_scale",
    "draw_solver_order",
    "draw_systems",
    "draw_variants",
    "floor_figure",
    "forces_figure",
    "gallery_figure",
    "lambda_tau_figure",
    "learning_curves_figure",
    "local_batch_figure",
    "longer_figure",
    "meanflow_figure",
    "nearest_figure",
    "norms_figure",
    "other_baseline",
    "pictures",
    "points_facts",
    "probed_images",
    "read_sidecar",
    "real_images",
    "regularised_blocks",
    "samples_figure",
    "save",
    "scale_figure",
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
