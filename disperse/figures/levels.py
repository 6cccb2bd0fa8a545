"""Runs that were looked at against their training images: by term, size, number of images and noise level."""

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from ..data import num_train_images
from ..evaluation import Estimate
from ..experiments import seen_by, tables
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..spec import RunSpec
from ..store import Record
from .changes import percent
from .facts import plain
from .seeds import PAIR

AGAINST_TRAINING = {"guided_samples": 0, "against_training": True}  # what the look changes in a protocol
MEASURES = ("near", "seen_loss", "unseen_loss", "rms", "effective_rank", "mean_cosine", "gradient_ratio",
            "gradient_cosine")  # fmt: skip
# Noise levels of a group are above the first number and not above the second.
GROUPS = {"low": (0.0, 1 / 3), "middle": (1 / 3, 2 / 3), "high": (2 / 3, 1.0)}


def looked_at(looked: list[Record], cells: list[Cell], row: Profile) -> list[tuple[Cell, Record]]:
    """Runs with their evaluation against training, each run once, as far as they are there."""
    found: dict[str, tuple[Cell, Record]] = {}
    for cell in cells:
        for record in seen_by("against_training", looked, cell, row):
            found.setdefault(record["fingerprint"], (cell, record))
    return list(found.values())


def looked_facts(runs: list[tuple[Cell, Record]]) -> list[dict[str, Any]]:
    """What a sidecar holds of such runs."""
    return [
        {"label": cell.label, "seed": record["seed"], "fingerprint": record["fingerprint"],
         "step": record["step"], "commits": [record["commit"]]}
        for cell, record in runs
    ]  # fmt: skip


def term_of(spec: RunSpec) -> str:
    """``"baseline"`` or ``"infonce-l2"``."""
    return PAIR[bool(spec.regularizers)]


def level_frame(runs: list[tuple[Cell, Record]]) -> pd.DataFrame:
    """One row for each run and noise level: term, model, data, images, seed, the measures, and their group.

    ``gap``: loss on unseen images minus that on seen ones; ``share``: of the loss on unseen images, summed
    over the run's levels, what this level has; ``near``: share of samples whose nearest image is one of
    training, the same at every level. What wasn't measured is NaN.
    """
    frame = pd.DataFrame(
        [
            {"term": term_of(cell.spec), "model": cell.spec.model, "data": cell.spec.data,
             "images": num_train_images(cell.spec.data), "seed": record["seed"],
             "near": record["metrics"].get("nearer_to_seen", {}).get("value"), **entry}
            for cell, record in runs
            for entry in record["levels"]
        ],
        columns=["term", "model", "data", "images", "seed", "level", *MEASURES],
    )  # fmt: skip
    for column in ("level", *MEASURES):
        frame[column] = pd.to_numeric(frame[column])  # None becomes NaN
    frame["level"] = frame["level"].round(3)
    frame["gap"] = frame.unseen_loss - frame.seen_loss
    total = frame.groupby(["term", "model", "data", "seed"]).unseen_loss.transform(
        lambda v: v.sum(skipna=False)
    )
    frame["share"] = frame.unseen_loss / total
    frame["group"] = [next(g for g, (low, top) in GROUPS.items() if low < at <= top) for at in frame.level]
    return frame


def seed_means(frame: pd.DataFrame, column: str, *, log: bool = False) -> dict[int, float]:
    """Mean of a column, or of its logarithm, over the levels of each seed that has a value."""
    values = frame[["seed", column]].dropna()
    if log:
        values = values[values[column] > 0].assign(**{column: lambda part: np.log(part[column])})
    return {int(seed): float(mean) for seed, mean in values.groupby("seed")[column].mean().items()}


def exponential(estimate: Estimate | None) -> Estimate | None:
    """An estimate of a logarithm as one of the value: a geometric mean, its interval above 0."""
    if estimate is None:
        return None
    value, low, high = (float(np.exp(v)) for v in (estimate.value, estimate.low, estimate.high))
    return dataclasses.replace(estimate, value=value, low=low, high=high)


def facts_of(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of estimates for a sidecar; those that there are none of are left out."""
    return [plain({key: value for key, value in entry.items() if value is not None}) for entry in entries]


def mean_text(estimate: Estimate | None, digits: int = 2) -> str:
    """A mean as ``1.23 ± 0.04``; nothing where there is none."""
    return "" if estimate is None else tables.with_interval(estimate, digits)


def change_text(change: Estimate | None, *, seeds: int | None = None) -> str:
    """A log ratio as ``+1.25% [+0.20%, +2.31%]``; ``seeds`` as in ``with_interval``."""
    if change is None:
        return ""
    value, low, high = percent(change)
    if change.n == 1:
        return f"{value:+.2f}% (one seed)"
    return f"{value:+.2f}% [{low:+.2f}%, {high:+.2f}%]{tables.own_count(change, seeds)}"


def points_text(estimate: Estimate | None, *, seeds: int | None = None) -> str:
    """A difference of shares in points: ``+1.2 [-0.5, +2.9]``; ``seeds`` as in ``with_interval``."""
    if estimate is None:
        return ""
    value, low, high = (100 * v for v in (estimate.value, estimate.low, estimate.high))
    if estimate.n == 1:
        return f"{value:+.1f} (one seed)"
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]{tables.own_count(estimate, seeds)}"
