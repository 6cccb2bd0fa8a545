"""The paper's grid of variants as two heat maps on one scale: its changes, and ours."""

from pathlib import Path

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .. import atomic
from ..evaluation import Estimate
from ..experiments import compare, paper, tables
from ..experiments.claims import Judgement, judge
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.statements import STATEMENTS
from ..store import Record
from .changes import claim_facts, in_lines
from .facts import floor_of, floor_sentence, run_facts, save_results
from .heat import ink
from .theme import COLUMN, new_figure

TICKS = (-80, -60, -40, -30, -20, -10, 0, 10, 20, 30, 50, 100, 200, 400)  # of the colour bar, %
PALE = 0.2  # strength of the colour inside a cell whose interval holds zero; its rim has all of it


def grid_figure(rows: list[compare.Row]) -> Figure:
    """Left the paper's changes of FID, right ours of the Fréchet distance, in the same colours.

    Blue is better, red worse, by the logarithm of the ratio. Ours are filled where the interval excludes no
    change; else only the rim has the colour.
    """
    figure, (left, right) = new_figure(COLUMN, 4.4, columns=2)
    ours = {row.label: row.change for row in rows if row.change is not None}
    published = {label: paper.variants_change(label) for label in _labels()}
    logs = [np.log1p(change) for change in published.values() if change is not None]
    logs += [ours[label].value for label in _labels() if label in ours]
    bound = float(np.max(np.abs(logs)))
    norm, cmap = Normalize(-bound, bound), sns.color_palette("vlag", as_cmap=True)
    for (y, x), label in _places().items():
        change = published[label]
        assert change is not None
        _cell(left, x, y, f"{100 * change:+.1f}%", cmap(norm(np.log1p(change)))[:3])
        own = ours.get(label)
        if own is None:
            right.text(x, y, "not\ntrained", ha="center", va="center", color="dimgrey", fontsize=10)
        else:
            _cell(right, x, y, in_lines(own), cmap(norm(own.value))[:3], clear=_clear(own))
    left.set(title="Paper: SiT-B/2, ImageNet", xlabel="change of FID")
    right.set(title="Ours", xlabel="change of the distance; pale: 95% isn't clear of 0")
    names = [paper.name_of(variant).replace(", ", ",\n") for variant in paper.VARIANTS_FID]
    for ax in (left, right):
        ax.set(xlim=(-0.5, len(paper.COLUMNS) - 0.5), ylim=(len(names) - 0.5, -0.5))
        ax.set_xticks(range(len(paper.COLUMNS)), paper.COLUMNS)
        ax.set_yticks(range(len(names)), names if ax is left else [""] * len(names))
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
    shown = [tick for tick in TICKS if abs(np.log1p(tick / 100)) <= bound]
    bar = figure.colorbar(ScalarMappable(norm, cmap), ax=[left, right], label="change against the baseline",
                          shrink=0.9, pad=0.02)  # fmt: skip
    bar.set_ticks([np.log1p(t / 100) for t in shown], labels=[f"{tables.whole(t)}%" for t in shown])
    return figure


def _labels() -> list[str]:
    return list(_places().values())


def _places() -> dict[tuple[int, int], str]:
    """(line, column) → label of the cell."""
    return {
        (y, x): paper.grid_label(variant, column)
        for y, variant in enumerate(paper.VARIANTS_FID)
        for x, column in enumerate(paper.COLUMNS)
    }


def _clear(change: Estimate) -> bool:
    return change.low > 0 or change.high < 0


def _cell(
    ax: Axes, x: float, y: float, text: str, color: tuple[float, float, float], *, clear: bool = True
) -> None:
    """A cell with its text in black or white, whichever stands out more."""
    strength = 1.0 if clear else PALE
    face = tuple(strength * part + 1 - strength for part in color)
    ax.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, facecolor=face, edgecolor=color, linewidth=3))
    ax.text(x, y, text, ha="center", va="center", fontsize=10, color=ink(face))


def changes_markdown(rows: list[compare.Row]) -> str:
    """The paper's FID and change beside our distance and change, of the baseline and every cell."""
    by_label = {row.label: row for row in rows}
    columns = ("variant", "kind of term", "paper FID", "paper Δ", "our FD", "our Δ (paired, 95%)", "verdict",
               "n")  # fmt: skip
    cells = []
    every = [
        ("baseline", "none"),
        *((variant, column) for column in paper.COLUMNS for variant in paper.VARIANTS_FID),
    ]
    for variant, column in every:
        label = variant if column == "none" else paper.grid_label(variant, column)
        change, own = paper.variants_change(label), by_label.get(label)
        cells.append([
            paper.name_of(variant),
            column,
            f"{paper.variants_fid(label).value:.2f}",
            "" if change is None else f"{100 * change:+.1f}%",
            tables.with_interval(own.metrics["fd"], seeds=_count(own)) if own else "not trained",
            tables.percent_interval(own.change) if own else "",
            own.verdict if own else "",
            _count(own),
        ])  # fmt: skip
    return tables.markdown_table(columns, cells) + "\n"


def _count(row: compare.Row | None) -> int:
    """Pairs of seeds that the change stands on; of the baseline, its seeds."""
    if row is None:
        return 0
    return row.change.n if row.change else len(row.seeds)


def grid_text(judgements: list[Judgement], rows: list[compare.Row], row: Profile) -> str:
    """The claims about variants, the grid with the paper's numbers, and what becomes of the features."""
    note = (
        f"Paper: {paper.VARIANTS_SETTING}. Ours: {row.model} on {row.data}, {row.num_steps} steps of "
        f"{row.batch_size}; mean ± half the 95% interval over n training seeds (Student's t), changes paired "
        f"by seed. {row.protocol.card()}.{floor_sentence(row.protocol)} Another data set, model size and "
        "metric: only the sign of Δ can be compared.\n"
    )
    parts = (tables.claims_markdown(judgements), changes_markdown(rows), note, tables.features_markdown(rows))
    return "\n".join(parts)


def draw_grid(pool: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, Path]:
    """Draw the grid and its tables into ``folder`` with a sidecar; returns (tables, picture)."""
    rows = compare.compare(pool, cells, row)
    judgements = judge(STATEMENTS["variants"](pool, cells, row))
    table = folder / "variants_grid.md"
    atomic.write_text(table, grid_text(judgements, rows, row))
    facts = {
        "item": "variants, all columns",
        "protocol": row.protocol.model_dump(mode="json"),
        "noise_floor": floor_of(row.protocol),
        "paper": {label: paper.variants_fid(label).value for label in ("baseline", *_labels())},
        "rows": compare.as_json(rows),
        "claims": claim_facts(judgements),
        "runs": run_facts(pool, cells, row),
    }
    return table, save_results(grid_figure(rows), folder / "variants_grid", facts, pool, cells, row)
