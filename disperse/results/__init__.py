"""Results as one table, and what it says: means over seeds, paired changes, verdicts on claims."""

from .frame import blocks, frame, levels, table, where
from .statistics import Claim, changes, holm, interval, judge, means, p_of, pairs, pooled, slopes

__all__ = [
    "Claim",
    "blocks",
    "changes",
    "frame",
    "holm",
    "interval",
    "judge",
    "levels",
    "means",
    "p_of",
    "pairs",
    "pooled",
    "slopes",
    "table",
    "where",
]
