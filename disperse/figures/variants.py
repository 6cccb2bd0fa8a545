"""The dispersive column of the paper's variants table, as pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..evaluation import Estimate
from ..experiments import compare, paper, tables
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.store import Record
from .facts import curve_facts, floor_of, plain, run_facts
from .theme import COLORS, MARKERS, floor_line, log_axis, new_figure, save, student_band


def variants_figure(rows: list[compare.Row], pool: list[Record], cells: list[Cell], row: Profile) -> Figure:
    """Distances with intervals beside the paper's; then relative changes, ours and the paper's."""
    figure, (left, right) = new_figure(11, 4.2, columns=2)
    finals = pd.DataFrame([r for r in compare.curves(pool, cells, row) if r["step"] == row.num_steps])
    for position, entry in enumerate(rows):
        color = COLORS[entry.label]
        values = finals[finals.label == entry.label].fd
        left.scatter(np.full(len(values), position - 0.15), values, s=18, color=color, alpha=0.45)
        _interval(left, position + 0.05, entry.metrics["fd"].value, entry.metrics["fd"], color)
    floor_line(left, floor_of(row.protocol), "real against real")
    left.set_ylim(bottom=0)
    left.set_ylabel("Fréchet distance (lower is better)")
    left.set_title(f"Ours: {row.data}, {row.num_steps} steps")
    _names(left, [entry.label for entry in rows])

    changed = [entry for entry in rows if entry.change is not None]
    for position, entry in enumerate(changed):
        assert entry.change is not None
        published = paper.variants_change(entry.label)
        assert published is not None
        percent = [100 * np.expm1(v) for v in (entry.change.value, entry.change.low, entry.change.high)]
        color = COLORS[entry.label]
        right.errorbar(position + 0.1, percent[0], [[percent[0] - percent[1]], [percent[2] - percent[0]]],
                       fmt="o", color=color, capsize=4, markersize=7)  # fmt: skip
        right.scatter(position - 0.12, 100 * published, marker="D", s=42, color="white",
                      edgecolor=color, linewidth=1.6, zorder=3)  # fmt: skip
    right.axhline(0, color=COLORS["baseline"], linewidth=1)
    right.scatter([], [], marker="D", s=42, color="white", edgecolor="black", label="paper (FID, ImageNet)")
    right.scatter([], [], marker="o", s=42, color="black", label="ours, 95% over seeds")
    right.legend(loc="best")
    right.set_ylabel("change against the baseline, %")
    right.set_title("Change against the baseline")
    _names(right, [entry.label for entry in changed])
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
    figure, axes = new_figure(11, 7.2, columns=2, rows=2)
    labels = [label for label in COLORS if label in set(frame.label)]
    for ax, (column, ylabel, title) in zip(axes, PANELS, strict=True):
        sns.lineplot(frame, x="step", y=column, hue="label", hue_order=labels, palette=COLORS, style="label",
                     style_order=labels, markers=[MARKERS[label] for label in labels], dashes=False,
                     errorbar=student_band, ax=ax, legend=ax is axes[0])  # fmt: skip
        ax.set(xlabel="training step", ylabel=ylabel, title=title)
        ax.set_xticks(sorted(set(frame.step)))
    floor_line(axes[0], floor_of(row.protocol), "real against real", right=False)
    log_axis(axes[0].yaxis)
    handles, _ = axes[0].get_legend_handles_labels()
    axes[0].legend(handles, [paper.name_of(label) for label in labels])
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
        save(variants_figure(rows, pool, cells, row), folder / "variants", facts, stamp=row.stamp),
        save(
            learning_curves_figure(pool, cells, row),
            folder / "learning_curves",
            learning_curves_facts(pool, cells, row),
            stamp=row.stamp,
        ),
    )


def _interval(ax: Axes, x: float, y: float, estimate: Estimate, color: str) -> None:
    if np.isfinite(estimate.low):
        ax.errorbar(
            x, y, [[y - estimate.low], [estimate.high - y]], fmt="o", color=color, capsize=4, markersize=7
        )
    else:
        ax.scatter([x], [y], color=color, s=49)


def _names(ax: Axes, labels: list[str]) -> None:
    ax.set_xticks(range(len(labels)), [paper.name_of(label).replace(", ", ",\n") for label in labels])
    ax.set_xlim(-0.5, len(labels) - 0.5)
