"""Evaluations against training images, made up by hand."""

from typing import Any

from disperse.experiments import Cell, Profile
from disperse.experiments.looks import against_training
from disperse.store import Record, seal

from ..experiments.cases import record


def looked(cell: Cell, row: Profile, *, near: float | None = 0.5, **measures: Any) -> Record:
    """A run's end under the look "against_training".

    Args:
        cell: the run.
        row: the profile.
        near: share of samples nearer to a training image; None: not measured.
        measures: of every level, or a function of the level; losses are 1 on seen, 1.1 on unseen images if there
            are any.
    """
    (protocol,) = against_training(row, cell.spec.objective.kind)
    made = record(cell.spec, cell.spec.num_steps, protocol)
    if near is not None:
        made["metrics"]["nearer_to_seen"] = {"value": near, "low": near - 0.1, "high": near + 0.1, "n": 30}
    unseen = 1.1 if protocol.split == protocol.reference else None
    usual = {"block": 0, "seen_loss": 1.0, "unseen_loss": unseen, "rms": 1.0, "spread": 1.0,
             "effective_rank": 10.0, "mean_cosine": 0.5, "gradient_ratio": 0.1, "gradient_cosine": 0.0}  # fmt: skip
    made["levels"] = [
        {"level": level, **usual, **{k: v(level) if callable(v) else v for k, v in measures.items()}}
        for level in ((number + 0.5) / 10 for number in range(10))
    ]
    return seal(made)
