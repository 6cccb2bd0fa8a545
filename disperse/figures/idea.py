"""The idea in pictures: points that repel each other, and how far a loss can fall."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..experiments import paper
from ..losses import DispersiveLoss
from ..losses.distances import squared_distances
from ..rng import normal
from .theme import COLORS, floor_line, new_figure


def planar_floor(loss: DispersiveLoss, count: int) -> float:
    """The smallest loss of ``count`` points in the plane.

    As ``report`` says, but for the cosine, whose general floor is a simplex that the plane can't hold: there
    it is that of equal angles.
    """
    if loss.variant != "infonce-cosine":
        return loss.report(torch.zeros(count, 2)).floor
    angles = 2 * torch.pi * torch.arange(count, dtype=torch.float64) / count
    return loss(torch.stack([angles.cos(), angles.sin()], dim=1)).item()


def points_facts(points: Tensor, loss: DispersiveLoss) -> dict[str, float]:
    """What can be said of points (b, 2) under a loss.

    ``loss`` and ``floor`` (the smallest in the plane); ``nearest``, the smallest D of two points;
    ``inside_margin``, the pairs that are nearer than the hinge's ε by more than 1%; ``largest_gap`` between
    neighbouring directions from the origin, in degrees; ``correlation`` of the two coordinates.
    """
    z = points.double()
    pairs = torch.triu_indices(len(z), len(z), offset=1)
    distances = (squared_distances(z) / z.shape[1])[pairs[0], pairs[1]]
    angles = torch.atan2(z[:, 1], z[:, 0]).sort().values
    gaps = torch.cat([angles, angles[:1] + 2 * torch.pi]).diff()
    return {
        "loss": loss(z).item(),
        "floor": planar_floor(loss, len(z)),
        "nearest": distances.min().item(),
        "inside_margin": int((distances < 0.99 * loss.eps).sum()),
        "largest_gap": torch.rad2deg(gaps.max()).item(),
        "correlation": torch.corrcoef(z.mT)[0, 1].item(),
    }


def dispersing_points_figure(paths: dict[str, Tensor], losses: dict[str, DispersiveLoss]) -> Figure:
    """Paths of 2-D points that follow the negative gradient of each loss, as ``analysis.descend`` makes them.

    Args:
        paths: variant → (steps + 1, b, 2); the start is the same in each.
        losses: variant → loss.
    """
    figure, axes = new_figure(3.1 * len(losses), 4.0, columns=len(losses))
    for ax, (variant, loss) in zip(axes, losses.items(), strict=True):
        path, color = paths[variant].numpy(), COLORS[variant]
        ax.plot(path[:, :, 0], path[:, :, 1], color=color, alpha=0.35, linewidth=0.8)
        ax.scatter(*path[0].T, s=10, color=COLORS["baseline"], label="start", zorder=3)
        ax.scatter(*path[-1].T, s=26, color=color, edgecolor="white", linewidth=0.4, label="end", zorder=4)
        ax.axhline(0, color="lightgrey", linewidth=0.8, zorder=0)
        ax.axvline(0, color="lightgrey", linewidth=0.8, zorder=0)
        ax.set_aspect("equal", adjustable="datalim")
        ax.set_title(paper.NAMES[variant])
        before, after = (points_facts(paths[variant][i], loss)["loss"] for i in (0, -1))
        floor = planar_floor(loss, path.shape[1])
        ax.set_xlabel(f"loss {before:.2f} → {after:.3f}\nfloor {floor:.3f}".replace("-", "−"))
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2)
    return figure


def floor_figure(
    variant: str = "infonce-l2", *, rows: tuple[int, ...] = (8, 32, 256), width: int = 512
) -> Figure:
    """Loss and off-diagonal weight of Gaussian features as they spread, for several batch sizes."""
    loss = DispersiveLoss(variant)
    spreads = np.linspace(0, 2, 41)
    figure, (left, right) = new_figure(9.5, 3.6, columns=2)
    # From light to dark as the batch grows, so that the curves are told apart in grey too.
    for count, alpha in zip(rows, np.linspace(0.4, 1.0, len(rows)), strict=True):
        z = normal((count, width), "floor figure", count)
        reports = [loss.report(z * float(spread)) for spread in spreads]
        color = (*_rgb(COLORS[variant]), alpha)
        left.plot(spreads, [r.value for r in reports], color=color, label=f"b = {count}")
        floor_line(left, reports[0].floor, f"floor −log {count}", right=False)
        right.plot(spreads, [r.off_diagonal_weight for r in reports], color=color)
    left.set(xlabel="standard deviation of the features", ylabel="loss", title="The loss has a floor")
    right.set(xlabel="standard deviation of the features", ylabel="weight of the pairs i ≠ j",
              title="What is left to push")  # fmt: skip
    left.legend(loc="upper right")
    return figure


def _rgb(color: str) -> tuple[float, float, float]:
    return tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))  # type: ignore[return-value]
