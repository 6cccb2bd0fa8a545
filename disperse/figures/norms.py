"""Does regularising one block change the norms of all? Norm, rank and direction, block by block."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .. import atomic
from ..evaluation import Estimate, log_ratio, mean_over_seeds
from ..experiments import compare, tables
from ..experiments.claims import judge
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.statements import norms_claims
from ..experiments.store import Record
from ..models import preset
from .ablations import regularised_blocks
from .changes import claim_facts, over_seeds, shown_bounds
from .facts import plain, run_facts
from .heat import ratio_map
from .theme import COLORS, log_axis, new_figure, save

LEVEL = 0.5  # noise level that everything here is measured at
MEASURES = {
    "rms": ("feature rms", "Norm of every block"),
    "effective_rank": ("effective rank", "Rank"),
    "mean_cosine": ("mean cosine", "Direction"),
}
MARKERS = "ov^<>p"  # of the regularised blocks; diamonds are the paper's everywhere
Ratios = dict[tuple[str, int], Estimate]  # label, block → paired log ratio


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


def norm_ratios(frame: pd.DataFrame) -> Ratios:
    """Paired log ratio of each block's rms to that of the baseline of the same seed."""
    rms = {key: group.set_index("seed").rms.to_dict() for key, group in frame.groupby(["label", "block"])}
    return {
        (label, block): log_ratio(values, rms["baseline", block])
        for (label, block), values in rms.items()
        if label != "baseline" and values.keys() & rms.get(("baseline", block), {}).keys()
    }


def place_names(cells: list[Cell]) -> dict[str, str]:
    """What the runs are called here, by place: the baseline, block 0, ..., all blocks."""
    places = regularised_blocks(cells)
    return {"baseline": "baseline"} | {
        label: f"block {blocks[0]}" if len(blocks) == 1 else "all blocks" for label, blocks in places.items()
    }


def norms_figure(frame: pd.DataFrame, cells: list[Cell]) -> Figure:
    """Norm of every block and its ratio to the baseline's; below, what becomes of rank and direction.

    Args:
        frame: of ``block_frame``.
        cells: the runs, baselines among them.
    """
    figure, (norm, ratio, rank, direction) = new_figure(11, 8, columns=2, rows=2)
    for ax, measure in ((norm, "rms"), (rank, "effective_rank"), (direction, "mean_cosine")):
        _lines(ax, frame, measure, cells)
    if len(frame):
        log_axis(norm.yaxis)
    places, names = regularised_blocks(cells), place_names(cells)
    depth = preset(cells[0].spec.model).config.depth
    shown = {(names[label], str(block)): value for (label, block), value in norm_ratios(frame).items()}
    ratio_map(ratio, shown, [names[label] for label in places], [str(block) for block in range(depth)],
              label="feature rms over the baseline's", cmap="PuOr_r", times=True)  # fmt: skip
    for y, own in enumerate(places.values()):
        for block in own:
            ratio.add_patch(
                Rectangle((block, y), 1, 1, fill=False, edgecolor="black", linewidth=1.6, clip_on=False)
            )
    over = over_seeds({value.n for value in shown.values()})
    ratio.set(xlabel="measured block", title=f"Norm over the baseline's, {over}")
    handles, labels = norm.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), columnspacing=1.2,
                  title="regularised (there with a dark rim)")  # fmt: skip
    return figure


def _lines(ax: Axes, frame: pd.DataFrame, measure: str, cells: list[Cell]) -> None:
    """A measure over the blocks, one line per run; the regularised blocks have a dark rim."""
    places, names = regularised_blocks(cells), place_names(cells)
    single = [label for label, blocks in places.items() if len(blocks) == 1 and label != "infonce-l2"]
    colors = {**COLORS, "l2-all": "black"} | dict(zip(single, sns.color_palette("flare", len(single))))
    for number, (label, name) in enumerate(names.items()):
        own = frame[frame.label == label]
        means = {
            int(block): mean_over_seeds(group[measure].tolist()) for block, group in own.groupby("block")
        }
        bounds = [(value.value, *shown_bounds(value)) for value in means.values()]
        x = np.array(list(means)) + 0.05 * (number - len(names) / 2)  # side by side
        y, low, high = np.array(bounds).reshape(-1, 3).T
        marker, line = ("s", "--") if label == "baseline" else (MARKERS[(number - 1) % len(MARKERS)], "-")
        ax.errorbar(x, y, [y - low, high - y], color=colors[label], marker=marker, linestyle=line,
                    linewidth=1.2, capsize=3, label=name)  # fmt: skip
        rim = np.isin(list(means), places.get(label, ()))
        ax.scatter(x[rim], y[rim], s=110, marker=marker, color=[colors[label]], edgecolor="black",
                   linewidth=1.6, zorder=3)  # fmt: skip
    ylabel, title = MEASURES[measure]
    ax.set(xlabel="measured block", ylabel=ylabel, title=title)
    ax.set_xticks(range(preset(cells[0].spec.model).config.depth))


def norms_markdown(frame: pd.DataFrame, cells: list[Cell], card: str) -> str:
    """Ratio of every block's norm to the baseline's, then rank and cosine of every block, as Markdown."""
    names, ratios = place_names(cells), norm_ratios(frame)
    blocks = range(preset(cells[0].spec.model).config.depth)
    head = " | ".join(f"block {block}" for block in blocks)
    rule = "|" + "---|" * (2 + len(blocks))
    lines = [f"| regularised | {head} | seeds |", rule]
    for label, name in names.items():
        found = [ratios.get((label, block)) for block in blocks]
        counts = {value.n for value in found if value is not None}
        if counts:
            text = " | ".join(tables.times_interval(value) for value in found)
            lines.append(f"| {name} | {text} | {min(counts)} |")
    lines += [
        "",
        "Feature rms of each block over that of the baseline of the same seed: mean of the log ratio and 95% "
        "interval over seeds (Student's t). The paper says that every norm rises, by about an order of "
        "magnitude (read in one secondary source).",
        "",
        f"| regularised: rms; effective rank; mean cosine | {head} | seeds |",
        rule,
    ]
    for label, name in names.items():
        own = frame[frame.label == label]
        if len(own):
            cells_of_blocks = [_measures(own[own.block == block]) for block in blocks]
            lines.append(f"| {name} | {' | '.join(cells_of_blocks)} | {own.seed.nunique()} |")
    lines += ["", f"Mean ± half the 95% interval over seeds. {card}"]
    return "\n".join(lines) + "\n"


def _measures(group: pd.DataFrame) -> str:
    digits = {"rms": 2, "effective_rank": 0, "mean_cosine": 2}
    return "; ".join(tables.with_interval(mean_over_seeds(group[m].tolist()), d) for m, d in digits.items())


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
        "means": [
            {"label": label, "block": int(block)}
            | {name: plain(mean_over_seeds(group[name].tolist())) for name in MEASURES}
            for (label, block), group in measured
        ],
        "values": plain(frame.to_dict(orient="records")),
        "claims": claim_facts(judgements),
        "runs": run_facts(pool, cells, row),
    }
    return table, save(norms_figure(frame, cells), folder / "norms", facts, stamp=row.stamp)
