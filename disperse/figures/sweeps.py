"""Sweeps over one number: how many rows see each other, and how much of the attraction is left."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation import Estimate
from ..experiments import compare, paper
from ..experiments.items import Cell
from ..experiments.statements import attraction_weights, group_sizes
from .changes import (
    PAPER,
    in_percent,
    join,
    legend_above,
    mark,
    name_diamonds,
    name_ours,
    not_trained,
    paper_diamond,
    shown_bounds,
)
from .seeds import Mark, name_counts
from .theme import COLORS, COLUMN, new_figure
from .variants import PANELS

BASELINE, OWN = COLORS["baseline"], COLORS["infonce-l2"]
ATTRACTED = "#a35c1c"  # runs with two views: neither the baseline's hue nor the dispersive one's


@dataclass(frozen=True)
class Sweep:
    """Runs of one kind: label → x, how they are drawn, and what the legend calls them."""

    x: Mapping[str, float]
    name: str
    color: str = OWN
    shape: str = "o"
    size: float = 7


def local_batch_figure(rows: list[compare.Row], cells: list[Cell]) -> Figure:
    """Change and features against the rows that see each other, on a log-2 axis up to the whole batch."""
    groups = group_sizes(cells)
    sweeps = [Sweep(groups, "ours")]
    figure, axes = _panels(rows, sweeps, groups.get("infonce-l2"))
    ticks = sorted(set(groups.values()))
    for ax in axes:
        ax.set_xscale("log", base=2)
        ax.set_xlim(0.75 * min(ticks, default=1), 1.33 * max(ticks, default=2))
        ax.minorticks_off()
        ax.set_xlabel("rows that see each other")
    names = {float(group): f"{group}\n(batch)" if group == ticks[-1] else f"{group}" for group in ticks}
    _name_ticks(axes, rows, sweeps, names)
    return figure


def alpha_figure(rows: list[compare.Row], cells: list[Cell]) -> Figure:
    """Change and features against the weight α of the attraction; beside α = 0 the run of one view."""
    alphas = attraction_weights(cells)
    one_view = {c.label: 0.0 for c in cells if c.spec.regularizers and c.label not in alphas}
    sweeps = [
        Sweep(one_view, "one view (InfoNCE, ℓ2)", size=11),  # α = 0 lies on it
        Sweep(alphas, "two views", ATTRACTED, "v"),
    ]
    figure, axes = _panels(rows, sweeps, 0.0)
    for ax in axes:
        ax.set_xlim(-0.1, 1.1)
        ax.set_xlabel("weight α of the attraction")
    _name_ticks(axes, rows, sweeps, {alpha: f"{alpha:g}" for alpha in sorted(set(alphas.values()))})
    return figure


def _name_ticks(
    axes: np.ndarray, rows: list[compare.Row], sweeps: list[Sweep], names: dict[float, str]
) -> None:
    """Ticks of the four panels: seeds of the paired changes at the first, of the means at the others."""
    changed: list[Mark] = []
    marks: list[Mark] = []
    by_label = {entry.label: entry for entry in rows}
    for sweep in sweeps:
        series = sweep.name.partition(" (")[0]
        for label, x in sweep.x.items():
            entry = by_label.get(label)
            marks += [(x, series, len(entry.seeds))] if entry else []
            changed += [(x, series, entry.change.n)] if entry and entry.change else []
    seeds = {n for _, _, n in marks + changed}
    for ax in axes:
        name_counts(ax, names, changed if ax is axes[0] else marks, among=seeds)


def _panels(
    rows: list[compare.Row], sweeps: list[Sweep], published: float | None
) -> tuple[Figure, np.ndarray]:
    """Change, norm, rank and direction against x.

    Args:
        rows: of the table.
        sweeps: what is drawn, from back to front.
        published: x of the paper's own setting, whose change is known.
    """
    figure, axes = new_figure(COLUMN, 7, columns=2, rows=2)
    changes = {entry.label: in_percent(entry.change) for entry in rows if entry.change is not None}
    axes[0].axhline(0, color=BASELINE, linestyle="--", linewidth=1, label="baseline")
    axes[0].set(ylabel="change against the baseline, %", title="Quality")
    for ax, (column, ylabel, title) in zip(axes[1:], PANELS[1:], strict=True):
        for entry in rows:
            if entry.label == "baseline":
                value, (low, high) = entry.block[column].value, shown_bounds(entry.block[column])
                ax.axhline(value, color=BASELINE, linestyle="--", linewidth=1, zorder=1)
                ax.axhspan(low, high, color=BASELINE, alpha=0.12, linewidth=0)
        ax.set(ylabel=ylabel, title=title)
    columns = [changes, *({entry.label: entry.block[name] for entry in rows} for name, _, _ in PANELS[1:])]
    for ax, values in zip(axes, columns, strict=True):
        for sweep in sweeps:
            _draw(ax, values, sweep)
    for sweep in sweeps:
        counts = {changes[label].n for label in sweep.x if label in changes}
        name_ours(axes[0], counts, label=sweep.name, color=sweep.color, shape=sweep.shape)
    change = paper.variants_change("infonce-l2")
    if published is not None and change is not None:
        paper_diamond(axes[0], published, 100 * change)
    name_diamonds(axes[0], PAPER)
    legend_above(axes[0], columns=2 if len(sweeps) > 1 else 0)
    return figure, axes


def _draw(ax: Axes, values: Mapping[str, Estimate], sweep: Sweep) -> None:
    """Means with their intervals, joined; "not trained" where there is none."""
    places = {x: values.get(label) for label, x in sorted(sweep.x.items(), key=lambda entry: entry[1])}
    line = [(x, mean.value) if mean else None for x, mean in places.items()]
    join(ax, line, color=sweep.color, linewidth=1)
    for x, mean in places.items():
        if mean is None:
            not_trained(ax, x)
        else:
            mark(ax, x, mean, sweep.color, shape=sweep.shape, size=sweep.size)
