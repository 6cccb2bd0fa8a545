"""What happens during a run: its losses, the length of its features, and how much a term could still push."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..experiments import paper
from ..losses import Bounds
from ..regularizers import term_bounds
from ..spec import RunSpec
from .maps import images
from .theme import COLORS, COLUMN, DISPERSIVE, axes, line_across, log_axis, look

TITLES = {
    "diffusion": ("diffusion loss", "Denoising"),
    "dispersion": ("dispersive loss", "Dispersion"),
    "norm": ("feature rms at ¼ depth", "Norm"),
    "saturation": ("share", "How much is left"),
}
STYLES = ("-", "--", ":", "-.")  # of the first, second... term of a run


def training(
    logs: dict[str, list[dict[str, Any]]],
    specs: dict[str, RunSpec],
    *,
    pixels: Tensor | None = None,
    caption: str = "",
) -> Figure:
    """Denoising and dispersive loss, feature norm and saturation over steps.

    Saturation is (ceiling − loss)/(ceiling − floor), as in ``DispersionReport``; floor and ceiling are known
    from the specification.

    Args:
        logs: label → rows of ``metrics.jsonl``.
        specs: label → the run; gives the floors.
        pixels: images (n, c, h, w) in [−1, 1] to show at the right, ten in a row.
        caption: of the images.
    """
    shown = TITLES if any(spec.regularizers for spec in specs.values()) else dict(list(TITLES.items())[::2])
    rows, columns = len(shown) // 2, 2 + (pixels is not None)
    panels = np.atleast_2d(axes(rows, columns, width=COLUMN * columns / 2, height=2.8 * rows + 0.4))
    places = dict(zip(shown, panels[:, :2].ravel(), strict=True))
    with look():
        for label, log in logs.items():
            _run(places, label, pd.DataFrame(log), specs[label])
        for label, spec in specs.items():  # after all curves, as they set the range
            for number, limits in term_bounds(spec).items():
                term, color = spec.regularizers[number], COLORS.get(label, DISPERSIVE)
                _floor(places["dispersion"], term, limits, color, spec.batch_size)
        for name, (ylabel, title) in shown.items():
            places[name].set(xlabel="training step", ylabel=ylabel, title=title)
        log_axis(places["diffusion"].yaxis)
        places["diffusion"].legend()
        if shares := places.get("saturation"):
            shares.set_ylim(-0.03, 1.5)  # shares end at 1: room for the legend above all curves
            shares.set_yticks([0, 0.25, 0.5, 0.75, 1])
            shares.set_visible(bool(shares.lines))  # contrastive terms have no floor
            shares.legend(*shares.get_legend_handles_labels(), loc="upper right")
    figure: Figure = panels[0, 0].figure
    if pixels is not None:
        for extra in panels[:, 2]:
            extra.remove()
        beside = figure.add_subplot(panels[0, 2].get_gridspec()[:, 2])
        images(beside, pixels).set_title(caption, fontsize=10, fontweight="normal")
    return figure


def _run(places: dict[str, Axes], label: str, frame: pd.DataFrame, spec: RunSpec) -> None:
    color, limits = COLORS.get(label, DISPERSIVE), term_bounds(spec)
    _curve(places["diffusion"], frame, "diffusion", color, label=paper.NAMES.get(label, label))
    _curve(places["norm"], frame, "feature_rms", color)
    for number in range(len(spec.regularizers)):
        own = f"regularizer_{number}"
        _curve(places["dispersion"], frame, own, color, STYLES[number % len(STYLES)])
        if number not in limits:
            continue
        shares, span = places["saturation"], limits[number].ceiling - limits[number].floor
        named = not shares.lines
        if math.isfinite(span) and span > 0 and own in frame:
            name = "saturation (1 = at the floor)" if named else None
            shares.plot(frame.step, (limits[number].ceiling - frame[own]) / span, color=color, label=name)
        if f"{own}_off_diagonal_weight" in frame:
            name = "weight of pairs i ≠ j" if named else None
            shares.plot(frame.step, frame[f"{own}_off_diagonal_weight"], ":", color=color, label=name)


def _curve(
    ax: Axes, frame: pd.DataFrame, column: str, color: str, style: str = "-", *, label: str | None = None
) -> None:
    """Every logged value, pale, and their running mean."""
    if column in frame:
        ax.plot(frame.step, frame[column], color=color, alpha=0.25, linewidth=0.8)
        smooth = frame[column].rolling(max(len(frame) // 20, 1), min_periods=1).mean()
        ax.plot(frame.step, smooth, style, color=color, label=label)


def _floor(ax: Axes, term: Any, limits: Bounds, color: str, batch_size: int) -> None:
    """The floor, named as it is known: −log b for ℓ2."""
    span = limits.ceiling - limits.floor
    if not math.isfinite(span):
        return
    # A loss that rests on its floor would otherwise fill the panel with its rounding.
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, limits.floor - 0.02 * span), max(high, limits.floor + 0.1 * span))
    known = term.variant == "infonce-l2" and f"−log {term.local_batch or batch_size} = "
    line_across(ax, limits.floor, f"floor {known or ''}{limits.floor:.2f}".replace("-", "−"), color=color)
