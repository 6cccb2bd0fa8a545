"""The systems side by side: trajectories from the same noise, and the order of their solvers."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from ..analysis.gaussian import GaussianFlow, ode_error, order, sde_error
from ..objectives import PATHS
from ..sampling.sde import diffusion_coefficient
from .theme import ACCENT, COLORS, log_axis, new_figure

SOLVER_COLORS = {
    "euler": COLORS["hinge"],
    "heun": COLORS["infonce-l2"],
    "sde-euler": COLORS["covariance"],
    "sde-heun": COLORS["l2-lam0.05"],
}


def trajectories_figure(trajectories: dict[str, Tensor]) -> Figure:
    """One row per label: the state of one image from noise (left) to the end, label → (frames, c, h, w).

    Each frame is drawn on its own grey scale of ±2 standard deviations of noise, so that noise and image
    are both seen.
    """
    frames = max(len(states) for states in trajectories.values())
    figure, axes = new_figure(
        1.05 * frames + 2.2, 1.12 * len(trajectories), columns=frames, rows=len(trajectories)
    )
    grid = axes.reshape(len(trajectories), frames)
    for row, (label, states) in zip(grid, trajectories.items(), strict=True):
        positions = np.linspace(0, frames - 1, len(states)).round().astype(int)
        for ax in row:
            ax.set_axis_off()
        for position, state in zip(positions, states, strict=True):
            image = state[0] if state.shape[0] == 1 else (state[:3].permute(1, 2, 0) + 1) / 2
            bound = 2.0 if position < frames - 1 else 1.0
            row[position].imshow(image.numpy(), cmap="gray", vmin=-bound, vmax=bound)
        row[0].annotate(label, (-0.15, 0.5), xycoords="axes fraction", ha="right", va="center", fontsize=10)
    return figure


GRIDS = (8, 16, 32, 64, 128, 256)


def solver_order_errors(num_steps: tuple[int, ...] = GRIDS) -> dict[str, list[float]]:
    """Errors of the solvers on a Gaussian flow known exactly (linear path, float64), for each step count."""
    flow = GaussianFlow(PATHS["linear"], 0.7, 0.5)
    diffusion = diffusion_coefficient("sigma", flow.path)
    return {
        "euler": [ode_error(flow, "euler", n) for n in num_steps],
        "heun": [ode_error(flow, "heun", n) for n in num_steps],
        "sde-euler": [sde_error(flow, "sde-euler", diffusion, n) for n in num_steps],
        "sde-heun": [sde_error(flow, "sde-heun", diffusion, n) for n in num_steps],
    }


def solver_order_figure(errors: dict[str, list[float]], num_steps: tuple[int, ...] = GRIDS) -> Figure:
    """Error against steps, with the order fitted over the last four grids."""
    figure, (ax,) = new_figure(6.5, 4.3)
    names = {"euler": "Euler, ODE", "heun": "Heun, ODE", "sde-euler": "Euler–Maruyama, SDE (weak)",
             "sde-heun": "stochastic Heun, SDE (weak)"}  # fmt: skip
    for solver, values in errors.items():
        fitted = order(lambda n, v=values: v[num_steps.index(n)], num_steps[-4:])  # type: ignore[misc]
        ax.plot(
            num_steps,
            values,
            marker="o",
            color=SOLVER_COLORS[solver],
            label=f"{names[solver]}: order {fitted:.2f}",
        )
    ax.set(xscale="log", yscale="log", xlabel="steps", ylabel="error at the end")
    ax.set_title("Order of convergence on an exact flow")
    log_axis(ax.xaxis)
    reference = np.array(num_steps, dtype=float)
    for power in (1, 2):
        line = 0.6 * (reference / reference[0]) ** -power
        ax.plot(reference, line, color=ACCENT, linewidth=0.8, linestyle=":")
        ax.annotate(
            f"slope {power}", (reference[-1], line[-1]), color=ACCENT, fontsize=9, ha="right", va="bottom"
        )
    ax.legend(loc="lower left")
    return figure
