"""What sidecars hold: the runs behind a picture, and its means with their intervals."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..evaluation import Estimate, Protocol, noise_floor
from ..experiments import paper
from ..experiments.compare import mean_of
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..store import Record, published_digests, select
from .theme import save


def plain(value: Any) -> Any:
    """Plain data: estimates become dicts, NaN (no interval) None, keys text."""
    if isinstance(value, Estimate):
        return plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not np.isfinite(value) else value


def run_facts(pool: list[Record], cells: list[Cell], row: Profile) -> list[dict[str, Any]]:
    """Each run that is evaluated: label, seed, fingerprint, the commits that evaluated it, its steps."""
    runs: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in cells:
        for record in select(pool, cell.spec, row.protocol_of(cell.spec.objective.kind)):
            entry = runs.setdefault(
                (cell.label, cell.spec.fingerprint),
                {"label": cell.label, "seed": cell.spec.seed, "fingerprint": cell.spec.fingerprint,
                 "commits": [], "fd_by_step": {}},
            )  # fmt: skip
            entry["commits"] = sorted({*entry["commits"], record["commit"]})
            entry["fd_by_step"][record["step"]] = record["metrics"]["fd"]["value"]
    return plain(list(runs.values()))


def source_of(pool: Iterable[Record], cells: Iterable[Cell] | None, row: Profile) -> str:
    """Where the numbers of a picture come from: how many of the runs are published, how many this store's.

    Those of the cells count; without any, all of the pool. A run is published if every evaluation of it that
    is in the pool stands in the profile's committed results.
    """
    committed = published_digests(row.name)
    fingerprints = None if cells is None else {cell.spec.fingerprint for cell in cells}
    there: dict[str, bool] = {}
    for record in pool:
        if fingerprints is None or record["fingerprint"] in fingerprints:
            known = there.get(record["fingerprint"], True)
            there[record["fingerprint"]] = known and record.get("sha256") in committed
    if not there:
        return "no run yet"
    committed_runs = sum(there.values())
    here = len(there) - committed_runs
    if not here:
        return f"from {_runs(committed_runs, 'published run')}"
    if not committed_runs:
        return f"from {_runs(here, 'run')} of this store"
    return f"from {_runs(committed_runs, 'published run')} and {here} of this store"


def source_of_weights(runs: Sequence[dict[str, Any]]) -> str:
    """The same of a picture that is drawn from networks: label and seed of each."""
    named = dict.fromkeys(f"{paper.name_of(run['label'])} (seed {run['seed']})" for run in runs)
    return f"from the weights of {'; '.join(named)}"


def save_results(
    figure: Figure,
    stem: Path,
    facts: dict[str, Any],
    pool: Iterable[Record],
    cells: Iterable[Cell] | None,
    row: Profile,
) -> Path:
    """``save`` a picture of evaluations: says whose they are (``source_of``), and has the profile's stamp."""
    return save(figure, stem, facts, source=source_of(pool, cells, row), stamp=row.stamp)


def save_drawn(figure: Figure, stem: Path, facts: dict[str, Any], *, stamp: str) -> Path:
    """``save`` a picture that is drawn from the networks of ``facts["runs"]``, which it names."""
    return save(figure, stem, facts, source=source_of_weights(facts["runs"]), stamp=stamp)


def _runs(count: int, name: str) -> str:
    return f"{count} {name}{'s' * (count != 1)}"


def curve_facts(frame: pd.DataFrame, columns: tuple[str, ...]) -> list[dict[str, Any]]:
    """Means over seeds with their intervals, one entry per label and step, as the bands show them."""
    return [
        {"label": label, "step": int(step), "seeds": sorted(int(seed) for seed in group.seed)}
        | {column: plain(mean_of(column, group[column])) for column in columns}
        for (label, step), group in frame.groupby(["label", "step"], sort=False)
    ]


def floor_of(protocol: Protocol) -> float | None:
    """Noise floor of the distance; None where there are no real images to measure it by."""
    floor = noise_floor(protocol)
    return floor.value if floor else None


def floor_sentence(protocol: Protocol) -> str:
    """The noise floor in words, to follow a sentence; empty where there is none."""
    floor = floor_of(protocol)
    return "" if floor is None else f" Noise floor of the distance: {floor:.2f}."
