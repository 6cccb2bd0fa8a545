"""Changes against the baseline, ours beside the paper's: a table, the claims and a picture for each item."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..evaluation import Estimate
from ..experiments import compare, paper, tables
from ..experiments.claims import Judgement, judge
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.statements import STATEMENTS
from ..experiments.store import Record
from .facts import floor_of, floor_sentence, plain, run_facts
from .norm_cost import count_of_seeds
from .theme import COLORS, new_figure, save

Draw = Callable[[list[compare.Row], list[Cell]], Figure]
Published = dict[str, float]  # label → the paper's relative change
PAPER = "paper (FID, ImageNet)"


def shown_bounds(estimate: Estimate) -> tuple[float, float]:
    """The interval, or the value itself where there is none."""
    low, high = (estimate.value if np.isnan(bound) else bound for bound in (estimate.low, estimate.high))
    return low, high


def percent(change: Estimate) -> tuple[float, float, float]:
    """A log ratio and its interval in percent; without interval the value three times."""
    value, low, high = (100 * float(np.expm1(v)) for v in (change.value, *shown_bounds(change)))
    return value, low, high


def change_bar(ax: Axes, x: float, change: Estimate, color: str, *, marker: str = "o") -> None:
    """A change in percent with its interval, at x."""
    value, low, high = percent(change)
    ax.errorbar(x, value, [[value - low], [high - value]], fmt=marker, color=color, capsize=4, markersize=7)


def paper_diamond(ax: Axes, x: float, y: float) -> None:
    """A published change, in percent."""
    ax.scatter(x, y, marker="D", s=42, color="white", edgecolor="black", linewidth=1.4, zorder=3)


def over_seeds(counts: set[int]) -> str:
    """``95% over 3 seeds``, or that there is no interval, of numbers that stand on so many seeds each."""
    if not counts:
        return "none yet"
    return f"95% over {count_of_seeds(counts)}" if max(counts) > 1 else "one seed, no interval"


def change_legend(
    ax: Axes, *, published: bool, rows: Sequence[compare.Row] = (), source: str = PAPER
) -> None:
    """Above the picture: names the dots, with the seeds of ``rows``, and the diamonds where there are any."""
    counts = {entry.change.n for entry in rows if entry.change is not None}
    ax.scatter([], [], color=COLORS["infonce-l2"], s=49, label=f"ours, {over_seeds(counts)}")
    if published:
        ax.scatter([], [], marker="D", s=42, color="white", edgecolor="black", label=source)
    handles, names = ax.get_legend_handles_labels()
    assert isinstance(ax.figure, Figure)
    ax.figure.legend(handles, names, loc="outside upper center", ncols=len(names), columnspacing=1.2)


def changes_figure(rows: list[compare.Row], published: Published) -> Figure:
    """One line per run: its change with the interval, and the paper's as a diamond."""
    changed = [(entry.label, entry.change) for entry in rows if entry.change is not None]
    figure, (ax,) = new_figure(8, 1.8 + 0.42 * len(changed))
    for position, (label, change) in enumerate(changed):
        value, low, high = percent(change)
        ax.errorbar(value, position, xerr=[[value - low], [high - value]], fmt="o", capsize=4, markersize=7,
                    color=COLORS["infonce-l2"])  # fmt: skip
        if label in published:
            paper_diamond(ax, 100 * published[label], position - 0.22)
    ax.axvline(0, color=COLORS["baseline"], linewidth=1)
    ax.set_yticks(range(len(changed)), [paper.name_of(label) for label, _ in changed])
    ax.set_ylim(len(changed) - 0.4, -0.7)
    ax.set_xlabel("change of the Fréchet distance against the baseline, %   (left is better)")
    shown = published.keys() & {label for label, _ in changed}
    change_legend(ax, published=bool(shown), rows=rows)
    return figure


def claim_facts(judgements: list[Judgement]) -> list[dict[str, Any]]:
    """What a sidecar holds of the claims: verdicts, and every comparison with its interval."""
    return [
        {
            "number": judgement.claim.number,
            "verdict": judgement.verdict,
            "p": judgement.p,
            "seeds": judgement.counts,
            "decided_by": judgement.deciding.label if judgement.deciding else None,
            "parts": [
                {"compared": part.label, **plain(part.estimate)}
                for part in judgement.claim.parts
                if part.values
            ],
        }
        for judgement in judgements
    ]


def draw_changes(
    name: str,
    pool: list[Record],
    cells: list[Cell],
    row: Profile,
    folder: Path,
    *,
    published: Published | None = None,
    draw: Draw | None = None,
    names: Mapping[str, str] | None = None,
    note: str = "",
) -> tuple[Path, Path]:
    """Write an item's table with the verdicts on its claims, and its picture with a sidecar.

    Args:
        name: of the item, and of the files.
        pool: evaluations.
        cells: runs of the item, the baselines among them.
        row: the profile.
        folder: where to.
        published: the paper's relative changes by label.
        draw: a picture of its own; one line per run by default.
        names: of labels that the table calls otherwise here.
        note: below the table, on the paper's numbers.

    Returns:
        (table, picture).
    """
    rows = compare.compare(pool, cells, row)
    judgements = judge(STATEMENTS[name](pool, cells, row)) if name in STATEMENTS else []
    card = f"{row.model}. {row.protocol.card()}.{floor_sentence(row.protocol)}"
    text = tables.comparison_markdown(rows, f"{card} {note}".rstrip(), names=names, published=published)
    if judgements:
        text = f"{tables.claims_markdown(judgements)}\n{text}"
    table = folder / f"{name}.md"
    atomic.write_text(table, text)
    facts = {
        "item": name,
        "protocol": row.protocol.model_dump(mode="json"),
        "noise_floor": floor_of(row.protocol),
        "paper": published or {},
        "rows": compare.as_json(rows),
        "claims": claim_facts(judgements),
        "runs": run_facts(pool, cells, row),
    }
    figure = draw(rows, cells) if draw else changes_figure(rows, published or {})
    return table, save(figure, folder / name, facts, stamp=row.stamp)
