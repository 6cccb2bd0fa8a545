"""Maps: changes over two quantities, images in rows, and points in a plane."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from torch import Tensor

from .marks import percent
from .theme import class_colors, look

DIFFERENCE = "PuOr_r"  # its two ends are told apart by colour-blind readers too, and equal is white


def heat(
    ax: Axes,
    found: pd.DataFrame,
    x: str,
    y: str,
    *,
    here: pd.DataFrame | None = None,
    names: Mapping[Any, str] | None = None,
    label: str = "change against the baseline, %",
    times: bool = False,
    form: str = "",
) -> Axes:
    """Changes over two categorical quantities: red above zero, blue below; bold where clear of zero.

    Args:
        ax: where to.
        found: of ``results.changes`` by ``x`` and ``y``.
        x, y: columns; values in order of appearance.
        here: the same of this machine's runs, written into the cells that ``found`` has.
        names: value → what it is called.
        label: of the colour bar.
        times: log ratios are shown as factors, ×4.6, not as changes in percent.
        form: format of differences, ``"+.2f"``: values are shown as they are, and are no log ratios.
    """
    names = names or {}
    added = {} if here is None else {(row[y], row[x]): row["value"] for row in here.to_dict("records")}
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
            text = _told(row["value"], times, form)
            if row["n"] > 1 and len(columns) <= 6:
                low, high = (_told(row[bound], times, form, short=True) for bound in ("low", "high"))
                text += f"\n[{low}, {high}]"
            if math.isfinite(added.get((row[y], row[x]), math.nan)):
                text += f"\nhere {_told(added[row[y], row[x]], times, form)}"
            face = mesh.to_rgba(np.array([row["value"]]))[0]
            said, weight = text if row["n"] else "not\ntrained", "bold" if clear else "normal"
            ax.text(j + 0.5, i + 0.5, said, ha="center", va="center", weight=weight, color=ink(face))
        ax.set_xticks(np.arange(len(columns)) + 0.5, labels=[str(names.get(v, v)) for v in columns])
        ax.set_yticks(np.arange(len(rows)) + 0.5, labels=[str(names.get(v, v)) for v in rows])
        ax.tick_params(length=0)
        bar = ax.figure.colorbar(mesh, ax=ax, label=label)
        if form:
            return ax
        steps = (1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100)
        above = [step for step in steps if math.log(step) <= bound][-2:]
        # In percent, round numbers on both sides: −20% beside +20%, but −50% beside +100%.
        below = [1 / step if times or step >= 2 else 2 - step for step in reversed(above)]
        ticks = [*(ratio for ratio in below if -math.log(ratio) <= bound), 1.0, *above]
        bar.set_ticks([math.log(ratio) for ratio in ticks], labels=[_told(math.log(r), times) for r in ticks])
    return ax


def _told(value: float, times: bool, form: str = "", *, short: bool = False) -> str:
    """A log ratio as ``×4.6`` or ``+20``, or a difference; ``short`` without sign."""
    if form:
        return f"{value:{form}}".replace("-", "−")
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
    color: str = "black",
) -> Axes:
    """Images in rows, each pixel a square.

    Args:
        ax: where to.
        pixels (Tensor): (n, c, h, w) in [−1, 1]; see ``tile``.
        columns: images in a row.
        titles: above the columns.
        rows: names at the left, spread evenly over the rows; of a mapping each has its colour.
        gap: pixels between images.
        title, color: of the picture.
    """
    width, sheet = pixels.shape[-1], tile((pixels.clamp(-1, 1) + 1) / 2, columns, gap=gap)
    with look():
        ax.imshow(sheet, cmap="gray", vmin=0, vmax=1)
        ax.set_axis_off()
        if title:
            ax.set_title(title, color=color)
        for number, text in enumerate(titles):
            ax.text(number * (width + gap) + width / 2, -1.5, text, ha="center", va="bottom", fontsize=10)
        if rows:
            ax.set_anchor("E")  # room for their names
        for number, text in enumerate(rows):
            ink_of = rows[text] if isinstance(rows, Mapping) else "black"
            place = (number + 0.5) * len(sheet) / len(rows)
            ax.annotate(
                text, (0, place), (-6, 0), xycoords=ax.get_yaxis_transform(), textcoords="offset points",
                ha="right", va="center", fontsize=10, color=ink_of,
            )  # fmt: skip
    return ax


def trajectories(ax: Axes, paths: Mapping[str, Tensor], *, frames: int = 9) -> Axes:
    """A row for each way from noise to an image, its states spread evenly from the left to the right.

    Every state but the last is drawn on twice the range of an image, so that noise is seen too.

    Args:
        ax: where to.
        paths: name → states (k, c, h, w) of one image, k from 2 to ``frames``.
        frames: places in a row.
    """
    strips = []
    for states in paths.values():
        strip = torch.ones(frames, *states.shape[1:])
        strip[torch.linspace(0, frames - 1, len(states)).round().long()] = torch.cat(
            [states[:-1] / 2, states[-1:]]
        )
        strips.append(strip)
    return images(ax, torch.cat(strips), columns=frames, rows=list(paths))


def differences(
    ax: Axes, left: Tensor, right: Tensor, *, columns: int = 10, title: str = "right − left"
) -> Axes:
    """Where images of the same noise differ: orange where the right is brighter, purple where it is darker.

    Args:
        ax: where to.
        left, right (Tensor): (n, c, h, w) in [−1, 1].
        columns: images in a row.
        title: of the picture.
    """
    with look():
        shown = ax.imshow(tile_differences(left, right, columns), cmap=DIFFERENCE, vmin=-2, vmax=2)
        ax.set_axis_off()
        ax.set_title(title)
        ax.figure.colorbar(shown, ax=ax, shrink=0.7, ticks=[-2, 0, 2], label="difference of pixels")
    return ax


def tile(values: Tensor, columns: int = 10, *, gap: int = 1, fill: float = 1.0) -> np.ndarray:
    """Images (n, c, h, w) as one, row by row: (H, W) for one channel, else (H, W, 3) of the first three.

    Args:
        values: of any range, which stay as they are.
        columns: images in a row.
        gap: pixels between images.
        fill: what stands there.
    """
    shown = values.detach()[:, :3].float().permute(0, 2, 3, 1).cpu().numpy()
    n, height, width, channels = shown.shape
    rows = -(-n // columns)
    whole = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), fill, np.float32)
    for number, image in enumerate(shown):
        top, left = (number // columns) * (height + gap), (number % columns) * (width + gap)
        whole[top : top + height, left : left + width] = image
    return whole.squeeze(-1) if channels == 1 else whole


def tile_differences(left: Tensor, right: Tensor, columns: int = 10) -> np.ndarray:
    """``right − left`` of each image, mean over channels, as ``tile`` does; NaN between them."""
    return tile((right - left).mean(1, keepdim=True), columns, fill=math.nan)


Limits = tuple[Sequence[float], Sequence[float]]


def points(
    ax: Axes, xy: Any, labels: Any, *, title: str = "", numbers: bool = True, limits: Limits | None = None
) -> Axes:
    """Points in a plane, coloured by class, with the class written at the middle of its points.

    Args:
        ax: where to.
        xy: (n, 2).
        labels: n classes.
        title: above.
        numbers: whether classes are written; too many colours are not told apart.
        limits: lower and upper corner of what is shown, of ``plane_limits``; points beyond are drawn at the
            edge, and their number is said.
    """
    xy, labels = np.asarray(xy), np.asarray(labels)
    beyond = 0
    if limits:
        inside = np.clip(xy, *limits)
        beyond = int((inside != xy).any(axis=1).sum())
        xy = inside
    classes = sorted(set(labels.tolist()))
    with look():
        for color, each in zip(class_colors(len(classes)), classes, strict=True):
            mine = xy[labels == each]
            ax.scatter(mine[:, 0], mine[:, 1], s=8, color=color, linewidth=0, alpha=0.7)
            if numbers:
                box = {"facecolor": "white", "alpha": 0.6, "edgecolor": "none", "pad": 1}
                x, y = np.median(mine, axis=0)
                ax.text(x, y, str(each), weight="bold", fontsize=11, ha="center", va="center", bbox=box)
        ax.set(xticks=[], yticks=[], title=title)
        if limits:
            (left, low), (right, high) = limits
            room = 0.03 * (right - left), 0.03 * (high - low)
            ax.set(xlim=(left - room[0], right + room[0]), ylim=(low - room[1], high + room[1]))
        if beyond:
            ax.annotate(f"{beyond} at the edge", (0.01, 0.01), xycoords="axes fraction", fontsize=10)
    return ax


def plane_limits(xy: Any) -> tuple[list[float], list[float]]:
    """Lower and upper corner that show all points but few that lie far from the rest.

    On each axis 1.5 times as far from the median as 96% of the points reach, and no further than all do.
    densMAP sends single points far away, and limits that held them would leave little room for the others.

    Args:
        xy: (..., 2); of several clouds together, so that they share one scale.
    """
    flat = np.asarray(xy, dtype=np.float64).reshape(-1, 2)
    low, middle, high = np.quantile(flat, (0.02, 0.5, 0.98), axis=0)
    low, high = middle - 1.5 * (middle - low), middle + 1.5 * (high - middle)
    return np.maximum(low, flat.min(0)).tolist(), np.minimum(high, flat.max(0)).tolist()


def ink(face: Sequence[float]) -> str:
    """Black or white: that with more contrast to an sRGB colour, by relative luminance (WCAG 2)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in face[:3]]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return "black" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "white"
