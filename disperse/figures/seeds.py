"""Numbers by seed: what is paired with what, and how many seeds a number stands on, in words and at ticks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ..evaluation import Estimate, log_ratio, mean_over_seeds
from ..experiments.compare import mean_of
from .facts import plain

PAIR = ("baseline", "infonce-l2")  # labels of the two runs that most pictures compare
PAIR_NAMES = {"baseline": "baseline", "infonce-l2": "with InfoNCE ℓ2"}  # beside the name of a system
Mark = tuple[float, str, int]  # of a mean: where it stands, of which series it is, how many seeds
Changes = dict[str, dict[int, Estimate]]  # label → step → estimate


def by_seed(frame: pd.DataFrame, keys: list[str], column: str) -> dict[Any, dict[int, float]]:
    """Values of these columns, as they come → seed → value.

    Args:
        frame: one row for each of them and seed.
        keys: columns, two or more.
        column: of the value.
    """
    return {
        tuple(plain(list(key))): group.set_index("seed")[column].to_dict()
        for key, group in frame.groupby(keys, sort=False)
    }


def mean_or_none(name: str, values: Iterable[float]) -> Estimate | None:
    """Mean of a measure over seeds with its 95% interval; None of no values."""
    found = list(values)
    return mean_of(name, found) if found else None


def paired_difference(own: Mapping[int, float], reference: Mapping[int, float]) -> Estimate | None:
    """Paired difference over the seeds that both have; None where there is none.

    Of logarithms it is a log ratio.
    """
    shared = sorted(own.keys() & reference.keys())
    return mean_over_seeds([own[seed] - reference[seed] for seed in shared]) if shared else None


def paired_ratio(own: Mapping[int, float], reference: Mapping[int, float]) -> Estimate | None:
    """Paired log ratio over the seeds that both have; None where there is none."""
    return log_ratio(dict(own), dict(reference)) if own.keys() & reference.keys() else None


def paired_curves(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of baseline and paper's setting, of the seeds that both have at every step up to the last.

    A mean over other seeds at every step would bend the curve. Where no seed goes all the way, the steps
    that none reaches are left out.
    """
    pair = frame[frame.label.isin(PAIR)]
    for last in sorted(set(pair.step), reverse=True):
        rows = pair[pair.step <= last]
        counts = rows.groupby("seed").size()
        complete = counts[counts == len(set(rows.step)) * len(PAIR)].index
        if len(complete):
            return rows[rows.seed.isin(complete)]
    return pair[pair.label == PAIR[0]]  # no seed has both


def changes_by_step(frame: pd.DataFrame) -> Changes:
    """Paired log ratio of distances to the run that each is compared with, label → step → estimate."""
    pairs = frame[["label", "against"]].dropna().drop_duplicates()
    return step_changes(frame, dict(pairs.itertuples(index=False)))


def step_changes(frame: pd.DataFrame, against: Mapping[str, str]) -> Changes:
    """Label → step → paired log ratio of its distances to those of the label it is compared with."""
    fd = by_seed(frame.sort_values("step", kind="stable"), ["label", "step"], "fd")
    found: Changes = {label: {} for label in against}
    for (label, step), own in fd.items():
        change = paired_ratio(own, fd.get((against.get(label), step), {}))
        if change:
            found[label][step] = change
    return found


def count_of_seeds(counts: set[int]) -> str:
    """``1 seed``, ``3 seeds`` or ``1 to 3 seeds``."""
    low, high = min(counts), max(counts)
    return f"{low} to {high} seeds" if low < high else f"{low} seed{'s' * (low != 1)}"


def pair_counts(base: int, own: int, paired: int) -> str:
    """Seeds of a baseline, of what is compared with it, and of both: one number where all have as many.

    Also where one of the two has none: then nothing is paired.
    """
    if base == own == paired or not base or not own:
        return str(base or own)
    return f"{base} and {own}, paired {paired}"


def seeds_shown(counts: Iterable[int]) -> str:
    """What marks of means over so many seeds each show, and what a hollow one is."""
    found = set(counts)
    if not found:
        return "none yet"
    if found == {1}:
        return "one seed, no interval"
    return "95% where n > 1; hollow: one seed" if 1 in found else f"95% over {count_of_seeds(found)}"


def with_count(name: str, seeds: int, among: Iterable[int]) -> str:
    """A name in a legend, with its number of seeds where those that are shown aren't all the same."""
    return f"{name}, n = {seeds}" if {seeds, *among} != {seeds} else name


def name_counts(
    ax: Axes,
    names: Mapping[float, str],
    marks: Iterable[Mark],
    *,
    among: Iterable[int] = (),
    across: bool = False,
    always: bool = False,
    short: bool = False,
) -> None:
    """Ticks with their names and, where numbers of seeds aren't all the same, with those of the marks there.

    Beside marks they would lie on lines, bars and other marks. Where series at a tick differ, their numbers
    stand in the order that is added to the axis' label: so call it last.

    Args:
        ax: whose ticks are set.
        names: place of a tick → its name.
        marks: what stands at the ticks.
        among: numbers of seeds that other panels of the picture show.
        across: the places lie on the vertical axis.
        always: also where all numbers are the same.
        short: numbers alone, where ticks stand too close for ``n = 3``.
    """
    drawn = list(marks)
    found: dict[float, dict[str, set[int]]] = {}
    if always or len({*among, *(n for _, _, n in drawn)}) > 1:
        for place, series, n in drawn:
            found.setdefault(place, {}).setdefault(series, set()).add(n)
    told = {
        place: {series: _span(sorted(each)) for series, each in by_series.items()}
        for place, by_series in found.items()
    }
    differ = [by_series for by_series in told.values() if len(set(by_series.values())) > 1]
    order = [s for s in dict.fromkeys(s for _, s, _ in drawn) if any(s in by_series for by_series in differ)]
    lines, labels = max((name.count("\n") for name in names.values()), default=0), []
    for place, name in names.items():
        by_series = told.get(place, {})
        if by_series in differ:
            text = ("" if short else "n = ") + ", ".join(by_series.get(series, "–") for series in order)
        else:
            text = "".join(("" if short else "n = ") + each for each in list(by_series.values())[:1])
        if text and not across:  # names may have several lines: the numbers stand in one row
            name += "\n" * (1 + lines - name.count("\n"))
        elif text and name:
            name += "\n"
        labels.append(name + text)
    axis, places = ax.yaxis if across else ax.xaxis, list(names)
    axis.set_ticks(places, labels=labels)
    notes = ["under the ticks: number of seeds"] if short and found else []
    if order:
        notes.append(f"n of {' and '.join(order)}" if len(order) < 3 else "n in the order of the legend")
    if notes:
        axis.set_label_text("\n".join(filter(None, [axis.get_label_text(), f"({'; '.join(notes)})"])))


def _span(counts: Sequence[int]) -> str:
    """``3``, or ``1–3``."""
    return "–".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
