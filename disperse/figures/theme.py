"""One theme, one colour per variant, a JSON sidecar beside every picture."""

import datetime
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.image as mpl_image
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..experiments.compare import mean_of
from ..plot import line_across
from ..plot import log_axis as log_axis  # for every figure, beside the rest of its look
from ..store import commit, seal

# Okabe and Ito's colours, told apart by colour-blind readers too. Baseline and the paper's own
# variant keep theirs in every figure; those of one family differ in lightness as well.
COLORS = {
    "baseline": "#4d4d4d",
    "infonce-l2": "#0072b2",
    "infonce-cosine": "#56b4e9",
    "hinge": "#e69f00",
    "covariance": "#009e73",
    "l2-lam0.05": "#dd88aa",
    "l2-tau0.05": "#221166",
    "l2-group-whole": "#8a7a1a",
    "l2-lr-double": "#f0e442",
    "baseline-lr-double": "#bdbdbd",
    "baseline-long": "#8c2d04",
}
# One marker per family: squares have no dispersive term, circles have the ℓ2 loss, triangles another. Where
# colour alone says the term, the mark is that of a system or solver: see ``systems`` and ``sampler``.
MARKERS = {label: "s" if label.startswith("baseline") else "o" if "l2" in label else "^" for label in COLORS}
ACCENT = "#d55e00"
DPI = 160
COLUMN = 8.5  # inches: the widest picture, so that its text of 10 points or more is read at that size


def class_colors(count: int) -> list[str]:
    """A colour for each class: too many to tell apart by colour alone, so numbers or images go with them."""
    return list(sns.color_palette("husl", count).as_hex())


def theme() -> None:
    """Set the look of every figure; call once before drawing."""
    sns.set_theme(context="notebook", style="ticks", palette=list(COLORS.values()))
    mpl.rcParams.update(
        {
            "figure.constrained_layout.use": True,
            "figure.dpi": 110,
            "savefig.dpi": DPI,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 12,
            "axes.titleweight": "bold",
            "axes.titlelocation": "left",
            "axes.labelsize": 11,
            "legend.frameon": False,
            "legend.fontsize": 10,
            "image.interpolation": "nearest",
        }
    )


def new_figure(width: float, height: float, columns: int = 1, rows: int = 1) -> tuple[Figure, np.ndarray]:
    """A themed figure in inches and its axes as a flat array; not registered with pyplot."""
    theme()
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, np.atleast_1d(figure.subplots(rows, columns)).ravel()


def band(name: str) -> Callable[[Any], tuple[float, float]]:
    """For seaborn's ``errorbar``: 95% interval of the mean of a measure over seeds; none for one seed."""

    def bounds(values: Any) -> tuple[float, float]:
        estimate = mean_of(name, (float(value) for value in values))
        return estimate.low, estimate.high

    return bounds


def say_not_measured(ax: Axes) -> None:
    """In the middle of a panel that has nothing to show."""
    ax.annotate("not measured", (0.5, 0.5), xycoords="axes fraction", ha="center", color="grey")


def floor_line(ax: Axes, value: float | None, label: str, *, color: str = "", right: bool = True) -> None:
    """A thin dashed line across at ``value`` with its name above, at the right or left end; None: no line."""
    if value is None:
        return
    line_across(ax, value, label, color=color or ACCENT, right=right)


def save(figure: Figure, stem: Path, facts: dict[str, Any], *, source: str, stamp: str = "") -> Path:
    """Write ``stem.png`` and ``stem.json``: facts, commit, date, the picture's SHA-256, and a seal over all.

    Args:
        figure: to be saved.
        stem: of both files.
        facts: what the sidecar holds, beside ``source``.
        source: where the numbers come from; is printed below.
        stamp: is printed across.

    Returns:
        Path of the picture.
    """
    if stamp:
        figure.text(0.5, 0.5, stamp, fontsize=60, color=ACCENT, alpha=0.25, rotation=20,
                    ha="center", va="center")  # fmt: skip
    picture = stem.with_suffix(".png")
    # Below the figure, not within: a line in it would move what its layout has placed.
    line = Figure(figsize=(figure.get_figwidth(), 0.22))
    line.text(0.995, 0.5, source, fontsize=10, color="#767676", ha="right", va="center")
    pixels = np.vstack([_pixels(figure), _pixels(line)])
    atomic.write_file(picture, lambda path: mpl_image.imsave(path, pixels, format="png", dpi=DPI))
    written = {"source": source, "picture": picture.name, "picture_sha256": atomic.sha256_file(picture)}
    content = json.loads(json.dumps({**facts, **provenance(), **written}, allow_nan=False))  # keys as read
    atomic.write_json(stem.with_suffix(".json"), seal(content))
    return picture


def _pixels(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    buffer.seek(0)
    return mpl_image.imread(buffer)


def provenance() -> dict[str, str]:
    """Commit and date, for sidecars."""
    return {
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def read_sidecar(path: Path) -> dict[str, Any]:
    """Facts of a saved figure."""
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
