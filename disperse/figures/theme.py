"""One theme, one colour per variant, a JSON sidecar beside every picture."""

import datetime
import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import seaborn as sns
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from .. import atomic
from ..evaluation import mean_over_seeds
from ..experiments.store import commit

# Okabe and Ito's colours, told apart by colour-blind readers too. Baseline and the paper's own
# variant keep theirs in every figure.
COLORS = {
    "baseline": "#4d4d4d",
    "infonce-l2": "#0072b2",
    "infonce-cosine": "#56b4e9",
    "hinge": "#e69f00",
    "covariance": "#009e73",
    "l2-lam0.05": "#cc79a7",
    "l2-tau0.05": "#332288",
    "l2-group-whole": "#999933",
    "l2-lr-double": "#88ccee",
    "baseline-lr-double": "#bbbbbb",
    "baseline-long": "#000000",
}
ACCENT = "#d55e00"


def theme() -> None:
    """Set the look of every figure; call once before drawing."""
    sns.set_theme(context="notebook", style="ticks", palette=list(COLORS.values()))
    mpl.rcParams.update(
        {
            "figure.constrained_layout.use": True,
            "figure.dpi": 110,
            "savefig.dpi": 160,
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


def student_band(values: Any) -> tuple[float, float]:
    """95% interval of the mean over seeds, for seaborn's ``errorbar``; none for one seed."""
    estimate = mean_over_seeds([float(value) for value in values])
    return estimate.low, estimate.high


def log_axis(axis: Axis) -> None:
    """Plain numbers 1, 2, 5, 10... on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FormatStrFormatter("%g"))
    axis.set_minor_formatter(NullFormatter())


def save(figure: Figure, stem: Path, facts: dict[str, Any], *, stamp: str = "") -> Path:
    """Write ``stem.png`` and ``stem.json`` (facts, commit, date); ``stamp`` is printed across.

    Returns:
        Path of the picture.
    """
    if stamp:
        figure.text(0.5, 0.5, stamp, fontsize=60, color=ACCENT, alpha=0.25, rotation=20,
                    ha="center", va="center")  # fmt: skip
    picture = stem.with_suffix(".png")
    atomic.write_file(picture, lambda path: figure.savefig(path))
    atomic.write_json(stem.with_suffix(".json"), {**facts, **provenance(), "picture": picture.name})
    return picture


def provenance() -> dict[str, str]:
    """Commit and date, for sidecars."""
    return {
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def read_sidecar(path: Path) -> dict[str, Any]:
    """Facts of a saved figure."""
    return json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
