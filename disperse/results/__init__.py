"""Results as one table, and what it says: means over seeds, paired changes, verdicts on claims."""

from .frame import blocks, frame, levels, table, where
from .statistics import (
    Claim,
    changes,
    holm,
    in_percent,
    interval,
    judge,
    means,
    p_of,
    pairs,
    percent_text,
    pooled,
    slopes,
)

__all__ = [
    "Claim",
    "blocks",
    "changes",
    "frame",
    "holm",
    "in_percent",
    "interval",
    "judge",
    "levels",
    "means",
    "p_of",
    "pairs",
    "percent_text",
    "pooled",
    "slopes",
    "table",
    "where",
]
