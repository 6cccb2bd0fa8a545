"""Systems without and with the term under several settings: means, paired changes, and their table.

A frame here has one row per run and setting, with columns system, term, seed, the setting, and ``METRICS``.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from ..evaluation import Estimate, log_ratio
from ..experiments.compare import mean_of, measured, verdict
from ..experiments.items import Cell
from ..experiments.tables import markdown_table, percent_interval, with_interval
from ..store import Record
from .changes import mark
from .seeds import PAIR_NAMES, by_seed, paired_ratio
from .systems import SYSTEM_MARKERS, SYSTEM_NAMES
from .theme import COLORS

METRICS = ("fd", "precision", "recall", "agreement")


def run_row(cell: Cell, record: Record, **setting: Any) -> dict[str, Any]:
    """One row of a frame: a run's evaluation in a setting, and where it comes from."""
    return {
        "system": SYSTEM_NAMES[cell.spec.objective.kind],
        "term": "infonce-l2" if cell.spec.regularizers else "baseline",
        "seed": cell.spec.seed,
        **setting,
        **{name: value for name, value in measured(record).items() if name in METRICS},
        "fingerprint": cell.spec.fingerprint,
        "commit": record["commit"],
    }


def as_frame(rows: list[dict[str, Any]], *settings: str) -> pd.DataFrame:
    """Rows of ``run_row`` with these settings; a frame with its columns also where there are none."""
    columns = ["system", "term", "seed", *settings, *METRICS, "fingerprint", "commit"]
    return pd.DataFrame(rows, columns=columns)


def means(frame: pd.DataFrame, setting: str, metric: str = "fd") -> dict[tuple[str, str, Any], Estimate]:
    """(system, term, setting) → mean of a metric over training seeds."""
    groups = frame.groupby(["system", "term", setting], sort=False)[metric]
    return {key: mean_of(metric, values) for key, values in groups}


def ratios(frame: pd.DataFrame, setting: str) -> dict[tuple[str, Any], dict[int, float]]:
    """(system, setting) → training seed → distance with the term over that without, where both are there."""
    fd = by_seed(frame, ["system", "term", setting], "fd")
    pairs = {
        (system, value): {
            seed: distance / fd[system, "baseline", value][seed]
            for seed, distance in own.items()
            if seed in fd.get((system, "baseline", value), {})
        }
        for (system, term, value), own in fd.items()
        if term != "baseline"
    }
    return {key: own for key, own in pairs.items() if own}


def changes(frame: pd.DataFrame, setting: str) -> dict[tuple[str, Any], Estimate]:
    """(system, setting) → paired mean of the log ratio of distances, with the term over without."""
    return {key: log_ratio(own, dict.fromkeys(own, 1.0)) for key, own in ratios(frame, setting).items()}


def shift(frame: pd.DataFrame, setting: str, system: str, value: Any, against: Any) -> Estimate | None:
    """How much the term's log ratio in one setting is above that in another, within a seed; None: no seed."""
    found = ratios(frame, setting)
    return paired_ratio(found.get((system, value), {}), found.get((system, against), {}))


def system_dot(ax: Axes, x: float, mean: Estimate, system: str, term: str) -> None:
    """A mean over seeds as a ``mark``: colour says the term, shape the system."""
    mark(ax, x, mean, COLORS[term], shape=SYSTEM_MARKERS[system])


def systems_table(frame: pd.DataFrame, setting: str, name: Callable[[Any], str] = str) -> str:
    """Every system, term and setting with its metrics, the term's paired change, and the seeds."""
    columns = ["ours", setting, "distance", "change by the term (paired, 95%)", "verdict", *METRICS[1:3],
               "class agreement", "seeds"]  # fmt: skip
    found, by_term = {metric: means(frame, setting, metric) for metric in METRICS}, changes(frame, setting)
    rows = []
    for (system, term, value), distance in found["fd"].items():
        change = by_term.get((system, value)) if term != "baseline" else None
        rows.append([
            f"{system}, {PAIR_NAMES[term]}",
            name(value),
            with_interval(distance),
            percent_interval(change, seeds=distance.n),
            verdict(change) if change else "",
            *(with_interval(found[metric][system, term, value]) for metric in METRICS[1:]),
            str(distance.n),
        ])  # fmt: skip
    return markdown_table(columns, rows)
