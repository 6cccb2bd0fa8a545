"""From evaluations to numbers: means over seeds, paired changes, verdicts; no text, no picture."""

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..evaluation import Estimate, log_ratio, mean_over_seeds, within
from ..regularizers import block_indices
from ..store import Record, select
from .items import Cell
from .profiles import Profile

METRICS = ("fd", "precision", "recall", "agreement", "guided_agreement")
# Where a measure ends, and its interval with it: shares, cosines, lengths and distances.
SHARES = (*METRICS[1:], "off_diagonal_weight", "near", "share")
RANGES = (
    dict.fromkeys(SHARES, (0.0, 1.0))
    | dict.fromkeys(("mean_cosine", "gradient_cosine"), (-1.0, 1.0))
    | dict.fromkeys(("fd", "rms", "spread", "update_ratio", "gradient_ratio"), (0.0, math.inf))
    | {"effective_rank": (1.0, math.inf)}
)


def measured(record: Record) -> dict[str, float]:
    """Values of ``METRICS``; NaN where the evaluator doesn't measure it: an external one has ``fd`` alone."""
    metrics = record["metrics"]
    return {name: metrics[name]["value"] if name in metrics else float("nan") for name in METRICS}


@dataclass(frozen=True)
class Row:
    """One line of a table: a cell over its seeds.

    Attributes:
        label: of the cell.
        seeds: training seeds that are finished.
        metrics: name → mean over seeds with its interval; NaN where it is not measured.
        change: paired mean of log(FD/FD of the cell it is compared with); None for a baseline.
        verdict: ``"improves"``, ``"worse"`` or ``"can't tell"``: where the interval of ``change`` lies.
        block: means over seeds at a quarter of the depth, noise level 0.5: rms, effective_rank, ...
    """

    label: str
    seeds: list[int]
    metrics: dict[str, Estimate]
    change: Estimate | None
    verdict: str
    block: dict[str, Estimate]


def verdict(change: Estimate) -> str:
    """What the 95% interval of a paired log ratio of distances says; without interval, nothing."""
    if change.high < 0:
        return "improves"
    return "worse" if change.low > 0 else "can't tell"


def mean_of(name: str, values: Iterable[float]) -> Estimate:
    """Mean of a measure over seeds; of one in ``RANGES`` the interval stays within its range."""
    mean = mean_over_seeds(list(values))
    return within(mean, *RANGES[name]) if name in RANGES else mean


def curves(pool: list[Record], cells: list[Cell], row: Profile) -> list[dict[str, Any]]:
    """Finished evaluations as flat rows: label, against, seed, step, metrics, block measures, terms.

    ``update_ratio``: what later blocks add to the stream, over its length at the regularised block.
    ``off_diagonal_weight``, ``saturation``, ``gradient_ratio`` of the run's first term; None without one.
    Each evaluation stands once, also where two cells are the same run at different lengths.
    """
    rows: dict[tuple[str, int, int], dict[str, Any]] = {}
    for cell in cells:
        for record in select(pool, cell.spec, row.protocol_of(cell.spec.objective.kind)):
            block = regularised_block(record)
            term: dict[str, Any] = next(iter(record["terms"]), {})
            rows[cell.label, record["seed"], record["step"]] = (
                {"label": cell.label, "against": cell.against, "seed": record["seed"], "step": record["step"]}
                | measured(record)
                | {name: block[name] for name in ("rms", "spread", "effective_rank", "mean_cosine")}
                | {"update_ratio": _update_ratio(record, block)}
                | {name: term.get(name) for name in ("off_diagonal_weight", "saturation", "gradient_ratio")}
            )
    return list(rows.values())


def regularised_block(record: Record, level: float = 0.5) -> dict[str, float]:
    """Measures at a quarter of the depth, for all runs alike, at one noise level."""
    depth = 1 + max(entry["block"] for entry in record["blocks"])
    (block,) = block_indices("quarter", depth)
    return next(e for e in record["blocks"] if e["block"] == block and e["level"] == level)


def _update_ratio(record: Record, block: dict[str, float]) -> float:
    later = [e["update_rms"] for e in record["blocks"]
             if e["level"] == block["level"] and e["block"] > block["block"]]  # fmt: skip
    return float(np.mean(later)) / block["rms"]


def finals(pool: list[Record], cells: list[Cell], row: Profile) -> dict[str, dict[int, Record]]:
    """The evaluation at the end of each finished run: label → seed → record, in the order of ``cells``."""
    found: dict[str, dict[int, Record]] = {}
    for cell in cells:
        records = select(pool, cell.spec, row.protocol_of(cell.spec.objective.kind))
        if records and records[-1]["step"] == cell.spec.num_steps:
            found.setdefault(cell.label, {})[cell.spec.seed] = records[-1]
    return found


def distances(pool: list[Record], cells: list[Cell], row: Profile) -> dict[str, dict[int, float]]:
    """Fréchet distance at the end of each finished run: label → seed → distance."""
    return {label: _distances(by_seed) for label, by_seed in finals(pool, cells, row).items()}


def compare(pool: list[Record], cells: list[Cell], row: Profile) -> list[Row]:
    """One row per label, in the order of ``cells``: means over seeds, and the paired change.

    Only finished runs count; a label without any is left out. A run is compared with that of the same
    seed under the label that its cell names.
    """
    final = finals(pool, cells, row)
    against = {cell.label: cell.against for cell in cells}
    rows = []
    for label, by_seed in final.items():
        own, reference = _distances(by_seed), _distances(final.get(against[label] or "", {}))
        change = log_ratio(own, reference) if own.keys() & reference.keys() else None
        rows.append(
            Row(
                label=label,
                seeds=sorted(by_seed),
                metrics={
                    name: mean_of(name, (measured(r)[name] for r in by_seed.values())) for name in METRICS
                },
                change=change,
                verdict=verdict(change) if change else "",
                block={
                    name: mean_of(name, (regularised_block(r)[name] for r in by_seed.values()))
                    for name in ("rms", "effective_rank", "mean_cosine")
                },
            )
        )
    return rows


def _distances(by_seed: dict[int, Record]) -> dict[int, float]:
    return {seed: record["metrics"]["fd"]["value"] for seed, record in by_seed.items()}


def as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Rows as plain data; NaN (no interval) becomes None."""

    def clean(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: clean(item) for key, item in value.items()}
        if isinstance(value, float) and not np.isfinite(value):
            return None
        return value

    return [clean(dataclasses.asdict(row)) for row in rows]
