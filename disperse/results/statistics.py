"""From a table of evaluations to numbers: means over seeds, paired changes, verdicts on claims.

Rows of one training seed share initial weights, order of images, noise and dropped labels. So two settings
are compared within a seed, ``log(own/base)``, and Student's t over seeds gives the interval.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from ..errors import ConfigError, unknown
from ..evaluation import mean_over_seeds

LEVEL = 0.05
# Where a measure ends, and its interval with it; measures of another space or split by their first part.
RANGES = {
    **dict.fromkeys(("precision", "recall", "agreement", "guided_agreement", "clipped"), (0.0, 1.0)),
    **dict.fromkeys(("nearer_to_seen", "off_diagonal_weight", "share"), (0.0, 1.0)),
    **dict.fromkeys(("mean_cosine", "gradient_cosine"), (-1.0, 1.0)),
    **dict.fromkeys(("fd", "rms", "spread", "update_ratio", "gradient_ratio"), (0.0, math.inf)),
    "effective_rank": (1.0, math.inf),
}


def interval(values: Iterable[float], level: float = LEVEL) -> tuple[float, float, float, int]:
    """Mean, bounds of the two-sided interval at 1 − ``level`` by Student's t, and n.

    One value has no interval (NaN); no values have no mean.
    """
    there = [float(value) for value in values if not math.isnan(value)]
    if not there:
        return math.nan, math.nan, math.nan, 0
    mean = mean_over_seeds(there, level=1 - level)
    return mean.value, mean.low, mean.high, mean.n


def means(table: pd.DataFrame, y: str, by: str | Sequence[str] = ()) -> pd.DataFrame:
    """Mean of a measure over the rows of each group, with its 95% interval.

    Args:
        table: a row per evaluation; those of a group differ in their training seed alone.
        y: column of the measure; intervals of shares, cosines and lengths end where their range does.
        by: columns that make the groups, in their order of appearance.

    Returns:
        Columns ``by``, ``value``, ``low``, ``high``, ``n``.

    Raises:
        ConfigError: a column is missing, or a seed stands twice in a group.
    """
    keys = _columns(table, y, by)
    _check_unique(table, (*keys, "seed"), "the table")
    lowest, highest = RANGES.get(y, RANGES.get(y.partition("_")[0], (-math.inf, math.inf)))
    rows = []
    for group, part in _groups(table, keys):
        value, low, high, n = interval(part[y])
        rows.append([*group, value, *np.clip((low, high), lowest, highest), n])
    return pd.DataFrame(rows, columns=[*keys, "value", "low", "high", "n"])


def pairs(
    own: pd.DataFrame,
    base: pd.DataFrame,
    y: str,
    by: str | Sequence[str] = (),
    match: Sequence[str] = ("seed",),
    *,
    log: bool = True,
) -> pd.DataFrame:
    """``log(own/base)`` of each row of ``own`` whose partner is there; with ``log=False`` the difference.

    Args:
        own, base: rows to compare, of one table or of two.
        y: column of the measure.
        by: columns of ``own`` that tell the comparisons apart.
        match: columns in which partners agree; ``"seed"`` is one of them.

    Returns:
        Columns ``by``, ``match``, ``value``; a row per pair.

    Raises:
        ConfigError: a column is missing, several rows share a key, or a value has no logarithm.
    """
    keys, shared = _columns(own, y, by), list(match)
    _columns(base, y, shared)
    if "seed" not in shared:
        raise ConfigError(f"match = {tuple(match)}: expected 'seed' among them; pairs share a training seed")
    extra = [key for key in keys if key not in shared]
    _check_unique(own, (*extra, *shared), "own")
    _check_unique(base, shared, "base")
    both = own[[*extra, *shared, y]].merge(base[[*shared, y]], on=shared, suffixes=("", "_base"))
    mine, theirs = both[y].to_numpy(float), both[f"{y}_base"].to_numpy(float)
    if log and not ((mine > 0) & (theirs > 0)).all():
        raise ConfigError(f"{y}: a log ratio needs values above 0, got {min(mine.min(), theirs.min()):g}")
    value = np.log(mine / theirs) if log else mine - theirs
    return both[[*extra, *shared]].assign(value=value)


def changes(
    own: pd.DataFrame,
    base: pd.DataFrame,
    y: str,
    by: str | Sequence[str] = (),
    match: Sequence[str] = ("seed",),
    *,
    log: bool = True,
) -> pd.DataFrame:
    """Paired change of each group of ``own``: mean over seeds of ``log(own/base)`` and its 95% interval.

    Arguments and errors as of ``pairs``. A group without any partner has n = 0 and no value.

    Returns:
        Columns ``by``, ``value``, ``low``, ``high``, ``n``. ``exp(value) − 1`` is the relative change.
    """
    keys = _columns(own, y, by)
    found = dict(_groups(pairs(own, base, y, by, match, log=log), keys))
    rows = [
        [*group, *interval(found[group]["value"] if group in found else ())]
        for group, _ in _groups(own, keys)
    ]
    return pd.DataFrame(rows, columns=[*keys, "value", "low", "high", "n"])


def in_percent(found: pd.DataFrame) -> pd.DataFrame:
    """Changes as a table for people: log ratios as ``+20% [9, 33]``, and whether zero is left out.

    Args:
        found: of ``changes``.
    """
    rows = []
    for row in found.to_dict("records"):
        keys = {key: value for key, value in row.items() if key not in ("value", "low", "high", "n")}
        clear = "worse" if row["low"] > 0 else "better" if row["high"] < 0 else "open"
        rows.append({**keys, "change": percent_text(row["value"], row["low"], row["high"]),
                     "n": row["n"], "alone": clear if row["n"] > 1 else ""})  # fmt: skip
    return pd.DataFrame(rows)


def percent_text(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """A log ratio with its interval as text: ``+20% [9, 33]``; empty where there is no value."""
    if math.isnan(value):
        return "not trained"
    numbers = [100 * math.expm1(each) for each in (value, low, high)]
    digits = 0 if abs(numbers[0]) >= 1.95 else 1
    text = f"{numbers[0]:+.{digits}f}%"
    if not math.isnan(low):
        text += f" [{numbers[1]:.{digits}f}, {numbers[2]:.{digits}f}]"
    return text.replace("-", "−")


def pooled(found: pd.DataFrame, level: float = LEVEL) -> tuple[float, float, float, int]:
    """One estimate for many comparisons: their mean within a seed, then Student's t over seeds.

    Only seeds that have every comparison count, so that no seed weighs one comparison more than another.

    Args:
        found: of ``pairs``; or several of them, one below the other.
        level: of the two-sided interval.

    Returns:
        Mean, low, high, number of seeds.
    """
    by_seed = found.groupby("seed")["value"].agg(["mean", "size"])
    whole = by_seed[by_seed["size"] == by_seed["size"].max()] if len(by_seed) else by_seed
    return interval(whole["mean"], level)


def slopes(found: pd.DataFrame, x: str, name: str) -> pd.DataFrame:
    """Slope of ``value`` over ``log x`` fitted within each seed that has every x; below zero, it falls.

    Args:
        found: of ``pairs``.
        x: column of a positive quantity.
        name: of the comparison.

    Returns:
        Columns ``comparison``, ``seed``, ``value``.
    """
    every = set(found[x])
    rows = [
        (name, seed, float(np.polyfit(np.log(part[x].astype(float)), part["value"], 1)[0]))
        for seed, part in found.groupby("seed")
        if set(part[x]) == every and len(every) > 1
    ]
    return pd.DataFrame(rows, columns=["comparison", "seed", "value"])


@dataclass(frozen=True)
class Claim:
    """A claim as comparisons whose mean it says is below zero, in all of them.

    Attributes:
        number: of the claim.
        parts: name of a comparison → values, one per training seed.
    """

    number: int
    parts: dict[str, tuple[float, ...]]

    @classmethod
    def of(cls, number: int, *found: pd.DataFrame, expected: Iterable[str] = ()) -> "Claim":
        """A claim from ``pairs`` and ``slopes``; a claim that something is *above* zero takes ``−value``.

        Args:
            number: of the claim.
            found: tables whose columns but ``seed`` and ``value`` name the comparison.
            expected: names of comparisons that belong to it, also where no run is there yet.
        """
        parts: dict[str, list[float]] = {name: [] for name in expected}
        for table in found:
            names = [column for column in table.columns if column not in ("seed", "value")]
            for row in table.to_dict("records"):
                parts.setdefault(", ".join(str(row[n]) for n in names), []).append(float(row["value"]))
        return cls(number, {name: tuple(values) for name, values in parts.items()})


def judge(claims: Sequence[Claim], *, of: int = 0, level: float = LEVEL) -> pd.DataFrame:
    """What the seeds say of claims that are conjunctions, by two-sided t-tests, with Holm over all of them.

    *Agrees*: every comparison lies below zero; p is the largest of theirs (a conjunction needs none).
    *Disagrees*: some comparison lies above; p is the smallest times their number (Bonferroni). *Open*:
    anything else, and a comparison of fewer than two seeds.

    Args:
        claims: that are judged together.
        of: how many claims Holm's correction counts; those that aren't here have p = 1.
        level: of the verdicts.

    Returns:
        A row per claim: ``claim, verdict, p, comparisons, below, above, seeds``; ``below``, ``above`` count
        comparisons whose own 95% interval leaves out zero; ``seeds`` the fewest seeds of a comparison.
    """
    rows = [_judge_alone(claim) for claim in claims]
    adjusted = holm([row["p"] for row in rows] + [1.0] * max(of - len(rows), 0))
    for row, p in zip(rows, adjusted, strict=False):
        row |= {"p": p, "verdict": row["verdict"] if p < level else "open"}
    columns = ["claim", "verdict", "p", "comparisons", "below", "above", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of m times m − k + 1, kept increasing, at most 1."""
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def p_of(values: Sequence[float]) -> float:
    """Two-sided p of a mean of zero, by Student's t; 1 with fewer than two values."""
    array = np.asarray(values, dtype=float)
    if len(array) < 2:
        return 1.0
    error = array.std(ddof=1) / math.sqrt(len(array))
    if error == 0:
        return 1.0 if array[0] == 0 else 0.0
    return float(2 * stats.t.sf(abs(array.mean()) / error, len(array) - 1))


def _judge_alone(claim: Claim) -> dict[str, Any]:
    """The likelier verdict and its p before Holm's correction."""

    def one_way(values: tuple[float, ...], sign: int) -> float:
        return p_of(values) if values and sign * float(np.mean(values)) > 0 else 1.0

    every = list(claim.parts.values())
    agrees = max((one_way(values, -1) for values in every), default=1.0)
    disagrees = min(1.0, len(every) * min((one_way(values, +1) for values in every), default=1.0))
    bounds = [interval(values) for values in every]
    return {
        "claim": claim.number,
        "verdict": "agrees" if agrees < disagrees else "disagrees",
        "p": min(agrees, disagrees),
        "comparisons": len(every),
        "below": sum(high < 0 for _, _, high, _ in bounds),
        "above": sum(low > 0 for _, low, _, _ in bounds),
        "seeds": min((n for *_, n in bounds), default=0),
    }


def _columns(table: pd.DataFrame, y: str, by: str | Sequence[str]) -> list[str]:
    """The columns of ``by`` as a list, checked with ``y``."""
    keys = [by] if isinstance(by, str) else list(by)
    for name in (y, *keys):
        if name not in table.columns:
            raise unknown("column", name, table.columns)
    return keys


def _groups(table: pd.DataFrame, keys: list[str]) -> list[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Key → rows, in the order in which keys appear; a missing value is None in the key."""
    if not keys:
        return [((), table)]
    groups = table.groupby(keys, sort=False, dropna=False)
    return [(tuple(None if _missing(v) else v for v in key), part) for key, part in groups]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _check_unique(table: pd.DataFrame, keys: Sequence[str], where: str) -> None:
    """Refuse rows that share a key: which of them is meant can't be known."""
    twice = table[table.duplicated(list(keys), keep=False)]
    if twice.empty:
        return
    key = {name: twice[name].iloc[0] for name in keys}
    same = twice[[all(row[name] == key[name] for name in keys) for row in twice.to_dict("records")]]
    differ = [name for name in same.columns if same[name].map(repr).nunique() > 1]
    named = ", ".join(f"{name} = {key[name]}" for name in keys)
    raise ConfigError(
        f"{where}: {len(same)} rows share {named}, and differ in {', '.join(differ[:6]) or 'nothing'}; "
        "filter the rows, or name the column in by or match"
    )
