"""Changes against the baseline, ours beside the paper's: a table, the claims and a picture for each item."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..evaluation import Estimate
from ..experiments import compare, paper, tables
from ..experiments.claims import Judgement, Part, judge
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.statements import STATEMENTS
from ..store import Record
from .facts import floor_of, floor_sentence, plain, run_facts, save_results
from .seeds import seeds_shown
from .theme import COLORS

Draw = Callable[[list[compare.Row], list[Cell]], Figure]
Published = dict[str, float]  # label → the paper's relative change
PAPER = "paper (FID, ImageNet)"


def shown_bounds(estimate: Estimate) -> tuple[float, float]:
    """The interval, or the value itself where there is none."""
    low, high = (estimate.value if np.isnan(bound) else bound for bound in (estimate.low, estimate.high))
    return low, high


def percent(change: Estimate) -> tuple[float, float, float]:
    """A log ratio and its interval in percent; without interval the value three times."""
    shown = in_percent(change)
    return shown.value, *shown_bounds(shown)


def in_percent(change: Estimate) -> Estimate:
    """A log ratio with its value and bounds in percent; NaN (one seed has no interval) stays."""
    value, low, high = (100 * float(np.expm1(v)) for v in (change.value, change.low, change.high))
    return Estimate(value, low, high, change.n, change.method)


def in_lines(change: Estimate) -> str:
    """A log ratio as text in a cell: percent, interval (narrow: no plus) and number of seeds, a line each."""
    value, low, high = percent(change)
    if np.isnan(change.low):
        return f"{tables.whole(value)}%\n(one seed)"
    return f"{tables.whole(value)}%\n[{round(low)}, {round(high)}]\nn = {change.n}"


def mark(
    ax: Axes,
    place: float,
    mean: Estimate,
    color: str,
    *,
    shape: str = "o",
    across: bool = False,
    size: float = 7,
) -> None:
    """A mean over seeds: filled, with its interval; one seed has none, and is hollow.

    Args:
        ax: where to.
        place: on the other axis.
        mean: in units of the axis.
        color, shape, size: of the mark.
        across: the value lies on the horizontal axis.
    """
    single = bool(np.isnan(mean.low))
    reach = None if single else [[mean.value - mean.low], [mean.high - mean.value]]
    x, y = (mean.value, place) if across else (place, mean.value)
    ax.errorbar(
        x,
        y,
        xerr=reach if across else None,
        yerr=None if across else reach,
        fmt=shape,
        color=color,
        capsize=4,
        markersize=size,
        markeredgewidth=1.6,
        markerfacecolor="white" if single else color,
    )


def change_bar(
    ax: Axes, place: float, change: Estimate, color: str, *, shape: str = "o", across: bool = False
) -> None:
    """A log ratio as a ``mark`` in percent."""
    mark(ax, place, in_percent(change), color, shape=shape, across=across)


def join(ax: Axes, points: Sequence[tuple[float, float] | None], **line: Any) -> None:
    """Lines through neighbouring means, for the eye: how many seeds each stands on is told beside them.

    Args:
        ax: where to.
        points: (x, y) in their order; None: nothing is there, and no line goes across.
        line: its colour, style...
    """
    for there, run in itertools.groupby(points, key=bool):
        near = [point for point in run if point]
        if there and len(near) > 1:
            ax.plot(*zip(*near, strict=True), **line)


def hollow_curves(ax: Axes, alone: Iterable[tuple[str, str]]) -> None:
    """Make the marks of curves hollow that are of one seed: those of such a (colour, mark)."""
    wanted = set(alone)
    for line in ax.lines:
        if (line.get_color(), line.get_marker()) in wanted:
            line.set(markerfacecolor="white", markeredgecolor=line.get_color(), markeredgewidth=1.6)


def paper_diamond(ax: Axes, x: float, y: float, *, color: str = "black") -> None:
    """A published number: hollow and in front, so that nothing hides it and it hides nothing."""
    ax.scatter(x, y, marker="D", s=46, facecolor="none", edgecolor=color, linewidth=1.5, zorder=5,
               gid="paper")  # fmt: skip


def name_diamonds(ax: Axes, label: str) -> None:
    """An entry of the legend for ``paper_diamond``."""
    ax.scatter([], [], marker="D", s=46, facecolor="none", edgecolor="black", linewidth=1.5, label=label)


def not_trained(ax: Axes, place: float, *, across: bool = False, said: str = "not trained") -> None:
    """Says so at the place of a run that isn't there: upright from the foot of the panel, or in its line."""
    text: dict[str, Any] = {"color": "dimgrey", "fontsize": 10, "zorder": 4,
            "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85}}  # fmt: skip
    if across:
        ax.annotate(said, (0.97, place), xycoords=ax.get_yaxis_transform(), ha="right", va="center", **text)
    else:
        ax.annotate(said, (place, 0.03), xycoords=ax.get_xaxis_transform(), ha="center", va="bottom",
                    rotation=90, **text)  # fmt: skip


def name_ours(
    ax: Axes, counts: Iterable[int], *, label: str = "ours", color: str = "", shape: str = "o"
) -> None:
    """An entry of the legend for ``mark``: hollow where every mark is."""
    found, color = set(counts), color or COLORS["infonce-l2"]
    ax.scatter([], [], marker=shape, s=49, facecolor="white" if found == {1} else color, edgecolor=color,
               linewidth=1.6, label=f"{label}, {seeds_shown(found)}")  # fmt: skip


def legend_above(ax: Axes, *, columns: int = 0) -> None:
    """A legend of what is named in ``ax``, above the picture and in one line by default."""
    handles, names = ax.get_legend_handles_labels()
    assert isinstance(ax.figure, Figure)
    ax.figure.legend(handles, names, loc="outside upper center", ncols=columns or len(names),
                     columnspacing=1.2, handletextpad=0.4)  # fmt: skip


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


def missing(rows: Sequence[compare.Row], cells: Sequence[Cell]) -> list[str]:
    """Names of the runs without any finished seed, in the order of the cells."""
    there = {entry.label for entry in rows}
    return [paper.name_of(label) for label in dict.fromkeys(c.label for c in cells) if label not in there]


def unguided(rows: list[compare.Row], cells: list[Cell], row: Profile) -> list[compare.Row]:
    """Rows without the agreement under guidance of systems that are sampled at guidance 1, that is none."""
    kinds = {cell.label: cell.spec.objective.kind for cell in cells}
    none = Estimate(np.nan, np.nan, np.nan, 0, "not measured: no guidance")
    return [
        dataclasses.replace(entry, metrics=entry.metrics | {"guided_agreement": none})
        if row.protocol_of(kinds[entry.label]).agreement_guidance == 1
        else entry
        for entry in rows
    ]


def draw_changes(
    name: str,
    pool: list[Record],
    cells: list[Cell],
    row: Profile,
    folder: Path,
    *,
    published: Published,
    draw: Draw,
    names: Mapping[str, str] | None = None,
    note: str = "",
    compared: Sequence[Part] = (),
) -> tuple[Path, Path]:
    """Write an item's table with the verdicts on its claims, and its picture with a sidecar.

    Args:
        name: of the item, and of the files.
        pool: evaluations.
        cells: runs of the item, the baselines among them.
        row: the profile.
        folder: where to.
        published: the paper's relative changes by label.
        draw: the picture, of the table's rows.
        names: of labels that the table calls otherwise here.
        note: below the table, on the paper's numbers.
        compared: other pairs than those with the baseline: a second table.

    Returns:
        (table, picture).
    """
    rows = compare.compare(pool, cells, row)
    judgements = judge(STATEMENTS[name](pool, cells, row)) if name in STATEMENTS else []
    card = f"{row.model}. {row.protocol.card()}.{floor_sentence(row.protocol)}"
    gone = missing(rows, cells)
    card += f" Not trained yet: {'; '.join(gone)}." if gone else ""
    text = tables.comparison_markdown(rows, f"{card} {note}".rstrip(), names=names, published=published)
    text += tables.compared_markdown(compared)
    if judgements:
        text = f"{tables.claims_markdown(judgements)}\n{text}"
    table = folder / f"{name}.md"
    atomic.write_text(table, text)
    facts = {
        "item": name,
        "protocol": row.protocol.model_dump(mode="json"),
        "noise_floor": floor_of(row.protocol),
        "paper": published,
        "rows": compare.as_json(rows),
        "claims": claim_facts(judgements),
        "compared": {part.label: plain(part.estimate) for part in compared if part.values},
        "runs": run_facts(pool, cells, row),
    }
    return table, save_results(draw(rows, cells), folder / name, facts, pool, cells, row)
