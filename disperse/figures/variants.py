"""The dispersive column of the paper's variants table, as pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..experiments import compare, paper, tables
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..store import Record
from .changes import PAPER, change_bar, hollow_curves, mark, name_diamonds, name_ours, paper_diamond
from .facts import curve_facts, floor_of, plain, run_facts, save_results
from .seeds import name_counts, with_count
from .theme import COLORS, COLUMN, MARKERS, band, floor_line, log_axis, new_figure


def variants_figure(rows: list[compare.Row], pool: list[Record], cells: list[Cell], row: Profile) -> Figure:
    """Distances with intervals beside the paper's; then relative changes, ours and the paper's."""
    figure, (left, right) = new_figure(COLUMN, 4.6, columns=2)
    finals = pd.DataFrame([r for r in compare.curves(pool, cells, row) if r["step"] == row.num_steps])
    for position, entry in enumerate(rows):
        color = COLORS[entry.label]
        values = finals[finals.label == entry.label].fd
        left.scatter(np.full(len(values), position - 0.18), values, s=18, color=color, alpha=0.45)
        mark(left, position + 0.05, entry.metrics["fd"], color)
    floor_line(left, floor_of(row.protocol), "real against real")
    left.set_ylim(bottom=0)
    left.set_ylabel("Fréchet distance (lower is better)")
    left.set_title(f"Ours: {row.data}, {row.num_steps} steps")
    counts = {entry.label: len(entry.seeds) for entry in rows}

    changed = {entry.label: entry.change for entry in rows if entry.change is not None}
    for position, (label, change) in enumerate(changed.items()):
        published = paper.variants_change(label)
        assert published is not None
        change_bar(right, position + 0.1, change, COLORS[label])
        paper_diamond(right, position - 0.14, 100 * published, color=COLORS[label])
    right.axhline(0, color=COLORS["baseline"], linewidth=1)
    right.set_ylabel("change against the baseline, %")
    right.set_title("Change against the baseline")
    pairs = {label: change.n for label, change in changed.items()}
    for ax, own in ((left, counts), (right, pairs)):
        _names(ax, own, {*counts.values(), *pairs.values()})
    right.scatter([], [], s=18, color="black", alpha=0.45, label="each seed")
    name_ours(right, [*(len(entry.seeds) for entry in rows)], label="mean", color="black")
    name_diamonds(right, PAPER)
    handles, names = right.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), columnspacing=1.2)
    return figure


PANELS = (
    ("fd", "Fréchet distance", "Quality"),
    ("rms", "feature rms at ¼ depth", "Norm"),
    ("effective_rank", "effective rank at ¼ depth", "Rank"),
    ("mean_cosine", "mean cosine at ¼ depth", "Direction"),
)


def learning_curves_figure(pool: list[Record], cells: list[Cell], row: Profile) -> Figure:
    """Distance, feature norm, effective rank and cosine over training, with 95% bands over seeds."""
    frame = pd.DataFrame(compare.curves(pool, cells, row))
    figure, axes = new_figure(COLUMN, 7, columns=2, rows=2)
    labels = [label for label in COLORS if label in set(frame.label)]
    for ax, (column, ylabel, title) in zip(axes, PANELS, strict=True):
        sns.lineplot(frame, x="step", y=column, hue="label", hue_order=labels, palette=COLORS, style="label",
                     style_order=labels, markers=[MARKERS[label] for label in labels], dashes=False,
                     errorbar=band(column), ax=ax, legend=ax is axes[0])  # fmt: skip
        ax.set(xlabel="training step", ylabel=ylabel, title=title)
        ax.set_xticks(sorted(set(frame.step)))
    floor_line(axes[0], floor_of(row.protocol), "real against real", right=False)
    log_axis(axes[0].yaxis)
    handles, _ = axes[0].get_legend_handles_labels()
    seeds = {label: int(frame[frame.label == label].seed.nunique()) for label in labels}
    for ax in axes:
        hollow_curves(ax, [(COLORS[label], MARKERS[label]) for label, n in seeds.items() if n == 1])
    axes[0].legend(
        handles, [with_count(paper.name_of(label), n, seeds.values()) for label, n in seeds.items()]
    )
    return figure


def variants_facts(
    rows: list[compare.Row], pool: list[Record], cells: list[Cell], row: Profile
) -> dict[str, Any]:
    """What the sidecar of the variants table and figure holds."""
    return {
        "item": "variants",
        "protocol": row.protocol.model_dump(mode="json"),
        "noise_floor": floor_of(row.protocol),
        "rows": compare.as_json(rows),
        "runs": run_facts(pool, cells, row),
    }


def learning_curves_facts(pool: list[Record], cells: list[Cell], row: Profile) -> dict[str, Any]:
    """What the sidecar of the learning curves holds: every value, and the means with their bands."""
    values = compare.curves(pool, cells, row)
    shown = tuple(column for column, _, _ in PANELS)
    return {
        "item": "variants",
        "protocol": row.protocol.model_dump(mode="json"),
        "noise_floor": floor_of(row.protocol),
        "curves": curve_facts(pd.DataFrame(values), shown),
        "values": plain([{key: entry[key] for key in ("label", "seed", "step", *shown)} for entry in values]),
        "runs": run_facts(pool, cells, row),
    }


def draw_variants(
    pool: list[Record], cells: list[Cell], row: Profile, folder: Path
) -> tuple[Path, Path, Path]:
    """Draw table, figure and learning curves into ``folder``, with sidecars; returns their paths."""
    rows = compare.compare(pool, cells, row)
    facts = variants_facts(rows, pool, cells, row)
    table = folder / "variants.md"
    atomic.write_text(table, tables.variants_markdown(rows, row))
    return (
        table,
        save_results(variants_figure(rows, pool, cells, row), folder / "variants", facts, pool, cells, row),
        save_results(
            learning_curves_figure(pool, cells, row),
            folder / "learning_curves",
            learning_curves_facts(pool, cells, row),
            pool,
            cells,
            row,
        ),
    )


def _names(ax: Axes, counts: dict[str, int], among: set[int]) -> None:
    """The variants below an axis, with their numbers of seeds where these differ in the picture."""
    names = {float(x): paper.name_of(label).replace(", ", ",\n") for x, label in enumerate(counts)}
    name_counts(ax, names, [(x, "ours", n) for x, n in enumerate(counts.values())], among=among)
    ax.set_xlim(-0.5, len(counts) - 0.5)
