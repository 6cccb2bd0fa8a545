"""The paper's ablations: the block, λ and τ, the size of the model; and those that readers asked for."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ..experiments import compare, paper, tables
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.store import Record
from ..models import preset
from ..models.flops import num_parameters
from ..regularizers import block_indices
from .changes import Draw, change_bar, change_legend, draw_changes, paper_diamond, percent, shown_bounds
from .systems import SYSTEM_NAMES
from .theme import COLORS, log_axis, new_figure

ALL = 1.2  # where "all blocks" stands on an axis of shares of the depth


def blocks_figure(rows: list[compare.Row], cells: list[Cell]) -> Figure:
    """Change against the place of the regularised block, as a share of the depth; all blocks at the right."""
    figure, (ax,) = new_figure(8, 4.4)
    depth, where = 0, {}
    for cell in cells:
        for term in cell.spec.regularizers:
            depth = preset(cell.spec.model).config.depth
            indices = block_indices(term.blocks, depth)
            where[cell.label] = (indices[0] + 1) / depth if len(indices) == 1 else ALL
    for entry in rows:
        if entry.change is not None:
            change_bar(ax, where[entry.label], entry.change, COLORS["infonce-l2"])
    for block, fid in paper.BLOCKS_FID.items():
        x = (block + 1) / paper.BLOCKS_DEPTH if isinstance(block, int) else ALL
        paper_diamond(ax, x - 0.02, 100 * paper.relative_change(fid.value, paper.BASELINE_FID.value))
    ax.axhline(0, color=COLORS["baseline"], linewidth=1)
    ticks = [(block + 1) / depth for block in range(depth)] if depth <= 6 else [0.25, 0.5, 0.75, 1.0]
    ax.set_xticks([*ticks, ALL], [*(f"{tick:.3g}" for tick in ticks), "all"])
    ax.set_xlim(0, ALL + 0.08)
    ax.set(xlabel="share of the depth that is done at the regularised block",
           ylabel="change against the baseline, %")  # fmt: skip
    change_legend(ax, published=True)
    return figure


def lambda_tau_figure(rows: list[compare.Row], cells: list[Cell]) -> Figure:
    """Change for each λ and τ as a heat map; blue is better, red worse."""
    place = {}
    for cell in cells:
        for term in cell.spec.regularizers:
            place[cell.label] = (term.lam, term.tau)
    frame = pd.DataFrame(
        [(*place[entry.label], percent(entry.change)[0], tables.percent_interval(entry.change))
         for entry in rows if entry.change is not None],
        columns=["lam", "tau", "change", "text"],
    )  # fmt: skip
    values = frame.pivot(index="lam", columns="tau", values="change")
    text = frame.pivot(index="lam", columns="tau", values="text").fillna("").astype(object)
    figure, (ax,) = new_figure(9, 4.2)
    bound = max(20.0, float(np.nanmax(np.abs(values.to_numpy()))))
    sns.heatmap(values, annot=text.map(lambda t: t.replace(" ", "\n", 1)), fmt="", ax=ax, cmap="vlag",
                center=0, vmin=-bound, vmax=bound, linewidths=1.5, annot_kws={"fontsize": 10},
                cbar_kws={"label": "change of the Fréchet distance, %"})  # fmt: skip
    ax.set(xlabel="temperature τ", ylabel="weight λ")
    ax.tick_params(length=0)
    ax.set_yticklabels([f"{v:g}" for v in values.index], rotation=0)
    return figure


def size_figure(rows: list[compare.Row], cells: list[Cell]) -> Figure:
    """Distance and change against the number of parameters, one marker per system."""
    figure, (left, right) = new_figure(11, 4.4, columns=2)
    markers = {"sit": "o", "dit": "s", "meanflow": "^"}
    specs = {cell.label: cell.spec for cell in cells}
    for entry in rows:
        spec = specs[entry.label]
        size, marker = num_parameters(preset(spec.model).config), markers[spec.objective.kind]
        color = COLORS["infonce-l2" if spec.regularizers else "baseline"]
        fd = entry.metrics["fd"]
        low, high = shown_bounds(fd)
        left.errorbar(
            size, fd.value, [[fd.value - low], [high - fd.value]], fmt=marker, color=color, capsize=4
        )
        if entry.change is not None:
            change_bar(right, size, entry.change, color, marker=marker)
    for kind in dict.fromkeys(spec.objective.kind for spec in specs.values()):
        right.scatter([], [], marker=markers[kind], color=COLORS["infonce-l2"], label=SYSTEM_NAMES[kind])
    for label in ("baseline", "infonce-l2"):
        left.scatter([], [], color=COLORS[label], label=paper.NAMES[label])
    right.axhline(0, color=COLORS["baseline"], linewidth=1)
    left.set(xlabel="parameters", ylabel="Fréchet distance")
    right.set(xlabel="parameters", ylabel="change against the baseline, %")
    for ax in (left, right):
        sizes = sorted({num_parameters(preset(spec.model).config) for spec in specs.values()})
        log_axis(ax.xaxis, [float(size) for size in sizes])
        ax.set_xticks([float(s) for s in sizes], [_short(s) for s in sizes])
        ax.legend()
    log_axis(left.yaxis)
    return figure


def _short(count: int) -> str:
    return f"{count / 1e6:.2g}M" if count >= 1e6 else f"{count / 1e3:.0f}k"


@dataclass(frozen=True)
class Ablation:
    """An item that is told by one table and one picture of changes.

    Attributes:
        title: its heading in the index.
        alt: what the picture shows.
        draw: its picture; one line per run by default.
    """

    title: str
    alt: str
    draw: Draw | None = None


# Item, and notebook, of this name.
ABLATIONS = {
    "blocks": Ablation("Which block?", "Change against the place of the regularised block", blocks_figure),
    "lambda_tau": Ablation("How much, and how far?", "Change for each λ and τ", lambda_tau_figure),
    "local_batch": Ablation("How many rows see each other?", "Change for each size of the group"),
    "contrastive_to_dispersive": Ablation(
        "From contrastive to dispersive", "Change for each weight of the attraction"
    ),
}


def draw_ablation(
    name: str, pool: list[Record], cells: list[Cell], row: Profile, folder: Path
) -> tuple[Path, Path]:
    """Table and picture of an ablation, with the paper's headline change beside ours."""
    headline = paper.variants_change("infonce-l2")
    assert headline is not None
    published = {"infonce-l2": headline}
    return draw_changes(name, pool, cells, row, folder, published=published, draw=ABLATIONS[name].draw)
