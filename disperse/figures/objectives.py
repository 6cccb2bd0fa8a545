"""The table of objectives in pictures: which way each loss pushes, and at which scale it is awake."""

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..experiments import paper
from ..losses import ContrastiveLoss, DispersiveLoss
from ..rng import normal
from .theme import COLORS, MARKERS, log_axis, new_figure

VARIANTS = ("infonce-l2", "infonce-cosine", "hinge", "covariance")


def forces_figure(first: Tensor, second: Tensor) -> Figure:
    """Points of the plane with the negative gradient of each loss as arrows.

    Args:
        first, second (Tensor): two views of the same points, shape (b, 2). The upper row has the dispersive
            losses of the first view; the lower their contrastive parents, second views as rings tied to
            the first. Arrows are scaled panel by panel: they tell direction and proportion, not size.
    """
    figure, axes = new_figure(13, 6.6, columns=len(VARIANTS), rows=2)
    for column, variant in enumerate(VARIANTS):
        color = COLORS[variant]
        top, bottom = axes[column], axes[len(VARIANTS) + column]
        (pull,) = _descent(DispersiveLoss(variant), first)
        _points(top, first, pull, color)
        top.set_title(paper.NAMES[variant])
        for a, b in zip(first, second, strict=True):
            bottom.plot([a[0], b[0]], [a[1], b[1]], color="lightgrey", linewidth=1, zorder=0)
        ring = {"facecolor": "white", "edgecolor": COLORS["baseline"]}
        bottom.scatter(second[:, 0], second[:, 1], s=22, zorder=3, **ring)
        both = _descent(ContrastiveLoss(variant), first, second)
        _points(bottom, torch.cat([first, second]), torch.cat(both), color, shown=len(first))
    axes[0].set_ylabel("dispersive, one view")
    axes[len(VARIANTS)].set_ylabel("contrastive, two views")
    return figure


def _descent(loss: torch.nn.Module, *views: Tensor) -> tuple[Tensor, ...]:
    leaves = [view.clone().requires_grad_() for view in views]
    return tuple(-gradient for gradient in torch.autograd.grad(loss(*leaves), leaves))


def _points(ax: Axes, points: Tensor, pull: Tensor, color: str, shown: int | None = None) -> None:
    """Arrows at every point, the longest a share of the panel; dots at the first ``shown``."""
    longest = pull.norm(dim=1).max().clamp_min(1e-12)
    reach = 0.3 * (points.amax(dim=0) - points.amin(dim=0)).max()
    arrows = pull / longest * reach
    ax.quiver(*points.T, *arrows.T, angles="xy", scale_units="xy", scale=1, color=color, width=0.009)
    ax.scatter(points[:shown, 0], points[:shown, 1], s=22, color=COLORS["baseline"], zorder=3)
    ax.axhline(0, color="lightgrey", linewidth=0.8, zorder=0)
    ax.axvline(0, color="lightgrey", linewidth=0.8, zorder=0)
    ax.set_aspect("equal", adjustable="datalim")
    ax.update_datalim((points + arrows).numpy())  # the tips too
    ax.margins(0.08)
    ax.autoscale_view()
    ax.set_xticks([])
    ax.set_yticks([])


def scales(rows: int = 16, width: int = 512) -> dict[str, dict[str, list[float]]]:
    """Gaussian features that grow, variant → ``std``, ``height``, ``pull``.

    ``height``: where the loss stands between its floor (0) and its ceiling (1). ``pull``: the relative rate
    ``−∂L/∂log s`` at which it falls as all rows are multiplied by s, over its span; 0 where it doesn't care.
    """
    z = normal((rows, width), "objectives scale").double()
    found: dict[str, dict[str, list[float]]] = {}
    for variant in VARIANTS:
        loss = DispersiveLoss(variant)
        report = loss.report(z)
        entry: dict[str, list[float]] = {"std": [], "height": [], "pull": []}
        for std in np.geomspace(0.05, 5, 41):
            log_scale = torch.tensor(float(np.log(std)), dtype=torch.float64, requires_grad=True)
            value = loss(z * log_scale.exp())
            span = report.ceiling - report.floor
            entry["std"].append(float(std))
            entry["height"].append((value.item() - report.floor) / span)
            entry["pull"].append(-torch.autograd.grad(value, log_scale)[0].item() / span)
        found[variant] = entry
    return found


def scales_figure(measured: dict[str, dict[str, list[float]]]) -> Figure:
    """``scales`` as curves: left the height of each loss, right how much it gains by longer features."""
    figure, (left, right) = new_figure(11, 4.2, columns=2)
    for variant, entry in measured.items():
        style = {"color": COLORS[variant], "marker": MARKERS[variant], "markevery": 8, "markersize": 6}
        left.plot(entry["std"], entry["height"], label=paper.NAMES[variant], **style)
        right.plot(entry["std"], entry["pull"], **style)
    left.set(xlabel="standard deviation of the features", ylabel="0 = floor, 1 = ceiling", title="Height")
    right.set(xlabel="standard deviation of the features", ylabel="gain by longer features",
              title="Which losses ask for length")  # fmt: skip
    for ax in (left, right):
        log_axis(ax.xaxis)
    left.legend()
    return figure
