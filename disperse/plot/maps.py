"""Maps: changes over two quantities, images in rows, and points in a plane."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from torch import Tensor

from .marks import percent
from .theme import look


def heat(
    ax: Axes,
    found: pd.DataFrame,
    x: str,
    y: str,
    *,
    names: Mapping[Any, str] | None = None,
    label: str = "change against the baseline, %",
    times: bool = False,
) -> Axes:
    """Changes over two categorical quantities: red worse, blue better; bold where clear of zero.

    Args:
        ax: where to.
        found: of ``results.changes`` by ``x`` and ``y``.
        x, y: columns; values in order of appearance.
        names: value → what it is called.
        label: of the colour bar.
        times: log ratios are shown as factors, ×4.6, not as changes in percent.
    """
    names = names or {}
    columns, rows = (list(dict.fromkeys(found[name])) for name in (x, y))
    grid = np.full((len(rows), len(columns)), np.nan)
    with look():
        bound = max(float(np.nanmax(np.abs(found["value"]))), 0.05)
        for row in found.to_dict("records"):
            grid[rows.index(row[y]), columns.index(row[x])] = row["value"]
        mesh = ax.pcolormesh(
            grid, cmap="RdBu_r", norm=TwoSlopeNorm(0, -bound, bound), edgecolor="white", linewidth=1.5
        )
        for row in found.to_dict("records"):
            i, j = rows.index(row[y]), columns.index(row[x])
            clear = row["low"] > 0 or row["high"] < 0
            text = _told(row["value"], times)
            if row["n"] > 1 and len(columns) <= 6:
                text += f"\n[{_told(row['low'], times, short=True)}, {_told(row['high'], times, short=True)}]"
            face = mesh.to_rgba(np.array([row["value"]]))[0]
            said, weight = text if row["n"] else "not\ntrained", "bold" if clear else "normal"
            ax.text(j + 0.5, i + 0.5, said, ha="center", va="center", weight=weight, color=ink(face))
        ax.set_xticks(np.arange(len(columns)) + 0.5, labels=[str(names.get(v, v)) for v in columns])
        ax.set_yticks(np.arange(len(rows)) + 0.5, labels=[str(names.get(v, v)) for v in rows])
        ax.tick_params(length=0)
        bar = ax.figure.colorbar(mesh, ax=ax, label=label)
        steps = (1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100)
        above = [step for step in steps if math.log(step) <= bound][-2:]
        # In percent, round numbers on both sides: −20% beside +20%, but −50% beside +100%.
        below = [1 / step if times or step >= 2 else 2 - step for step in reversed(above)]
        ticks = [*(ratio for ratio in below if -math.log(ratio) <= bound), 1.0, *above]
        bar.set_ticks([math.log(ratio) for ratio in ticks], labels=[_told(math.log(r), times) for r in ticks])
    return ax


def _told(value: float, times: bool, *, short: bool = False) -> str:
    """A log ratio as ``×4.6`` or ``+20``; ``short`` without sign."""
    if times:
        return f"{'' if short else '×'}{math.exp(value):.2g}"
    return f"{percent(value):.0f}" if short else f"{percent(value):+.0f}"


def images(
    ax: Axes,
    pixels: Tensor,
    *,
    columns: int = 10,
    titles: Sequence[str] = (),
    rows: Mapping[str, str] | Sequence[str] = (),
    gap: int = 1,
    title: str = "",
) -> Axes:
    """Images in rows, each pixel a square.

    Args:
        ax: where to.
        pixels (Tensor): (n, c, h, w) in [−1, 1], c 1 or 3.
        columns: images in a row.
        titles: above the columns.
        rows: names at the left, spread evenly over the rows; of a mapping each has its colour.
        gap: pixels between images.
        title: of the picture.
    """
    shown = ((pixels.detach().float().clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1).cpu().numpy()
    n, height, width, channels = shown.shape
    lines = -(-n // columns)
    sheet = np.ones((lines * (height + gap) - gap, columns * (width + gap) - gap, channels))
    for number, image in enumerate(shown):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image
    with look():
        ax.imshow(sheet.squeeze(-1) if channels == 1 else sheet, cmap="gray", vmin=0, vmax=1)
        ax.set_axis_off()
        if title:
            ax.set_title(title)
        for number, text in enumerate(titles):
            ax.text(number * (width + gap) + width / 2, -1.5, text, ha="center", va="bottom", fontsize=10)
        for number, text in enumerate(rows):
            color = rows[text] if isinstance(rows, Mapping) else "black"
            place = (number + 0.5) * len(sheet) / len(rows)
            ax.text(-0.3 * width, place, text, ha="right", va="center", fontsize=10, color=color)
    return ax


def points(ax: Axes, xy: Any, labels: Any, *, title: str = "", numbers: bool = True) -> Axes:
    """Points in a plane, coloured by class, with the class written at the middle of its points.

    Args:
        ax: where to.
        xy: (n, 2).
        labels: n classes.
        title: above.
        numbers: whether classes are written; too many colours are not told apart.
    """
    from seaborn import color_palette  # slow to import

    xy, labels = np.asarray(xy), np.asarray(labels)
    classes = sorted(set(labels.tolist()))
    with look():
        for color, each in zip(color_palette("husl", len(classes)), classes, strict=True):
            mine = xy[labels == each]
            ax.scatter(mine[:, 0], mine[:, 1], s=8, color=color, linewidth=0, alpha=0.7)
            if numbers:
                box = {"facecolor": "white", "alpha": 0.6, "edgecolor": "none", "pad": 1}
                x, y = np.median(mine, axis=0)
                ax.text(x, y, str(each), weight="bold", fontsize=11, ha="center", va="center", bbox=box)
        ax.set(xticks=[], yticks=[], title=title)
    return ax


def ink(face: Sequence[float]) -> str:
    """Black or white: that with more contrast to an sRGB colour, by relative luminance (WCAG 2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in face[:3]]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"
