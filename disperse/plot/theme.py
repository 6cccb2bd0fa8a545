"""One look for every figure: colours, marks, sizes, axes; and how a figure is kept."""

import base64
import contextlib
import functools
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FormatStrFormatter, MaxNLocator, NullLocator

from .. import atomic
from ..folders import figures_folder

# Okabe and Ito's colours, told apart by colour-blind readers too. Baseline and the paper's own term keep
# theirs in every figure.
BASELINE, DISPERSIVE, ACCENT = "#4d4d4d", "#0072b2", "#d55e00"
COLORS = {
    "none": BASELINE,
    "baseline": BASELINE,
    "infonce-l2": DISPERSIVE,
    "infonce-cosine": "#56b4e9",
    "hinge": "#e69f00",
    "covariance": "#009e73",
}
FURTHER = ("#cc79a7", "#8c2d04", "#221166", "#8a7a1a", "#999999", "#117733")
DPI, SCREEN, COLOURS = 160, 100, 64
SUFFIXES: dict[str, Any] = {"png": {"dpi": DPI}, "svg": {"metadata": {"Date": None}}}
COLUMN = 8.5  # inches: text of 10 points or more is read at that width
RC: Any = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 80,
    "savefig.dpi": DPI,
    "svg.hashsalt": "disperse",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "image.interpolation": "nearest",
}


@contextlib.contextmanager
def look() -> Iterator[None]:
    """The look of every figure, whatever a user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(RC)
        yield


def axes(
    rows: int = 1, columns: int = 1, *, width: float = COLUMN, height: float = 4.2, **options: Any
) -> Any:
    """Axes of a new figure: one, or an array; ``options`` as of ``Figure.subplots``."""
    with look():
        figure = Figure(figsize=(width, height), layout="constrained")
        return figure.subplots(rows, columns, **options)


def color_of(name: object, position: int = 0) -> str:
    """The fixed colour of a name, or one of the further colours by its position."""
    return COLORS.get(str(name), FURTHER[position % len(FURTHER)])


def palette(names: Sequence[object]) -> dict[object, str]:
    """A colour for each name, those with a fixed one their own."""
    free = [name for name in names if str(name) not in COLORS]
    return {name: color_of(name, free.index(name) if name in free else 0) for name in names}


def class_colors(count: int) -> list[str]:
    """A colour for each class; many are not told apart by colour alone, so numbers or images go with them."""
    from seaborn import color_palette  # slow to import

    return list(color_palette("husl", count).as_hex())


def log_axis(axis: Axis, ticks: Sequence[float] = ()) -> None:
    """Plain numbers on a logarithmic axis, at least three of them; call after drawing.

    Args:
        axis: to be made logarithmic.
        ticks: where to put them; by default the coarsest of 1, 10; 1, 2, 5, 10; ... that gives three.
    """
    axis.axes.set(**{"xscale" if axis is axis.axes.xaxis else "yscale": "log"})
    low, high = sorted(axis.get_view_interval())
    tens = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for subs in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), np.arange(1, 10, 0.5)):
        places = list(ticks) or [s * ten for ten in tens for s in subs if low <= s * ten <= high]
        if len(places) >= 3 or ticks:
            break
    else:  # less than an eighth of an octave: round numbers at equal distances
        places = [place for place in MaxNLocator(4).tick_values(low, high) if low <= place <= high]
    axis.set_major_locator(FixedLocator(places))
    axis.set_major_formatter(FormatStrFormatter("%.10g"))
    axis.set_minor_locator(NullLocator())


def line_across(ax: Axes, value: float, label: str, *, color: str = ACCENT, right: bool = True) -> None:
    """A thin dashed line across at ``value``, with its name above, at the right or left end."""
    ax.axhline(value, color=color, linestyle="--", linewidth=1, zorder=1)
    ax.annotate(
        label, (1.0 if right else 0.0, value), (-3 if right else 3, 2), color=color, fontsize=10,
        xycoords=ax.get_yaxis_transform(), textcoords="offset points",
        ha="right" if right else "left", va="bottom",
    )  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A kept figure; a notebook shows it as large as a screen needs and in few colours: it stays small.

    Attributes:
        path: of the PNG for papers.
        alt: what it shows, for those who don't see it.
        screen: PNG at a screen's resolution; that of the path where none is given.
    """

    path: Path
    alt: str
    screen: bytes = field(default=b"", repr=False)

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        from PIL import Image  # of the notebooks' extra

        buffer = io.BytesIO()
        with Image.open(io.BytesIO(self.screen or self.path.read_bytes())) as whole:
            whole.convert("RGB").quantize(COLOURS).save(buffer, format="PNG", optimize=True)
        shown = {"image/png": base64.b64encode(buffer.getvalue()).decode(), "text/plain": self.alt}
        return shown, {"image/png": {"alt": self.alt}}


def save(
    where: Axes | Figure,
    name: str,
    profile: str,
    *,
    alt: str,
    values: dict[str, Any] | None = None,
    stamp: str = "",
) -> Picture:
    """Keep a figure as ``<name>.png`` and ``.svg`` in the profile's folder, and its values as JSON.

    The JSON also holds, under ``picture``, what the figure shows and the SHA-256 of both files.

    Args:
        where: the figure, or axes of it.
        name: of the files.
        profile: says the folder, see ``folders.figures_folder``.
        alt: what the figure shows, for those who don't see it.
        values: tables (frames) or plain data that the figure shows, by name.
        stamp: printed across, of runs at toy size.

    Returns:
        The picture, which a notebook shows as the value of its cell.
    """
    return keep(where, figures_folder(profile) / name, alt=alt, values=values, stamp=stamp)


def keep(
    where: Axes | Figure, stem: Path, *, alt: str, values: dict[str, Any] | None = None, stamp: str = ""
) -> Picture:
    """As ``save``, to any place: ``stem`` is the path of the files without what follows the dot."""
    figure = where if isinstance(where, Figure) else where.figure
    assert isinstance(figure, Figure)
    paths = {suffix: stem.with_name(f"{stem.name}.{suffix}") for suffix in (*SUFFIXES, "json")}
    with look():
        if stamp:
            figure.text(0.5, 0.5, stamp, fontsize=60, color=ACCENT, alpha=0.25, rotation=20, ha="center")
        for suffix, options in SUFFIXES.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, **options)
            data = buffer.getvalue()
            atomic.write_file(paths[suffix], functools.partial(_write, data))
    picture = {"alt": alt, **{suffix: atomic.sha256_file(paths[suffix]) for suffix in SUFFIXES}}
    atomic.write_json(paths["json"], {**plain(values or {}), "picture": picture})
    with look():
        screen = (
            io.BytesIO()
        )  # drawn at its own resolution: shrunk pixels of images would blur, and need more bytes
        figure.savefig(screen, format="png", dpi=SCREEN)
    return Picture(paths["png"], alt, screen.getvalue())


def _write(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def plain(value: Any) -> Any:
    """Plain data for JSON: frames become lists of rows, NaN becomes None, arrays lists, keys text."""
    if isinstance(value, pd.DataFrame):
        return plain(json.loads(value.to_json(orient="records", double_precision=15, default_handler=str)))
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not np.isfinite(value) else value
