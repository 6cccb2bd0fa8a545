"""Does regularising one block change the norms of all? Norm, rank and direction, block by block."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .. import atomic
from ..evaluation import Estimate
from ..experiments import compare, tables
from ..experiments.claims import judge
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.statements import norms_claims
from ..models import preset
from ..store import Record
from .ablations import regularised_blocks
from .changes import claim_facts, shown_bounds
from .facts import plain, run_facts, save_results
from .heat import ratio_map
from .seeds import by_seed, name_counts, paired_difference, paired_ratio, seeds_shown, with_count
from .theme import COLORS, COLUMN, log_axis, theme

LEVEL = 0.5  # noise level that everything here is measured at
MEASURES = {
    "rms": ("feature rms", "Norm of every block"),
    "effective_rank": ("effective rank", "Rank"),
    "mean_cosine": ("mean cosine", "Direction"),
}
DIFFERENCES = {"effective_rank": ("rank", 1), "mean_cosine": ("cosine", 3)}  # short name, decimal places
ALL = "#117733"  # of the run with all blocks: neither the baseline's grey nor the blue of ℓ2
MARKERS = "ov^<>p"  # of the single blocks; diamonds are the paper's everywhere
Paired = dict[tuple[str, int], Estimate]  # label, block → estimate
Values = dict[int, float]  # seed → value
Compared = Callable[[Values, Values], Estimate | None]


def block_frame(pool: list[Record], cells: list[Cell], row: Profile) -> pd.DataFrame:
    """Measures of every block at the end of each finished run, long: label, seed, block and ``MEASURES``."""
    values = [
        {"label": label, "seed": seed, "block": entry["block"]} | {name: entry[name] for name in MEASURES}
        for label, by_seed in compare.finals(pool, cells, row).items()
        for seed, record in by_seed.items()
        for entry in record["blocks"]
        if entry["level"] == LEVEL
    ]
    return pd.DataFrame(values, columns=["label", "seed", "block", *MEASURES])


def norm_ratios(frame: pd.DataFrame) -> Paired:
    """Paired log ratio of each block's rms to that of the baseline of the same seed."""
    return _against_baseline(by_seed(frame, ["label", "block"], "rms"), paired_ratio)


def block_differences(frame: pd.DataFrame, measure: str) -> Paired:
    """Paired difference of a block's measure to that of the baseline of the same seed.

    Args:
        frame: of ``block_frame``.
        measure: of ``DIFFERENCES``, in its own unit: directions, or a cosine.
    """
    return _against_baseline(by_seed(frame, ["label", "block"], measure), paired_difference)


def _against_baseline(values: dict[tuple[str, int], Values], compared: Compared) -> Paired:
    """Each block but the baseline's own with the baseline's, as far as they share a seed."""
    found = {
        (label, block): compared(own, values.get(("baseline", block), {}))
        for (label, block), own in values.items()
        if label != "baseline"
    }
    return {key: estimate for key, estimate in found.items() if estimate is not None}


def place_names(cells: list[Cell]) -> dict[str, str]:
    """What the runs are called here, by place: the baseline, block 0, ..., all blocks."""
    places = regularised_blocks(cells)
    return {"baseline": "baseline"} | {
        label: f"block {blocks[0]}" if len(blocks) == 1 else "all blocks" for label, blocks in places.items()
    }


def norms_figure(frame: pd.DataFrame, cells: list[Cell]) -> Figure:
    """Left, norm, rank and direction of every block; right, each against the baseline of the same seed.

    Args:
        frame: of ``block_frame``.
        cells: the runs, baselines among them.
    """
    theme()
    figure = Figure(figsize=(COLUMN, 10), layout="constrained")
    rows = figure.add_gridspec(3, 1)
    shares = ((2, 3), (1, 1), (1, 1))  # of the width: the map has text in its cells
    pairs = [rows[row].subgridspec(1, 2, width_ratios=widths) for row, widths in enumerate(shares)]
    places = [pair[0, column] for pair in pairs for column in (0, 1)]
    norm, ratio, rank, fewer, direction, turned = (figure.add_subplot(place) for place in places)
    for ax, measure in ((norm, "rms"), (rank, "effective_rank"), (direction, "mean_cosine")):
        values = by_seed(frame, ["label", "block"], measure)
        means = {key: compare.mean_of(measure, own.values()) for key, own in values.items()}
        ylabel, title = MEASURES[measure]
        _lines(ax, means, cells)
        ax.set(ylabel=ylabel, title=title)
    if len(frame):
        log_axis(norm.yaxis)
    ratios = norm_ratios(frame)
    counts = {str(label): int(group.seed.nunique()) for label, group in frame.groupby("label")}
    seeds = {*counts.values(), *(value.n for value in ratios.values())}
    _map(ratio, ratios, cells, seeds)
    for ax, measure in ((fewer, "effective_rank"), (turned, "mean_cosine")):
        _lines(ax, block_differences(frame, measure), cells)
        ylabel, title = MEASURES[measure]
        ax.axhline(0, color=COLORS["baseline"], linewidth=1, zorder=0)
        ax.set(ylabel=f"difference of {ylabel}", title=f"{title} − baseline's")
    handles, _ = norm.get_legend_handles_labels()
    names = place_names(cells)
    labels = [
        with_count(name, counts[label], seeds) if label in counts else name for label, name in names.items()
    ]
    title = f"regularised (ringed: measured there); bars: {seeds_shown(counts.values())}"
    figure.legend(handles, labels, loc="outside upper center", ncols=3 if len(seeds) > 1 else len(labels),
                  columnspacing=1.2, title=title, title_fontsize=10)  # fmt: skip
    return figure


def _map(ax: Axes, ratios: Paired, cells: list[Cell], seeds: set[int]) -> None:
    """Ratios of norms as a map: runs by measured blocks; the regularised blocks are framed.

    Where numbers of seeds differ in the picture, each run has its own below its name.
    """
    places, names = regularised_blocks(cells), place_names(cells)
    depth = preset(cells[0].spec.model).config.depth
    shown = {(names[label], str(block)): value for (label, block), value in ratios.items()}
    ratio_map(ax, shown, [names[label] for label in places], [str(block) for block in range(depth)],
              label="", cmap="PuOr_r", times=True)  # fmt: skip
    bar = ax.collections[0].colorbar
    assert bar is not None
    bar.remove()  # every cell has its number
    for y, own in enumerate(places.values()):
        for block in own:  # within the cell, so that frames of neighbours stay apart
            frame = Rectangle((block + 0.05, y + 0.05), 0.9, 0.9, fill=False, edgecolor="black", linewidth=2)
            ax.add_patch(frame)
    ax.set(xlabel="measured block", title="Norm over the baseline's")
    rows = list(places)
    marks = [(rows.index(label) + 0.5, "pairs", value.n) for (label, _), value in ratios.items()]
    lines = {y + 0.5: names[label] for y, label in enumerate(rows)}
    name_counts(ax, lines, marks, among=seeds, across=True)


def _lines(ax: Axes, estimates: Paired, cells: list[Cell]) -> None:
    """Estimates over the blocks, one line per run: ringed where the term acts, hollow where of one seed."""
    places, names = regularised_blocks(cells), place_names(cells)
    single = [label for label, blocks in places.items() if len(blocks) == 1 and label != "infonce-l2"]
    colors = {**COLORS, "l2-all": ALL} | dict(zip(single, sns.color_palette("flare", len(single))))
    for number, (label, name) in enumerate(names.items()):
        own = {block: value for (of, block), value in estimates.items() if of == label}
        bounds = [(value.value, *shown_bounds(value)) for value in own.values()]
        x = np.array(list(own)) + 0.05 * (number - len(names) / 2)  # side by side
        y, low, high = np.array(bounds).reshape(-1, 3).T
        marker, line = ("s", "--") if label == "baseline" else (MARKERS[(number - 1) % len(MARKERS)], "-")
        marker = "X" if label == "l2-all" else marker
        filled = any(value.n > 1 for value in own.values())
        ax.errorbar(x, y, [y - low, high - y], color=colors[label], marker=marker, linestyle=line,
                    linewidth=1.2, capsize=3, markerfacecolor=colors[label] if filled else "white",
                    label=name)  # fmt: skip
        ringed = np.isin(list(own), places.get(label, ()))
        ax.scatter(x[ringed], y[ringed], s=150, facecolor="none", edgecolor="black", linewidth=1.3, zorder=3)
    ax.set_xlabel("measured block")
    ax.set_xticks(range(preset(cells[0].spec.model).config.depth))


def norms_markdown(frame: pd.DataFrame, cells: list[Cell], card: str) -> str:
    """Norm, rank and cosine of every block against the baseline's, then the three themselves, as Markdown."""
    names, ratios = place_names(cells), norm_ratios(frame)
    differences = {measure: block_differences(frame, measure) for measure in DIFFERENCES}
    blocks = range(preset(cells[0].spec.model).config.depth)
    head = ["regularised", "measured", "feature rms, ratio", "effective rank, difference",
            "mean cosine, difference", "by the intervals", "n"]  # fmt: skip
    changes = []
    for place, ratio in sorted(ratios.items(), key=lambda entry: list(names).index(entry[0][0])):
        own = {measure: found[place] for measure, found in differences.items()}
        text = [_signed(own[measure], digits) for measure, (_, digits) in DIFFERENCES.items()]
        so = clear_of_none({"norm": ratio} | {DIFFERENCES[m][0]: value for m, value in own.items()})
        label, block = place
        changes.append([names[label], f"block {block}", tables.times_interval(ratio), *text, so, ratio.n])
    means = []
    for label, name in names.items():
        measured = frame[frame.label == label]
        if len(measured):
            by_block = [_measures(measured[measured.block == block]) for block in blocks]
            means.append([name, *by_block, measured.seed.nunique()])
    columns = ["regularised: rms; effective rank; mean cosine", *(f"block {block}" for block in blocks),
               "seeds"]  # fmt: skip
    lines = [
        tables.markdown_table(head, changes),
        "",
        "Each block against the same block of the baseline of the same seed: mean and 95% interval over n "
        "seeds (Student's t), of the log ratio for the rms. *By the intervals*: what lies on one side of no "
        "change with its whole interval; of intervals at 95%, one in twenty does by chance. The paper says "
        "that every norm rises, by about an order of magnitude (read in one secondary source).",
        "",
        tables.markdown_table(columns, means),
        "",
        f"Mean ± half the 95% interval over seeds{tables.OR_BOUNDS}. {card}",
    ]
    return "\n".join(lines) + "\n"


def clear_of_none(changes: dict[str, Estimate]) -> str:
    """``norm up, rank down``: the changes whose interval leaves out none; else "can't tell"."""
    clear = [
        f"{name} {'up' if change.low > 0 else 'down'}"
        for name, change in changes.items()
        if change.low > 0 or change.high < 0
    ]
    return ", ".join(clear) or "can't tell"


def _signed(estimate: Estimate, digits: int) -> str:
    value, low, high = (  # what rounds to nothing is +0, not -0
        f"{round(v, digits) + 0.0:+.{digits}f}" for v in (estimate.value, estimate.low, estimate.high)
    )
    return value + (f" [{low}, {high}]" if estimate.n > 1 else " (one seed)")


def _measures(group: pd.DataFrame) -> str:
    digits = {"rms": 2, "effective_rank": 0, "mean_cosine": 2}
    return "; ".join(tables.with_interval(compare.mean_of(m, group[m]), d) for m, d in digits.items())


def draw_norms(pool: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, Path]:
    """Draw figure and tables of the norms into ``folder``; returns (tables, picture).

    Args:
        pool: evaluations.
        cells: of ``blocks``, with the baseline and the paper's own setting.
        row: the profile.
        folder: where to.
    """
    frame = block_frame(pool, cells, row)
    judgements = judge(norms_claims(pool, cells, row, LEVEL))
    card = (
        f"{row.model} at its last step, EMA {row.weights}; {row.protocol.split} images at noise level "
        f"{LEVEL}; blocks counted from 0."
    )
    table = folder / "norms.md"
    text = norms_markdown(frame, cells, card)
    atomic.write_text(table, f"{tables.claims_markdown(judgements)}\n{text}")
    measured = frame.groupby(["label", "block"], sort=False)
    facts: dict[str, Any] = {
        "item": "norms",
        "protocol": row.protocol.model_dump(mode="json"),
        "level": LEVEL,
        "ratios": [
            {"label": label, "block": block, "log_ratio": plain(value)}
            for (label, block), value in norm_ratios(frame).items()
        ],
        "differences": [
            {"label": label, "block": block, "measure": measure, "difference": plain(value)}
            for measure in DIFFERENCES
            for (label, block), value in block_differences(frame, measure).items()
        ],
        "means": [
            {"label": label, "block": int(block)}
            | {name: plain(compare.mean_of(name, group[name])) for name in MEASURES}
            for (label, block), group in measured
        ],
        "values": plain(frame.to_dict(orient="records")),
        "claims": claim_facts(judgements),
        "runs": run_facts(pool, cells, row),
    }
    return table, save_results(norms_figure(frame, cells), folder / "norms", facts, pool, cells, row)
