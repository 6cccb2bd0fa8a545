"""The paper's ablations: the block, λ and τ; and those that readers asked for."""

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
from ..regularizers import block_indices
from .changes import Draw, change_bar, change_legend, draw_changes, paper_diamond, percent
from .theme import COLORS, new_figure

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
