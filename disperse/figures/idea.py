"""The idea in pictures: points that repel each other, and how far a loss can fall."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..analysis import descend
from ..experiments import paper
from ..losses import DispersiveLoss
from ..rng import normal
from .theme import ACCENT, COLORS, new_figure


def dispersing_points_figure(points: Tensor, losses: dict[str, DispersiveLoss], *, num_steps: int) -> Figure:
    """Paths of 2-D points (b, 2) that follow the negative gradient of each loss.

    Args:
        points: the start, grey in each panel.
        losses: variant → loss.
        num_steps: gradient steps.
    """
    figure, axes = new_figure(3.0 * len(losses), 3.6, columns=len(losses))
    for ax, (variant, loss) in zip(axes, losses.items(), strict=True):
        path = descend(points, loss, num_steps=num_steps).numpy()
        color = COLORS[variant]
        ax.plot(path[:, :, 0], path[:, :, 1], color=color, alpha=0.35, linewidth=0.8)
        ax.scatter(*path[0].T, s=14, color=COLORS["baseline"], label="start", zorder=3)
        ax.scatter(*path[-1].T, s=26, color=color, label="end", zorder=3)
        ax.axhline(0, color="lightgrey", linewidth=0.8, zorder=0)
        ax.axvline(0, color="lightgrey", linewidth=0.8, zorder=0)
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_title(paper.NAMES[variant])
        before, after = loss(torch.from_numpy(path[0])), loss(torch.from_numpy(path[-1]))
        ax.set_xlabel(f"loss {before:.2f} → {after:.2f}")
    axes[0].legend(loc="lower left")
    return figure


def floor_figure(
    variant: str = "infonce-l2", *, rows: tuple[int, ...] = (8, 32, 256), width: int = 512
) -> Figure:
    """Loss and off-diagonal weight of Gaussian features as they spread, for several batch sizes."""
    loss = DispersiveLoss(variant)
    spreads = np.linspace(0, 2, 41)
    figure, (left, right) = new_figure(9.5, 3.6, columns=2)
    for count, alpha in zip(rows, np.linspace(0.4, 1.0, len(rows)), strict=True):
        z = normal((count, width), "floor figure", count)
        reports = [loss.report(z * float(spread)) for spread in spreads]
        color = (*_rgb(COLORS[variant]), alpha)
        left.plot(spreads, [r.value for r in reports], color=color, label=f"b = {count}")
        left.axhline(reports[0].floor, color=ACCENT, linestyle="--", linewidth=1)
        left.annotate(f"floor −log {count}", (0.02, reports[0].floor), color=ACCENT, fontsize=9, va="bottom")
        right.plot(spreads, [r.off_diagonal_weight for r in reports], color=color)
    left.set(xlabel="standard deviation of the features", ylabel="loss", title="The loss has a floor")
    right.set(xlabel="standard deviation of the features", ylabel="weight of the pairs i ≠ j",
              title="What is left to push")  # fmt: skip
    left.legend(loc="upper right")
    return figure


def _rgb(color: str) -> tuple[float, float, float]:
    return tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]
