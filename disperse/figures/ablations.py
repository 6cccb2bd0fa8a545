"""The paper's ablations: the block, λ and τ; and those that readers asked for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..experiments import compare, paper
from ..experiments.claims import Part
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.statements import attraction_comparisons, group_comparisons
from ..models import preset
from ..regularizers import block_indices
from ..store import Record
from .changes import (
    Draw,
    Published,
    change_bar,
    draw_changes,
    join,
    legend_above,
    mark,
    name_diamonds,
    name_ours,
    not_trained,
    paper_diamond,
)
from .heat import ratio_map
from .seeds import name_counts
from .sweeps import alpha_figure, local_batch_figure
from .theme import ACCENT, COLORS, COLUMN, floor_line, log_axis, new_figure

ALL = 1.2  # where "all blocks" stands on an axis of shares of the depth
SURE = "paper's FID: [P] printed in it, [S] read in one secondary source"


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
    figure, (ax,) = new_figure(COLUMN, 4.8)
    depth = preset(cells[0].spec.model).config.depth
    where = {
        label: (blocks[0] + 1) / depth if len(blocks) == 1 else ALL
        for label, blocks in regularised_blocks(cells).items()
    }
    changes = {where[entry.label]: entry.change for entry in rows if entry.change is not None}
    for place, change in changes.items():
        change_bar(ax, place, change, COLORS["infonce-l2"])
    for place in where.values():
        if place not in changes:
            not_trained(ax, place)
    for block, fid in paper.BLOCKS_FID.items():
        published, place = 100 * paper.relative_change(fid.value, paper.BASELINE_FID.value), ALL
        end = place
        if isinstance(block, int):
            low, end = (k / paper.BLOCKS_DEPTH for k in (block, block + 1))
            ax.hlines(published, low, end, color="black", linewidth=1.4)
            place = (low + end) / 2
        paper_diamond(ax, place, published)
        ax.annotate(f"[{block_source(block)}]", (end, published), (8, 0), textcoords="offset points",
                    fontsize=10, ha="left", va="center")  # fmt: skip
    ax.axhline(0, color=COLORS["baseline"], linewidth=1)
    ticks = {where[label]: str(blocks[0]) for label, blocks in regularised_blocks(cells).items()}
    ax.set_xlim(-0.03, ALL + 0.12)
    ax.set(xlabel="regularised block (from 0), and the share of the depth that is done after it",
           ylabel="change against the baseline, %")  # fmt: skip
    names = {x: f"{name}\n{x:.2g}" if x != ALL else "all" for x, name in ticks.items()}
    name_counts(ax, names, [(place, "ours", change.n) for place, change in changes.items()])
    name_ours(ax, {change.n for change in changes.values()})
    name_diamonds(ax, SURE)
    ax.plot(
        [], [], color="black", linewidth=1.4, label="where its block may lie, as it may count from 0 or 1"
    )
    legend_above(ax, columns=1)
    return figure


def block_source(block: int | str) -> str:
    """Where the paper's change at a block was read; that of its default is its headline, which is printed."""
    headline = paper.variants_fid("infonce-l2")
    fid = paper.BLOCKS_FID[block]
    return headline.source if fid.value == headline.value else fid.source


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
    """The paper's dispersive loss, that of α = 0; its contrastive losses are no members of the family."""
    own = published_headline(cells)
    return own | {"l2-alpha0": own["infonce-l2"]}


# Small to large λ: hues that neither the baseline nor the dispersive setting has.
LAMBDAS = (("#d9a066", "^"), ("#a35c1c", "o"), ("#4f2a08", "v"))


def lambda_tau_figure(rows: list[compare.Row], cells: list[Cell]) -> Figure:
    """Above, the change for each λ and τ, blue better and red worse; below, how long the features become."""
    figure, (top, bottom) = new_figure(8, 8.4, rows=2)
    place = {
        cell.label: (term.lam, getattr(term, "tau", 0.0)) for cell in cells for term in cell.spec.regularizers
    }
    lams, taus = (sorted({entry[i] for entry in place.values()}) for i in (0, 1))
    changes = {
        (f"{place[entry.label][0]:g}", f"{place[entry.label][1]:g}"): entry.change
        for entry in rows
        if entry.change is not None
    }
    ratio_map(top, changes, [f"{lam:g}" for lam in lams], [f"{tau:g}" for tau in taus],
              label="change of the Fréchet distance", cmap="vlag", counts=True)  # fmt: skip
    own = place["infonce-l2"]
    corner = (taus.index(own[1]), lams.index(own[0]))
    top.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=ACCENT, linewidth=2, clip_on=False))
    top.set(xlabel="temperature τ", ylabel="weight λ")
    top.set_title("Change (bold: clear of zero; framed: the paper's setting)")
    length = {place[entry.label]: entry.block["rms"] for entry in rows if entry.label in place}
    for number, (lam, (color, shape)) in enumerate(zip(lams, LAMBDAS, strict=False)):
        # Side by side, so that intervals don't hide each other.
        x = {tau: tau * 1.03 ** (number - 1) for tau in taus}
        line = [(x[tau], length[lam, tau].value) if (lam, tau) in length else None
                for tau in taus]  # fmt: skip
        join(bottom, line, color=color, linewidth=1.4)
        for tau in taus:
            if (lam, tau) in length and (lam, tau) != own:
                mark(bottom, x[tau], length[lam, tau], color, shape=shape)
                bottom.plot([], [], color=color, marker=shape, label=f"λ = {lam:g}")
            elif (lam, tau) in length:
                mark(bottom, x[tau], length[own], COLORS["infonce-l2"], shape=shape)
                bottom.plot([], [], shape, color=COLORS["infonce-l2"], label="the paper's setting")
    baseline = [entry for entry in rows if entry.label == "baseline"]
    if baseline:
        floor_line(bottom, baseline[0].block["rms"].value, "baseline", color=COLORS["baseline"])
    bottom.set(xlabel="temperature τ", ylabel="feature rms at ¼ depth")
    hollow = any(mean.n == 1 for mean in length.values())
    bottom.set_title("How far the features go (n as above" + ("; hollow: one seed)" if hollow else ")"))
    if length:
        bottom.set_xticks(taus)
        bottom.set_xlim(0.8 * taus[0], 1.3 * taus[-1])
        log_axis(bottom.xaxis, taus)
        log_axis(bottom.yaxis)
        handles, labels = bottom.get_legend_handles_labels()
        named = dict(sorted(zip(labels, handles, strict=True), key=lambda pair: pair[0]))  # each once, λ last
        bottom.legend(named.values(), named.keys())
    return figure


@dataclass(frozen=True)
class Ablation:
    """An item that is told by one table and one picture of changes.

    Attributes:
        title: its heading in the index.
        alt: what the picture shows.
        own: what the table calls the paper's own setting here.
        draw: its picture.
        published: the paper's changes, of these cells.
        note: of the paper's numbers, below the table.
        compared: what else than the baseline its runs are compared with.
    """

    title: str
    alt: str
    own: str
    draw: Draw
    published: Callable[[list[Cell]], Published] = published_headline
    note: str = ""
    compared: Callable[[list[Record], list[Cell], Profile], list[Part]] = lambda *_: []


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
        "from 0 is unknown, so in the picture a bar spans both readings.",
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
        compared=group_comparisons,
    ),
    "contrastive_to_dispersive": Ablation(
        "From contrastive to dispersive",
        "Change, norm, rank and direction for each weight of the attraction",
        "ℓ2, one view (the paper's)",
        alpha_figure,
        published_alphas,
        "The paper's dispersive loss is that of α = 0. Its contrastive losses (in the grid of variants) are "
        "no members of this family: there the positive is one of the candidates, and the pull on its "
        "distance, (1 − p)/τ, dies as the positive's share p of the row goes to 1; here it is α/τ for ever.",
        attraction_comparisons,
    ),
}


def draw_ablation(
    name: str, pool: list[Record], cells: list[Cell], row: Profile, folder: Path
) -> tuple[Path, Path]:
    """Table and picture of an ablation, with the paper's numbers beside ours."""
    own = ABLATIONS[name]
    return draw_changes(name, pool, cells, row, folder, published=own.published(cells), draw=own.draw,
                        names={"infonce-l2": own.own}, note=own.note,
                        compared=own.compared(pool, cells, row))  # fmt: skip
