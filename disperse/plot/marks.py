"""Plots of tidy frames with intervals: what ``results.means`` and ``results.changes`` give, on any axes.

A mark is filled and has its 95% interval; one that stands on a single seed is hollow and has none; a group
without a run says so. Published numbers of the paper are diamonds, runs of this machine crosses.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..results import where
from .theme import ACCENT, BASELINE, DISPERSIVE, color_of, look, palette

NUDGE = 0.16  # between series at one place of a categorical axis
STYLES = (("-", "o"), ("--", "^"), (":", "s"), ("-.", "D"))  # line and mark of series of one colour


def percent(change: Any) -> Any:
    """A log ratio as a change in percent; of a frame its columns ``value``, ``low`` and ``high``."""
    if isinstance(change, pd.DataFrame):
        return change.assign(**{name: percent(change[name]) for name in ("value", "low", "high")})
    return 100 * np.expm1(change)


def interval_marks(
    ax: Axes,
    found: pd.DataFrame,
    places: Sequence[float],
    *,
    color: str = DISPERSIVE,
    shape: str = "o",
    across: bool = False,
    label: str = "",
    size: float = 7,
) -> None:
    """A mark for each row: ``value`` with ``low`` and ``high``; hollow for n = 1, "not trained" for n = 0.

    Args:
        ax: where to.
        found: columns ``value, low, high, n``.
        places: of the rows on the other axis.
        color, shape, size: of the marks.
        across: values lie on the horizontal axis.
        label: for a legend.
    """
    for place, row in zip(places, found.to_dict("records"), strict=True):
        if row["n"] == 0:
            _not_trained(ax, place, across=across)
            continue
        single = bool(np.isnan(row["low"]))
        reach = None if single else [[row["value"] - row["low"]], [row["high"] - row["value"]]]
        x, y = (row["value"], place) if across else (place, row["value"])
        ax.errorbar(x, y, xerr=reach if across else None, yerr=None if across else reach, fmt=shape,
                    color=color, capsize=4, markersize=size, markeredgewidth=1.6,
                    markerfacecolor="white" if single else color)  # fmt: skip
    if label:
        single = bool(len(found)) and set(found["n"]) <= {0, 1}
        ax.scatter([], [], marker=shape, s=49, facecolor="white" if single else color, edgecolor=color,
                   linewidth=1.6, label=label)  # fmt: skip


def diamonds(ax: Axes, places: Sequence[float], values: Sequence[float], *, across: bool = False) -> None:
    """Published numbers: hollow and in front, so that nothing hides them and they hide nothing."""
    x, y = (values, places) if across else (places, values)
    ax.scatter(x, y, marker="D", s=46, facecolor="none", edgecolor="black", linewidth=1.5, zorder=5,
               label="paper (FID, ImageNet)")  # fmt: skip


def crosses(ax: Axes, places: Sequence[float], here: pd.DataFrame, *, across: bool = False) -> None:
    """What this machine has trained itself, over what counts; nothing where ``here`` has no values."""
    there = here["value"].notna().to_numpy() if len(here) else np.zeros(0, bool)
    if there.any():
        values, spots = here["value"].to_numpy(float)[there], np.asarray(places, float)[there]
        x, y = (values, spots) if across else (spots, values)
        ax.scatter(x, y, marker="x", s=60, color=ACCENT, linewidth=2, zorder=6, label="this machine")


def changes(
    ax: Axes,
    found: pd.DataFrame,
    x: str,
    *,
    hue: str = "",
    here: pd.DataFrame | None = None,
    names: Mapping[Any, str] | None = None,
    paper: Mapping[Any, float] | None = None,
    across: bool = False,
    ylabel: str = "change against the baseline, %",
) -> Axes:
    """Paired changes in percent over a categorical axis; below zero is better.

    Args:
        ax: where to.
        found: of ``results.changes``.
        x: column of the places, in order of appearance.
        hue: column of series that stand beside each other at a place.
        here: the same of this machine's runs, drawn as crosses.
        names: value of ``x`` or ``hue`` → what it is called.
        paper: value of ``x`` → published relative change, −0.113 for −11.3%.
        across: places lie on the vertical axis.
        ylabel: of the axis of changes.
    """
    names = names or {}
    places = {value: float(number) for number, value in enumerate(dict.fromkeys(found[x]))}
    shown = percent(found)
    series = list(dict.fromkeys(found[hue])) if hue else [None]
    colors = palette(series) if hue else {None: DISPERSIVE}
    with look():
        for number, key in enumerate(series):
            part = shown if key is None else shown[shown[hue] == key]
            nudge = NUDGE * (number - (len(series) - 1) / 2)
            interval_marks(ax, part, [places[value] + nudge for value in part[x]], color=colors[key],
                           across=across, label=str(names.get(key, key)) if hue else "ours")  # fmt: skip
            if here is not None and len(here):
                own = percent(here if key is None else here[here[hue] == key])
                own = own[own[x].isin(list(places))]
                crosses(ax, [places[value] + nudge for value in own[x]], own, across=across)
        if paper:
            known = {value: change for value, change in paper.items() if value in places}
            diamonds(
                ax, [places[value] - 0.3 for value in known], [100 * c for c in known.values()], across=across
            )
        (ax.axvline if across else ax.axhline)(0, color=BASELINE, linewidth=1)
        ticks = [f"{names.get(value, value)}{count}" for value, count in _counts(found, x).items()]
        axis = ax.yaxis if across else ax.xaxis
        axis.set_ticks(list(places.values()), labels=ticks)
        (ax.set_xlabel if across else ax.set_ylabel)(ylabel)
        if across:
            ax.invert_yaxis()
        if hue or paper or (here is not None and len(here)):
            legend(ax)
    return ax


def legend(ax: Axes, **options: Any) -> None:
    """Name every series once."""
    handles, labels = ax.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    if once:
        with look():
            ax.legend(list(once.values()), list(once), **{"loc": "best", **options})


def curves(
    ax: Axes,
    found: pd.DataFrame,
    x: str,
    *,
    hue: str,
    ylabel: str,
    style: str = "",
    here: pd.DataFrame | None = None,
    names: Mapping[Any, str] | None = None,
    named: bool = True,
) -> Axes:
    """Means over seeds along a numeric axis, with a band of their 95% interval; hollow where n = 1.

    Args:
        ax: where to.
        found: of ``results.means`` by ``x``, ``hue`` and ``style``.
        x, hue: columns of the axis and of the series, told by colour.
        ylabel: of the axis of means.
        style: column of series within a colour, told by line and mark.
        here: the same of this machine's runs, drawn as crosses.
        names: value of ``hue`` or ``style`` → what it is called.
        named: whether the series are named here.
    """
    names = names or {}
    colors = palette(list(dict.fromkeys(found[hue])))
    styles = dict(zip(dict.fromkeys(found[style]), itertools.cycle(STYLES))) if style else {None: STYLES[0]}
    with look():
        for key, color in colors.items():
            for kind, (line, shape) in styles.items():
                part = found[found[hue] == key] if kind is None else where(found, **{hue: key, style: kind})
                label = "" if style else f"{names.get(key, key)}, n = {_span(sorted(set(part['n'])))}"
                _curve(ax, part.sort_values(x), x, color, line + shape, label)
        for key, color in colors.items() if style else ():
            ax.plot([], [], color=color, linewidth=5, label=str(names.get(key, key)))
        for kind, (line, shape) in styles.items() if style else ():
            count = _span(sorted(set(found["n"][found[style] == kind])))
            label = f"{names.get(kind, kind)}, n = {count}"
            ax.plot([], [], line + shape, color="black", markersize=5, label=label)
        if here is not None and len(here):
            crosses(ax, here[x].tolist(), here)
        ax.set(xlabel=x.replace("_", " "), ylabel=ylabel)
        if named:
            legend(ax)
    return ax


def _curve(ax: Axes, part: pd.DataFrame, x: str, color: str, line: str, label: str) -> None:
    """One line with its band."""
    if part.empty:
        return
    face = "white" if part["n"].max() == 1 else color
    ax.plot(part[x], part["value"], line, color=color, markersize=5, linewidth=1.6, markerfacecolor=face,
            label=label)  # fmt: skip
    if part["n"].max() > 1:
        ax.fill_between(
            part[x].astype(float), part["low"], part["high"], color=color, alpha=0.18, linewidth=0
        )


def dots(
    ax: Axes,
    table: pd.DataFrame,
    means: pd.DataFrame,
    x: str,
    y: str,
    *,
    names: Mapping[Any, str] | None = None,
    ylabel: str = "",
) -> Axes:
    """Every seed as a dot, and beside it the mean with its interval.

    Args:
        ax: where to.
        table: a row per evaluation.
        means: of ``results.means`` of it by ``x``.
        x, y: columns of the groups and of the measure.
        names: value of ``x`` → what it is called.
        ylabel: of the measure; its name by default.
    """
    names = names or {}
    with look():
        for place, row in enumerate(means.to_dict("records")):
            values = table[table[x] == row[x]][y]
            color = color_of(row[x], place)
            ax.scatter(np.full(len(values), place - NUDGE), values, s=18, color=color, alpha=0.45)
            interval_marks(ax, pd.DataFrame([row]), [place + NUDGE / 3], color=color)
        labels = [f"{names.get(value, value)}{count}" for value, count in _counts(means, x).items()]
        ax.set_xticks(range(len(means)), labels=labels)
        ax.set_ylabel(ylabel or y)
    return ax


def _counts(found: pd.DataFrame, x: str) -> dict[Any, str]:
    """Value of x → the line with its number of seeds; empty where all have as many."""
    spans = {value: sorted({int(n) for n in part["n"] if n}) for value, part in found.groupby(x, sort=False)}
    if len({n for span in spans.values() for n in span}) <= 1:
        return dict.fromkeys(dict.fromkeys(found[x]), "")
    return {value: f"\nn = {_span(span)}" if span else "" for value, span in spans.items()}


def _span(counts: Sequence[int]) -> str:
    """``3``, ``1–3``, or nothing."""
    return "–".join(str(n) for n in dict.fromkeys((*counts[:1], *counts[-1:])))


def _not_trained(ax: Axes, place: float, *, across: bool) -> None:
    text: dict[str, Any] = {"color": ACCENT, "fontsize": 10, "ha": "center"}
    if across:
        ax.annotate("not trained", (0.5, place), xycoords=ax.get_yaxis_transform(), va="center", **text)
    else:
        ax.annotate(
            "not trained", (place, 0.03), xycoords=ax.get_xaxis_transform(), va="bottom", rotation=90, **text
        )
