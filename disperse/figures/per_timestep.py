"""What the term does at each noise level: to the features, to the loss, and against the other gradient."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..evaluation import Estimate
from ..experiments import compare, paper, tables
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..store import Record
from .changes import percent, shown_bounds
from .facts import plain, save_results
from .levels import (
    AGAINST_TRAINING,
    GROUPS,
    change_text,
    exponential,
    facts_of,
    level_frame,
    looked_at,
    looked_facts,
    mean_text,
    points_text,
    seed_means,
)
from .seeds import PAIR, count_of_seeds, mean_or_none, paired_difference
from .theme import ACCENT, COLORS, COLUMN, MARKERS, floor_line, log_axis, say_not_measured, theme

RATIO = r"$\|\lambda\,g_\mathrm{disp}\| \,/\, \|g_\mathrm{diff}\|$"
# Columns of the two tables.
FEATURES = ("noise", "run", "feature rms", "effective rank", "mean cosine", "loss on unseen images",
            "its change (paired, 95%)", "verdict", "share of the loss", "its difference, points",
            "n")  # fmt: skip
GRADIENTS = ("noise", "run", "gradient ratio", "gradient cosine", "do the gradients pull together?", "n")
Summary = dict[str, Any]  # term, level or group, and estimates by name


def summarise(frame: pd.DataFrame, by: str) -> list[Summary]:
    """Means over seeds with intervals, one entry for each term and level (or group of levels).

    ``change``: paired log ratio of the loss on unseen images to the baseline's. ``share``: of the loss over
    all levels, what falls to these; ``share_difference``: ℓ2 minus baseline, paired. ``gradient_ratio`` is
    a geometric mean. What wasn't measured is None.

    Args:
        frame: of ``level_frame``.
        by: ``"level"`` or ``"group"``.
    """
    found = []
    for place, at in frame.groupby(by, sort=by == "level"):
        base = at[at.term == PAIR[0]]
        for term, own in at.groupby("term", sort=False):
            entry: Summary = {"term": term, by: place}
            for name in ("seen_loss", "unseen_loss", "rms", "effective_rank", "mean_cosine",
                         "gradient_cosine"):  # fmt: skip
                entry[name] = mean_or_none(name, seed_means(own, name).values())
            shares = _shares(own)
            entry["share"] = mean_or_none("share", shares.values())
            logs = seed_means(own, "gradient_ratio", log=True)
            entry["gradient_ratio"] = exponential(mean_or_none("log of the ratio", logs.values()))
            if term != PAIR[0]:
                losses = (seed_means(part, "unseen_loss", log=True) for part in (own, base))
                entry["change"] = paired_difference(*losses)
                entry["share_difference"] = paired_difference(shares, _shares(base))
            found.append(entry)
    return found


def _shares(at: pd.DataFrame) -> dict[int, float]:
    """Seed → the sum over these levels of their shares of the loss."""
    return {
        int(seed): float(share)
        for seed, share in at.dropna(subset="share").groupby("seed").share.sum().items()
    }


def conflict(cosine: Estimate | None) -> str:
    """What the interval of a gradient cosine says; without interval, nothing."""
    if cosine is None:
        return ""
    if cosine.high < 0:
        return "conflict"
    return "agreement" if cosine.low > 0 else "can't tell"


def per_timestep_figure(levels: list[Summary], row: Profile) -> Figure:
    """From above: the features, where the loss lies and how it changes, and the two gradients.

    Args:
        levels: of ``summarise`` by level.
        row: the profile.
    """
    theme()
    figure = Figure(figsize=(COLUMN, 12), layout="constrained")
    axes = figure.subplot_mosaic("ab;cd;ef;gg")
    rms, rank, cosine, share, loss, ratio, pull = (axes[name] for name in "abcdefg")
    _panel(rms, levels, "rms", "feature rms", "How long")
    _panel(rank, levels, "effective_rank", "effective rank", "In how many directions")
    _panel(cosine, levels, "mean_cosine", "mean cosine of two rows", "How alike")
    _panel(share, levels, "share", "share of the unseen loss, %", "Where the loss lies")
    _panel(loss, levels, "change", "change of the unseen loss, %", "Is denoising worse?")
    _panel(ratio, levels, "gradient_ratio", RATIO, "Which gradient is larger?")
    _panel(pull, levels, "gradient_cosine", "cosine of the two gradients", "Do they pull together?")
    for ax in (rms, ratio):
        if ax.lines:
            log_axis(ax.yaxis)
    share.set_ylim(bottom=0)
    loss.axhline(0, color=COLORS["baseline"], linewidth=1)
    low, high = ratio.get_ylim()
    if ratio.lines and low < 1 < high:
        floor_line(ratio, 1, "equal")
    pull.axhline(0, color=COLORS["baseline"], linewidth=1)
    pull.set(ylim=(-1.25, 1.25), yticks=[-1, -0.5, 0, 0.5, 1])
    for y, text in ((1.13, "agreement"), (-1.13, "conflict")):
        pull.annotate(text, (0.99, y), xycoords=pull.get_yaxis_transform(), color=ACCENT, fontsize=10,
                      ha="right", va="center")  # fmt: skip
    handles, names = rms.get_legend_handles_labels()
    if names:
        title = f"Features, losses and gradients at {weights_of(row)}"
        figure.legend(handles, names, loc="outside upper center", ncols=len(names), title=title,
                      title_fontsize=10)  # fmt: skip
    return figure


def weights_of(row: Profile) -> str:
    """Which weights of a run everything here is measured at."""
    if row.weights == "raw":
        return "the weights that training ended with"
    return f"the averaged weights (EMA {row.weights})"


def _panel(ax: Axes, levels: list[Summary], name: str, ylabel: str, title: str) -> None:
    """One measure against the noise level, a line for each term with its interval."""
    # Bands that change sign from level to level, or coincide, hide each other.
    bars = name in ("gradient_cosine", "share")
    for number, term in enumerate(PAIR):
        points = [(e["level"], e[name]) for e in levels if e["term"] == term and e.get(name) is not None]
        if not points:
            continue
        x = np.array([level for level, _ in points]) + (0.012 * (2 * number - 1) if bars else 0)
        if name == "change":
            drawn = [percent(estimate) for _, estimate in points]
        elif name == "share":
            drawn = [(100 * v.value, *(100 * bound for bound in shown_bounds(v))) for _, v in points]
        else:
            drawn = [(estimate.value, *shown_bounds(estimate)) for _, estimate in points]
        value, low, high = np.array(drawn).T
        seeds = {estimate.n for _, estimate in points}
        label = f"{paper.name_of(term)}, {count_of_seeds(seeds)}"
        ax.plot(x, value, color=COLORS[term], label=label, linestyle="none" if bars else "-",
                marker=MARKERS[term], markersize=5)  # fmt: skip
        if bars:
            ax.vlines(x, low, high, color=COLORS[term], linewidth=1.2)
        else:
            ax.fill_between(x, low, high, color=COLORS[term], alpha=0.15, linewidth=0)
    if not ax.lines:
        say_not_measured(ax)
    ax.set(xlabel="noise level (1 = pure noise)", ylabel=ylabel, title=title, xlim=(0, 1))


def per_timestep_markdown(groups: list[Summary], levels: list[Summary], row: Profile) -> str:
    """Two tables at low, middle and high noise: features and loss; gradients, and whether they conflict.

    Args:
        groups, levels: of ``summarise`` by group and by level.
        row: the profile.
    """
    features, gradients = [], []
    for entry in groups:
        change, term, count = entry.get("change"), entry["term"], entry["rms"].n
        place = [entry["group"] if term == PAIR[0] else "", paper.name_of(term)]
        features.append([
            *place, mean_text(entry["rms"]), mean_text(entry["effective_rank"], 0),
            mean_text(entry["mean_cosine"]), mean_text(entry["unseen_loss"], 3),
            change_text(change, seeds=count), compare.verdict(change) if change else "",
            _share(entry["share"]), points_text(entry.get("share_difference"), seeds=count), count,
        ])  # fmt: skip
        gradients.append([
            *place, _ratio(entry["gradient_ratio"]), mean_text(entry["gradient_cosine"]),
            _pulls(entry, levels), count,
        ])  # fmt: skip
    bounds = "; ".join(f"{name} {low:.2g} to {high:.2g}" for name, (low, high) in GROUPS.items())
    lines = [
        tables.markdown_table(FEATURES, features),
        "",
        tables.markdown_table(GRADIENTS, gradients),
        "",
        f"{row.model}, last step; features, losses and gradients at {weights_of(row)}, those that samples "
        f"are drawn with. Noise levels: {bounds}; the mean over the levels of a group within each run, then "
        f"mean ± half the 95% interval over n training seeds (Student's t){tables.OR_BOUNDS}; of the "
        "gradient ratio the geometric mean and its interval. *Share of the loss*: what a group has of the "
        "loss on unseen images over all levels, each level counted alike. Features: training images at the "
        "regularised block. The term is the paper's (ℓ2, λ = 0.5, τ = 0.5, groups of 16), for the baseline "
        "the one that it was *not* trained with. *Conflict*: the interval of the cosine lies below 0; "
        "*agreement*: above. In brackets, how many of the group's levels do so alone: of intervals at 95%, "
        "one in twenty is clear of 0 by chance.",
    ]
    return "\n".join(lines) + "\n"


def _share(share: Estimate | None) -> str:
    """A share as ``45.1 ± 0.3%``."""
    if share is None:
        return ""
    value, low, high = (100 * v for v in (share.value, share.low, share.high))
    return tables.with_interval(dataclasses.replace(share, value=value, low=low, high=high), 1) + "%"


def _ratio(ratio: Estimate | None) -> str:
    if ratio is None:
        return ""
    interval = f" [{ratio.low:.2g}, {ratio.high:.2g}]" if ratio.n > 1 else ""
    return f"{ratio.value:.2g}{interval}"


def _pulls(entry: Summary, levels: list[Summary]) -> str:
    """The verdict on a group, and how many of its levels are clear on their own."""
    low, high = GROUPS[entry["group"]]
    own = [e for e in levels if e["term"] == entry["term"] and low < e["level"] <= high]
    alone = [conflict(e["gradient_cosine"]) for e in own if e["gradient_cosine"] is not None]
    if not alone:
        return ""
    counts = f"{alone.count('agreement')} for, {alone.count('conflict')} against, of {len(alone)} levels"
    return f"**{conflict(entry['gradient_cosine'])}** ({counts})"


def draw_per_timestep(
    looked: list[Record], cells: list[Cell], row: Profile, folder: Path
) -> tuple[Path, Path]:
    """Write ``per_timestep.md``, and the picture with its sidecar.

    Args:
        looked: records of the look "against_training".
        cells: runs of the item ``pair``.
        row: the profile.
        folder: where to.

    Returns:
        (table, picture).
    """
    runs = looked_at(looked, cells, row)
    frame = level_frame(runs)
    levels, groups = summarise(frame, "level"), summarise(frame, "group")
    table = folder / "per_timestep.md"
    atomic.write_text(table, per_timestep_markdown(groups, levels, row))
    facts = {
        "item": "pair, against training",
        "protocol": row.protocol.model_copy(update=AGAINST_TRAINING).model_dump(mode="json"),
        "levels": facts_of(levels),
        "weights": row.weights,
        "groups": facts_of([e | {"verdict": conflict(e["gradient_cosine"])} for e in groups]),
        "values": plain(frame.to_dict(orient="records")),
        "runs": looked_facts(runs),
    }
    return table, save_results(
        per_timestep_figure(levels, row), folder / "per_timestep", facts, looked, cells, row
    )
