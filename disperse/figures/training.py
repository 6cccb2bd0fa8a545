"""What happens during a run."""

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..experiments import paper
from ..losses import Bounds, bounds
from ..models import config_of
from ..regularizers import DispersiveSpec
from ..spec import RunSpec
from .samples import tile
from .theme import COLORS, floor_line, log_axis, new_figure

STYLES = ("-", "--", ":", "-.")  # of the first, second... term of a run


def term_bounds(spec: RunSpec) -> dict[int, Bounds]:
    """Floor and ceiling of each dispersive term of a run, by its number; from the spec and shapes alone."""
    config = config_of(spec)
    found = {}
    for number, term in enumerate(spec.regularizers):
        if isinstance(term, DispersiveSpec):
            rows = term.local_batch or spec.batch_size
            width = config.hidden_size * (config.num_tokens if term.tokens == "flatten" else 1)
            found[number] = bounds(
                term.variant, rows, width, tau=term.tau, eps=term.eps,
                diagonal=term.diagonal, scale=term.scale,
            )  # fmt: skip
    return found


def training_figure(
    logs: dict[str, list[dict[str, Any]]],
    specs: dict[str, RunSpec],
    *,
    grid: Tensor | None = None,
    caption: str = "",
) -> Figure:
    """Denoising and dispersive loss, feature norm and saturation over steps.

    Args:
        logs: label → rows of ``metrics.jsonl``.
        specs: label → the run; gives the floors.
        grid: images (n, c, h, w) in [−1, 1] to show at the right, ten in a row.
        caption: of the grid.
    """
    terms = any(spec.regularizers for spec in specs.values())
    rows, columns = 1 + terms, 2 + (grid is not None)
    figure, axes = new_figure(4.5 * columns, 2.8 * rows + 0.4 * (rows == 1), columns=columns, rows=rows)
    panels = axes.reshape(rows, columns)
    shown = [
        ("diffusion", "diffusion loss", "Denoising"),
        ("dispersion", "dispersive loss", "Dispersion"),
        ("norm", "feature rms at ¼ depth", "Norm"),
        ("saturation", "share", "How much is left"),
    ]
    shown = shown if terms else shown[::2]
    ax = dict(zip([name for name, _, _ in shown], panels[:, :2].ravel(), strict=True))
    for label, log in logs.items():
        color, frame, spec = COLORS.get(label, COLORS["infonce-l2"]), pd.DataFrame(log), specs[label]
        _curve(ax["diffusion"], frame, "diffusion", color, label=paper.NAMES.get(label, label))
        _curve(ax["norm"], frame, "feature_rms", color)
        limits = term_bounds(spec)
        for number in range(len(spec.regularizers)):
            _curve(ax["dispersion"], frame, f"regularizer_{number}", color, STYLES[number % len(STYLES)])
            if number in limits:
                _saturation(ax["saturation"], frame, number, limits[number], color)
    for label, spec in specs.items():  # after all curves, as they set the range
        for number, limit in term_bounds(spec).items():
            _floor(ax["dispersion"], spec, number, limit, COLORS.get(label, COLORS["infonce-l2"]))
    for name, ylabel, title in shown:
        ax[name].set(xlabel="training step", ylabel=ylabel, title=title)
    log_axis(ax["diffusion"].yaxis)
    ax["diffusion"].legend()
    if terms:
        ax["saturation"].set_ylim(-0.03, 1.5)  # shares end at 1: room for the legend above all curves
        ax["saturation"].set_yticks([0, 0.25, 0.5, 0.75, 1])
        ax["saturation"].set_visible(bool(ax["saturation"].lines))  # contrastive terms have no floor
        ax["saturation"].legend(*ax["saturation"].get_legend_handles_labels(), loc="upper right")
    if grid is not None:
        for extra in panels[:, 2]:
            extra.remove()
        _grid(figure.add_subplot(panels[0, 2].get_gridspec()[:, 2]), grid, caption)
    return figure


def _curve(
    ax: Axes, frame: pd.DataFrame, column: str, color: str, style: str = "-", *, label: str | None = None
) -> None:
    """Every logged value, pale, and their running mean."""
    if column in frame:
        values = frame[column]
        ax.plot(frame.step, values, color=color, alpha=0.25, linewidth=0.8)
        smooth = values.rolling(max(len(frame) // 20, 1), min_periods=1).mean()
        ax.plot(frame.step, smooth, style, color=color, label=label)


def _saturation(ax: Axes, frame: pd.DataFrame, number: int, limits: Bounds, color: str) -> None:
    """Saturation, and the weight of the pairs i ≠ j, as ``DispersionReport`` defines them."""
    named = not ax.lines
    span = limits.ceiling - limits.floor
    if math.isfinite(span) and span > 0 and f"regularizer_{number}" in frame:
        share = (limits.ceiling - frame[f"regularizer_{number}"]) / span
        ax.plot(frame.step, share, color=color, label="saturation (1 = at the floor)" if named else None)
    alive = f"regularizer_{number}_off_diagonal_weight"
    if alive in frame:
        name = "weight of pairs i ≠ j" if named else None
        ax.plot(frame.step, frame[alive], color=color, linestyle=":", label=name)


def _floor(ax: Axes, spec: RunSpec, number: int, limits: Bounds, color: str) -> None:
    """The floor, named as it is known: −log b for ℓ2."""
    term = spec.regularizers[number]
    assert isinstance(term, DispersiveSpec)  # the others have no floor
    span = limits.ceiling - limits.floor
    if math.isfinite(span):
        # A loss that rests on its floor would otherwise fill the panel with its rounding.
        low, high = ax.get_ylim()
        ax.set_ylim(min(low, limits.floor - 0.02 * span), max(high, limits.floor + 0.1 * span))
        known = term.variant == "infonce-l2" and f"−log {term.local_batch or spec.batch_size} = "
        text = f"floor {known or ''}{limits.floor:.2f}".replace("-", "−")
        floor_line(ax, limits.floor, text, color=color)


def _grid(ax: Axes, images: Tensor, caption: str) -> None:
    ax.imshow(tile(images, 10), cmap="gray", vmin=-1, vmax=1)
    ax.set_axis_off()
    ax.set_title(caption, fontsize=10, fontweight="normal")
