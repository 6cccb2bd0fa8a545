"""Paired ratios as a heat map: colour by the logarithm, so that twice and half are as far from none."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from ..evaluation import Estimate
from ..experiments import tables
from ..plot.maps import ink as ink

STEPS = (1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100)  # where a colour bar may have its ticks


def ratio_map(
    ax: Axes,
    estimates: Mapping[tuple[str, str], Estimate],
    rows: list[str],
    columns: list[str],
    *,
    label: str,
    cmap: str,
    times: bool = False,
    counts: bool = False,
) -> None:
    """Draw log ratios as cells with their text, bold where the 95% interval leaves out "no difference".

    Of more than six columns the intervals are left to the table, and so are the numbers of seeds.

    Args:
        ax: where to.
        estimates: (row, column) → log ratio; a cell that is missing says so.
        rows, columns: names, in order.
        label: of the colour bar.
        cmap: a diverging colour map.
        times: write a ratio as ×4.6, not as a change in percent.
        counts: write the number of seeds below the interval, where there is one.
    """
    values = pd.DataFrame(np.nan, index=rows, columns=columns)
    for (row, column), estimate in estimates.items():
        values.loc[row, column] = estimate.value
    bound = max(float(np.log(1.2)), float(np.nanmax(np.abs(values.to_numpy()), initial=0)))
    steps = [step for step in STEPS if np.log(step) <= bound][-2:]
    # In percent, round numbers on both sides: −20% beside +20%, but −50% beside +100%.
    below = [1 / step if times or step >= 2 else 2 - step for step in reversed(steps)]
    ratios = [*(ratio for ratio in below if -np.log(ratio) <= bound), 1.0, *steps]
    sns.heatmap(values, ax=ax, cmap=cmap, center=0, vmin=-bound, vmax=bound, linewidths=1.5,
                mask=values.isna(), cbar_kws={"label": label, "ticks": np.log(ratios)})  # fmt: skip
    names = [f"×{r:.2g}" if times else f"{100 * (r - 1):+.0f}%" if r != 1 else "0%" for r in ratios]
    mesh = ax.collections[0]
    bar = mesh.colorbar
    assert bar is not None
    bar.ax.set_yticklabels(names)
    written = tables.times_interval if times else tables.percent_interval
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            found = estimates.get((row, column))
            text = written(found).replace(" ", "\n", 1) or "not\ntrained"
            if found and len(columns) > 6:
                text = text.partition("\n")[0]
            elif found and counts and found.n > 1:
                text += f"\nn = {found.n}"
            clear = found is not None and (found.low > 0 or found.high < 0)
            shade = ink(mesh.to_rgba(np.array([found.value]))[0]) if found else "dimgrey"
            ax.text(x + 0.5, y + 0.5, text, ha="center", va="center",
                    fontsize=10,
                    weight="bold" if clear else "normal",
                    color=shade)  # fmt: skip
    ax.set_xticklabels(columns, rotation=0)
    ax.set_yticklabels(rows, rotation=0)
    ax.tick_params(length=0)


def legible(ax: Axes) -> None:
    """Give each number of a heat map the ink that is read best on its cell."""
    for text, face in zip(ax.texts, np.asarray(ax.collections[0].get_facecolor()), strict=True):
        text.set_color(ink(face))
