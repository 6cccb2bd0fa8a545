"""The paper's ablations: the block, λ and τ; and those that readers asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..experiments import compare, paper
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.store import Record
from ..models import preset
from ..regularizers import block_indices
from .changes import Draw, Published, change_bar, change_legend, draw_changes, paper_diamond, shown_bounds
from .heat import ratio_map
from .sweeps import alpha_figure, local_batch_figure
from .theme import ACCENT, COLORS, floor_line, log_axis, new_figure

ALL = 1.2  # where "all blocks" stands on an axis of shares of the depth
SECONDARY = "paper's FID (one secondary source)"


def regularised_blocks(cells: list[Cell]) -> dict[str, tuple[int, ...]]:
    """Label → blocks that its term acts on, counted from 0; by place, all blocks last, no baselines."""
    found = {}
    for cell in cells:
        for term in cell.spec.regularizers:
            found[cell.label] = block_indices(term.blocks, preset(cell.spec.model).config.depth)
    return dict(sorted(found.items(), key=lambda entry: (len(entry[1]), entry[1])))


def blocks_figure(rows: list[compare.Row], cells: list[Cell]) -> Figure:
    """Change against the place of the regularised block, as a share of the depth; all blocks at the right.

    Whether the paper's numbers of blocks count from 0 is unknown: a bar spans both readings.
    """
    figure, (ax,) = new_figure(8, 4.8)
    depth = preset(cells[0].spec.model).config.depth
    where = {
        label: (blocks[0] + 1) / depth if len(blocks) == 1 else ALL
        for label, blocks in regularised_blocks(cells).items()
    }
    for entry in rows:
        if entry.change is not None:
            change_bar(ax, where[entry.label], entry.change, COLORS["infonce-l2"])
    for block, fid in paper.BLOCKS_FID.items():
        change = 100 * paper.relative_change(fid.value, paper.BASELINE_FID.value)
        if isinstance(block, int):
            low, high = (k / paper.BLOCKS_DEPTH for k in (block, block + 1))
            ax.hlines(change, low, high, color="black", linewidth=1.4)
            paper_diamond(ax, (low + high) / 2, change)
        else:
            paper_diamond(ax, ALL - 0.03, change)
    ax.axhline(0, color=COLORS["baseline"], linewidth=1)
    ax.plot([], [], color="black", linewidth=1.4, label="counted from 0 or 1")
    ticks = {where[label]: str(blocks[0]) for label, blocks in regularised_blocks(cells).items()}
    ax.set_xticks(list(ticks), [f"{name}\n{x:.2g}" if x != ALL else "all" for x, name in ticks.items()])
    ax.set_xlim(-0.03, ALL + 0.08)
    ax.set(xlabel="regularised block (from 0), and the share of the depth that is done after it",
           ylabel="change against the baseline, %")  # fmt: skip
    change_legend(ax, published=True, rows=rows, source=SECONDARY)
    return figure


def published_headline(cells: list[Cell]) -> Published:
    """The paper's change in its own setting."""
    headline = paper.variants_change("infonce-l2")
    assert headline is not None
    return {"infonce-l2": headline}


def published_blocks(cells: list[Cell]) -> Published:
    """The paper's changes by our labels; that at ¼ of the depth, its default, is its headline.

    Its block 3, if it counts from 0, would stand at ``depth // 4``: left open.
    """
    depth = preset(cells[0].spec.model).config.depth
    places = {"l2-block0": 0, f"l2-block{depth // 2}": 6, f"l2-block{depth - 1}": 11}
    fid = {label: paper.BLOCKS_FID[block] for label, block in places.items()}
    fid["l2-all"] = paper.BLOCKS_FID["all"]
    base = paper.BASELINE_FID.value
    changes = {label: paper.relative_change(each.value, base) for label, each in fid.items()}
    return published_headline(cells) | changes


def published_alphas(cells: list[Cell]) -> Published:
    """The paper's dispersive loss at α = 0, and its contrastive loss with restricted noise at α = 1."""
    contrastive = paper.variants_change("infonce-l2-restricted")
    assert contrastive is not None
    own = published_headline(cells)
    return own | {"l2-alpha0": own["infonce-l2"], "l2-alpha1": contrastive}


GRID_BLUES = ("#7fb8d8", COLORS["infonce-l2"], "#00324f")  # small to large λ


def lambda_tau_figure(rows: list[compare.Row], cells: list[Cell]) -> Figure:
    """Above, the change for each λ and τ, blue better and red worse; below, how long the features become."""
    figure, (top, bottom) = new_figure(8, 8, rows=2)
    place = {cell.label: (term.lam, term.tau) for cell in cells for term in cell.spec.regularizers}
    lams, taus = (sorted({entry[i] for entry in place.values()}) for i in (0, 1))
    changes = {
        (f"{place[entry.label][0]:g}", f"{place[entry.label][1]:g}"): entry.change
        for entry in rows
        if entry.change is not None
    }
    ratio_map(top, changes, [f"{lam:g}" for lam in lams], [f"{tau:g}" for tau in taus],
              label="change of the Fréchet distance", cmap="vlag")  # fmt: skip
    own = place["infonce-l2"]
    corner = (taus.index(own[1]), lams.index(own[0]))
    top.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=ACCENT, linewidth=2, clip_on=False))
    top.set(xlabel="temperature τ", ylabel="weight λ")
    top.set_title("Change (bold: clear of zero; framed: the paper's setting)")
    length = {place[entry.label]: entry.block["rms"] for entry in rows if entry.label in place}
    for number, (lam, color) in enumerate(zip(lams, GRID_BLUES, strict=False)):
        line = [(tau, length[lam, tau]) for tau in taus if (lam, tau) in length]
        low, high = zip(*(shown_bounds(rms) for _, rms in line), strict=True) if line else ((), ())
        y = np.array([rms.value for _, rms in line])
        x = [tau * 1.03 ** (number - 1) for tau, _ in line]  # side by side
        bottom.errorbar(x, y, [y - np.array(low), np.array(high) - y], fmt="o-",
                        color=color, capsize=4, label=f"λ = {lam:g}")  # fmt: skip
    baseline = [entry for entry in rows if entry.label == "baseline"]
    if baseline:
        floor_line(bottom, baseline[0].block["rms"].value, "baseline", color=COLORS["baseline"])
    bottom.set(xlabel="temperature τ", ylabel="feature rms at ¼ depth")
    bottom.set_title("How far the features go")
    if length:
        bottom.set_xticks(taus)
        log_axis(bottom.xaxis, taus)
        log_axis(bottom.yaxis)
        bottom.legend()
    return figure


@dataclass(frozen=True)
class Ablation:
    """An item that is told by one table and one picture of changes.

    Attributes:
        title: its heading in the index.
        alt: what the picture shows.
        own: what the table calls the paper's own setting here.
        draw: its picture; one line per run by default.
        published: the paper's changes, of these cells.
        note: of the paper's numbers, below the table.
    """

    title: str
    alt: str
    own: str
    draw: Draw | None = None
    published: Callable[[list[Cell]], Published] = published_headline
    note: str = ""


# Item, and notebook, of this name.
ABLATIONS = {
    "blocks": Ablation(
        "Which block?",
        "Change against the place of the regularised block",
        "ℓ2, ¼ of the depth (the paper's)",
        blocks_figure,
        published_blocks,
        "Ours count blocks from 0. The paper's changes are of FID, SiT-B/2 on ImageNet 256²: that at ¼ of "
        "the depth is printed in the paper; the others were read in one secondary source, for blocks 0, 3, "
        "6 and 11 of 12 and for all, and stand here at the same share of the depth. Whether its 3 counts "
        "from 0 is unknown.",
    ),
    "lambda_tau": Ablation(
        "How much, and how far?",
        "Change and feature rms for each λ and τ",
        "ℓ2, λ = 0.5, τ = 0.5 (the paper's)",
        lambda_tau_figure,
        note="Paper: every cell improves (read in one secondary source); only the value of its own setting "
        "is known here.",
    ),
    "local_batch": Ablation(
        "How many rows see each other?",
        "Change, norm, rank and direction for each size of the group",
        "ℓ2, groups of 16 (the paper's)",
        local_batch_figure,
    ),
    "contrastive_to_dispersive": Ablation(
        "From contrastive to dispersive",
        "Change, norm, rank and direction for each weight of the attraction",
        "ℓ2, one view (the paper's)",
        alpha_figure,
        published_alphas,
        "The paper's change beside α = 1 is that of its contrastive loss with restricted noise, which is "
        "nearly, but not exactly, the loss of α = 1 here.",
    ),
}


def draw_ablation(
    name: str, pool: list[Record], cells: list[Cell], row: Profile, folder: Path
) -> tuple[Path, Path]:
    """Table and picture of an ablation, with the paper's numbers beside ours."""
    own = ABLATIONS[name]
    return draw_changes(name, pool, cells, row, folder, published=own.published(cells), draw=own.draw,
                        names={"infonce-l2": own.own}, note=own.note)  # fmt: skip
