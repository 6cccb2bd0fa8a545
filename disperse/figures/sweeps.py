"""Sweeps over one number: how many rows see each other, and how much of the attraction is left."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation import Estimate
from ..experiments import compare, paper
from ..experiments.items import Cell
from .changes import change_legend, paper_diamond, percent, shown_bounds
from .theme import COLORS, new_figure
from .variants import PANELS

COLOR, BASELINE = COLORS["infonce-l2"], COLORS["baseline"]
Points = list[tuple[float, tuple[float, float, float]]]  # x → value and its interval


def local_batch_figure(rows: list[compare.Row], cells: list[Cell]) -> Figure:
    """Change and features against the rows that see each other, on a log-2 axis up to the whole batch."""
    groups = {
        cell.label: term.local_batch or cell.spec.batch_size
        for cell in cells
        for term in cell.spec.regularizers
        if term.kind == "dispersive"
    }
    figure, axes = _panels(rows, groups, {0.92 * groups.get("infonce-l2", 16): "infonce-l2"})
    ticks = sorted(set(groups.values()))
    names = [f"{group}\n(batch)" if group == ticks[-1] else f"{group}" for group in ticks]
    for ax in axes:
        ax.set_xscale("log", base=2)
        ax.set_xticks(ticks, names)
        ax.minorticks_off()
        ax.set_xlabel("rows that see each other")
    return figure


def alpha_figure(rows: list[compare.Row], cells: list[Cell]) -> Figure:
    """Change and features against the weight α of the attraction; a ring is the one-view run, at α = 0."""
    alphas, one_view = {}, {}
    for cell in cells:
        lam = {term.kind: term.lam for term in cell.spec.regularizers}
        if "alignment" in lam:
            alphas[cell.label] = lam["alignment"] / lam["dispersive"]
        elif lam:
            one_view[cell.label] = 0.0
    published = {-0.04: "infonce-l2", 1.04: "infonce-l2-restricted"}
    figure, axes = _panels(rows, alphas, published, one_view)
    for ax in axes:
        ax.set_xticks(sorted(set(alphas.values())))
        ax.set_xlim(-0.1, 1.1)
        ax.set_xlabel("weight α of the attraction")
    return figure


def _panels(
    rows: list[compare.Row],
    x: Mapping[str, float],
    published: Mapping[float, str],
    rings: Mapping[str, float] | None = None,
) -> tuple[Figure, np.ndarray]:
    """Change, norm, rank and direction against x, label by label.

    Args:
        rows: of the table.
        x: where each label stands.
        published: x → label of the paper's table of variants.
        rings: where labels stand that are drawn as rings around a point.
    """
    rings = rings or {}
    figure, axes = new_figure(11, 7.4, columns=2, rows=2)
    changes = {entry.label: percent(entry.change) for entry in rows if entry.change is not None}
    axes[0].axhline(0, color=BASELINE, linestyle="--", linewidth=1, label="baseline")
    _points(axes[0], _placed(changes, x), _placed(changes, rings))
    for place, label in published.items():
        change = paper.variants_change(label)
        assert change is not None
        paper_diamond(axes[0], place, 100 * change)
    axes[0].set(ylabel="change against the baseline, %", title="Quality")
    for ax, (column, ylabel, title) in zip(axes[1:], PANELS[1:], strict=True):
        values = {entry.label: _bounds(entry.block[column]) for entry in rows}
        if "baseline" in values:
            value, low, high = values["baseline"]
            ax.axhline(value, color=BASELINE, linestyle="--", linewidth=1, zorder=1)
            ax.axhspan(low, high, color=BASELINE, alpha=0.12, linewidth=0)
        _points(ax, _placed(values, x), _placed(values, rings))
        ax.set(ylabel=ylabel, title=title)
    if rings:
        axes[0].scatter([], [], s=150, facecolor="none", edgecolor="black", label="ours, one view")
    change_legend(axes[0], published=True, rows=rows)
    return figure, axes


def _bounds(estimate: Estimate) -> tuple[float, float, float]:
    return (estimate.value, *shown_bounds(estimate))


def _placed(values: Mapping[str, tuple[float, float, float]], x: Mapping[str, float]) -> Points:
    return sorted((x[label], value) for label, value in values.items() if label in x)


def _points(ax: Axes, points: Points, rings: Points) -> None:
    """Means with their intervals, joined by a line; rings around those of other runs at the same place."""
    x, y = np.array([place for place, _ in points]), np.array([value for _, value in points]).reshape(-1, 3)
    ax.errorbar(x, y[:, 0], [y[:, 0] - y[:, 1], y[:, 2] - y[:, 0]], fmt="o-", color=COLOR, capsize=4,
                markersize=7, linewidth=1)  # fmt: skip
    for place, (value, _, _) in rings:
        ax.scatter([place], [value], s=150, facecolor="none", edgecolor="black", zorder=3)
