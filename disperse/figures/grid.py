"""The paper's grid of variants as two heat maps: its changes, and ours."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from .. import atomic
from ..experiments import compare, paper, tables
from ..experiments.claims import judge
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.statements import STATEMENTS
from ..experiments.store import Record
from .changes import claim_facts
from .facts import run_facts
from .theme import new_figure, save


def change_frames(rows: list[compare.Row]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Changes against the baseline in %, the paper's and ours, and the text of ours, variant × kind of term.

    A cell without a finished pair of runs is NaN.
    """
    by_label = {row.label: row for row in rows}
    published, ours, text = {}, {}, {}
    for column in paper.COLUMNS:
        for variant in paper.VARIANTS_FID:
            key = (paper.name_of(variant), column)
            label = paper.grid_label(variant, column)
            change = paper.variants_change(label)
            assert change is not None
            published[key] = 100 * change
            own = by_label[label].change if label in by_label else None
            ours[key] = 100 * float(np.expm1(own.value)) if own else np.nan
            text[key] = tables.percent_interval(own).replace(" [", "\n[").replace(" (", "\n(")
    return _square(published), _square(ours), _square(text)


def _square(values: dict[tuple[str, str], Any]) -> pd.DataFrame:
    frame = pd.Series(values).unstack()
    return frame.loc[[paper.name_of(v) for v in paper.VARIANTS_FID], list(paper.COLUMNS)]


def grid_figure(rows: list[compare.Row]) -> Figure:
    """Left the paper's changes of FID, right ours of the Fréchet distance; blue is better, red worse."""
    published, ours, text = change_frames(rows)
    figure, (left, right) = new_figure(12, 4.2, columns=2)
    options = {"cmap": "vlag", "center": 0, "linewidths": 1.5, "annot_kws": {"fontsize": 10}}
    sns.heatmap(published, annot=True, fmt="+.1f", ax=left, vmin=-20, vmax=20,
                cbar_kws={"label": "change of FID, %"}, **options)  # fmt: skip
    finite = np.abs(ours.to_numpy(dtype=float))
    bound = max(20.0, float(np.nanmax(finite, initial=0)))
    shown = ours.astype(float)
    sns.heatmap(shown, annot=text.to_numpy(), fmt="", ax=right, vmin=-bound, vmax=bound, mask=shown.isna(),
                cbar_kws={"label": "change of the Fréchet distance, %"}, **options)  # fmt: skip
    for ax, title in ((left, "Paper: SiT-B/2, ImageNet"), (right, "Ours, with 95% over seeds")):
        ax.set(title=title, xlabel="", ylabel="")
        ax.tick_params(length=0)
        ax.set_yticklabels(ax.get_yticklabels(), rotation=0)
    for y, x in zip(*np.nonzero(shown.isna().to_numpy()), strict=True):
        right.annotate("not trained", (x + 0.5, y + 0.5), ha="center", va="center", color="grey", fontsize=9)
    return figure


def draw_grid(pool: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, Path]:
    """Draw the grid and its tables into ``folder`` with a sidecar; returns (tables, picture)."""
    rows = compare.compare(pool, cells, row)
    judgements = judge(STATEMENTS["variants"](pool, cells, row))
    table = folder / "variants_grid.md"
    atomic.write_text(table, tables.grid_section(judgements, rows))
    facts = {
        "item": "variants, all columns",
        "protocol": row.protocol.model_dump(mode="json"),
        "rows": compare.as_json(rows),
        "claims": claim_facts(judgements),
        "runs": run_facts(pool, cells, row),
    }
    return table, save(grid_figure(rows), folder / "variants_grid", facts, stamp=row.stamp)
