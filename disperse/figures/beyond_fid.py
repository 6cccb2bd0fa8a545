"""Beyond the distance: fidelity, coverage, obedience to the label, and what was learned by heart."""

import dataclasses
from pathlib import Path
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..evaluation import Estimate
from ..experiments import compare, paper, tables
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..store import Record
from .changes import shown_bounds
from .facts import curve_facts, plain, run_facts, save_results
from .levels import (
    AGAINST_TRAINING,
    level_frame,
    looked_at,
    looked_facts,
    mean_text,
    points_text,
)
from .overfitting import (
    Place,
    copying_markdown,
    counts,
    gap_by_level_markdown,
    gap_markdown,
    overfitting,
    panel_by_images,
    panel_of_bounds,
    panel_of_changes,
    table,
)
from .seeds import PAIR, count_of_seeds, mean_or_none, paired_difference
from .theme import COLORS, COLUMN, MARKERS, band, log_axis, new_figure, say_not_measured

# Shares, all better if higher.
QUALITY = {"precision": "precision", "recall": "recall", "agreement": "class agreement",
           "guided_agreement": "guided agreement"}  # fmt: skip


def quality_frame(pool: list[Record], cells: list[Cell], row: Profile) -> pd.DataFrame:
    """Evaluations of baseline and ℓ2 under the profile's own protocol, one row for each run and step."""
    pair = [cell for cell in cells if cell.label in PAIR]
    columns = ["label", "seed", "step", "fd", *QUALITY]
    return pd.DataFrame(compare.curves(pool, pair, row), columns=columns)


def quality_changes(frame: pd.DataFrame, step: int) -> dict[str, dict[str, Any]]:
    """Name of a metric → mean over seeds by term, and the paired difference ℓ2 − baseline, at a step."""
    at = frame[frame.step == step]
    found: dict[str, dict[str, Any]] = {}
    for name in QUALITY:
        values = {t: at[at.label == t].set_index("seed")[name].dropna().to_dict() for t in PAIR}
        means = {t: mean_or_none(name, v.values()) for t, v in values.items() if v}
        found[name] = {"means": means, "difference": paired_difference(values[PAIR[1]], values[PAIR[0]])}
    return found


def beyond_fid_figure(frame: pd.DataFrame, places: list[Place], row: Profile) -> Figure:
    """Metrics over training and their differences at the end; copies, the gap of losses, the unseen loss.

    Args:
        frame: of ``quality_frame``.
        places: of ``overfitting``.
        row: the profile.
    """
    figure, axes = new_figure(COLUMN, 11, columns=2, rows=3)
    manifold, labels, ends, near, gap, unseen = axes
    _curves(manifold, frame, ("precision", "recall"), "share", "Precision and recall")
    _curves(labels, frame, ("agreement", "guided_agreement"), "share", "Is it the class asked for?")
    _differences(ends, quality_changes(frame, row.num_steps))
    panel_by_images(near, places, "near", row)
    panel_of_bounds(near, places, row)
    near.set(ylabel="share of samples nearest\nto a training image", title="Copies?")
    panel_by_images(gap, places, "gap", row)
    gap.set(ylabel="loss on unseen − on seen images", title="Learned by heart?")
    gaps = [low for place in places for value in place["gap"].values() for low in shown_bounds(value)]
    if gaps and min(gaps) > 0:  # on a linear axis gaps of large sets would lie on each other
        log_axis(gap.yaxis)
    panel_of_changes(unseen, places, row)
    unseen.set(ylabel="change of the unseen loss, %", title="Does the term help?")
    if unseen.get_legend_handles_labels()[0]:
        unseen.legend(loc="best")
    for term in PAIR:
        near.plot([], [], color=COLORS[term], marker=MARKERS[term], label=paper.name_of(term))
    alone = any(place["unseen_change"] and place["unseen_change"].n == 1 for place in places)
    figure.legend(*near.get_legend_handles_labels(), loc="outside upper center", ncols=2,
                  title=f"bands and bars: 95% over seeds{'; hollow: one seed' if alone else ''}",
                  title_fontsize=10)  # fmt: skip
    return figure


def _curves(ax: Axes, frame: pd.DataFrame, names: tuple[str, str], ylabel: str, title: str) -> None:
    """Two metrics over training, the first with a full line, the second dashed; bands are 95% over seeds."""
    ax.set(xlabel="training step", ylabel=ylabel, title=title, xticks=sorted(set(frame.step)))
    measured = frame[frame[list(names)].notna().any(axis=1)]
    if measured.empty:
        say_not_measured(ax)
        return
    for name, line in zip(names, ("-", "--"), strict=True):
        for term in PAIR:
            shown = frame[(frame.label == term) & frame[name].notna()]
            if len(shown):
                sns.lineplot(shown, x="step", y=name, color=COLORS[term], marker=MARKERS[term],
                             linestyle=line, errorbar=band(name), err_kws={"alpha": 0.12},
                             ax=ax)  # fmt: skip
        ax.plot([], [], color="black", linestyle=line, label=QUALITY[name])
    seeds = set(measured.groupby(["label", "step"]).seed.nunique())
    ax.set(xlabel=f"training step ({count_of_seeds(seeds)})", ylabel=ylabel)  # seaborn named them
    ax.legend(loc="lower right")


def _differences(ax: Axes, changes: dict[str, dict[str, Any]]) -> None:
    """ℓ2 minus baseline at the end in percentage points, one line for each metric."""
    shown = {name: found["difference"] for name, found in changes.items() if found["difference"]}
    color, names = COLORS[PAIR[1]], []
    for y, (name, estimate) in enumerate(shown.items()):
        value, low, high = (100 * v for v in (estimate.value, *shown_bounds(estimate)))
        face = color if estimate.n > 1 else "white"
        ax.errorbar(value, y, xerr=[[value - low], [high - value]], fmt=MARKERS[PAIR[1]], color=color,
                    markerfacecolor=face, capsize=4, markersize=7)  # fmt: skip
        names.append("\n".join([*QUALITY[name].split(), f"({count_of_seeds({estimate.n})})"]))
    ax.axvline(0, color=COLORS[PAIR[0]], linewidth=1)
    ax.set_yticks(range(len(shown)), names)
    ax.set_ylim(max(len(shown), 1) - 0.5, -0.5)
    ax.set(xlabel="ℓ2 − baseline, percentage points", title="At the end  (right is better)")
    if not shown:
        say_not_measured(ax)


def beyond_fid_markdown(frame: pd.DataFrame, places: list[Place], row: Profile) -> str:
    """Four tables: metrics at the end, copies, the gap of losses, and that by noise level.

    Args:
        frame, places, row: as of ``beyond_fid_figure``.
    """
    columns = ("at the end", "baseline", "InfoNCE, ℓ2", "ℓ2 − baseline, points (paired, 95%)", "verdict", "n")
    rows = []
    for name, found in quality_changes(frame, row.num_steps).items():
        means, change = found["means"], found["difference"]
        if means:
            verdict = compare.verdict(_turned(change)) if change else ""
            rows.append([QUALITY[name], *(mean_text(means.get(term)) for term in PAIR), points_text(change),
                         verdict, counts(means, change)])  # fmt: skip
    return "\n".join([
        table(columns, rows),
        f"{row.model}, the whole training set. {row.protocol.card()}. Mean ± half the 95% interval over n "
        f"training seeds (Student's t){tables.OR_BOUNDS}; differences are paired by seed. *Improves*: the "
        "interval is above 0. "
        "The tables below are of the runs that were compared with their training images too: their n may be "
        "smaller.",
        "",
        "**Copies.** Share of samples whose nearest image, in pixels, is one of training and not one of as "
        "many held-out images; *improves*: fewer. *Real images* are in neither set; *only copies*: every "
        "sample is a copy of some training image. Where only a part of the training images can be compared, "
        "copies of the others don't count, and that is below 1.",
        "",
        copying_markdown(places),
        "**The gap.** Mean squared error on unseen images minus that on seen ones, averaged over noise "
        "levels. A gap also closes where less is learned: *less overfitting* asks that the loss on unseen "
        "images falls too; where it grows, that is *less fitting*.",
        "",
        gap_markdown(places),
        f"**The gap by noise level**, {row.model}; *improves*: smaller.",
        "",
        gap_by_level_markdown(places, row),
    ])  # fmt: skip


def _turned(estimate: Estimate) -> Estimate:
    """A difference with its sign turned, for a verdict on what is better if higher."""
    return dataclasses.replace(estimate, value=-estimate.value, low=-estimate.high, high=-estimate.low)


def draw_beyond_fid(
    pool: list[Record], looked: list[Record], cells: list[Cell], row: Profile, folder: Path
) -> tuple[Path, Path]:
    """Write ``beyond_fid.md``, and the picture with its sidecar.

    Args:
        pool: evaluations under the profile's own protocol.
        looked: records of the look "against_training".
        cells: runs of the items ``pair`` and ``scale_of_effect``.
        row: the profile.
        folder: where to.

    Returns:
        (table, picture).
    """
    frame, runs = quality_frame(pool, cells, row), looked_at(looked, cells, row)
    places = overfitting(level_frame(runs), row)
    table = folder / "beyond_fid.md"
    atomic.write_text(table, beyond_fid_markdown(frame, places, row))
    facts = {
        "item": "pair and scale_of_effect",
        "protocol": row.protocol.model_dump(mode="json"),
        "protocol_of_places": row.protocol.model_copy(update=AGAINST_TRAINING).model_dump(mode="json"),
        "curves": curve_facts(frame, tuple(QUALITY)),
        "changes": plain(quality_changes(frame, row.num_steps)),
        "places": plain(places),
        "values": plain(frame.to_dict(orient="records")),
        "runs": run_facts(pool, [cell for cell in cells if cell.label in PAIR], row),
        "looked_at": looked_facts(runs),
    }
    return table, save_results(
        beyond_fid_figure(frame, places, row), folder / "beyond_fid", facts, [*pool, *looked], cells, row
    )
