"""The paper's claims as statements about paired differences, and what our seeds say of each.

A claim is a conjunction of parts. A part holds one number per training seed, whose mean the claim says is
below zero: mostly ``log(FD_a/FD_b)`` of two runs that share initial weights, order of data and noise.

*Agrees*: every part is below zero, each by a two-sided t-test; the p of the claim is the largest (a
conjunction needs no correction). *Disagrees*: some part is above zero; p is the smallest times the number
of parts (Bonferroni). The claims of one notebook are then corrected together by Holm's method, at 5%.
Anything else is *can't tell*, and so is every part of a single seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats

from ..evaluation import Estimate, mean_over_seeds

LEVEL = 0.05
Values = Mapping[str, Mapping[int, float]]  # label → seed → value


@dataclass(frozen=True)
class Part:
    """One comparison: what is compared, and seed → a number that should be below zero."""

    label: str
    values: Mapping[int, float]

    @property
    def estimate(self) -> Estimate:
        """Mean over seeds with its 95% interval."""
        return mean_over_seeds(list(self.values.values()))

    @property
    def p(self) -> float:
        """Two-sided p of a mean of zero, by Student's t; 1 with fewer than two seeds."""
        values = np.array(list(self.values.values()))
        if len(values) < 2:
            return 1.0
        error = values.std(ddof=1) / np.sqrt(len(values))
        if error == 0:
            return 1.0 if values[0] == 0 else 0.0
        return float(2 * stats.t.sf(abs(values.mean()) / error, len(values) - 1))


@dataclass(frozen=True)
class Claim:
    """A claim of the paper.

    Attributes:
        number: in ``paper.CLAIMS``.
        parts: that must all be below zero.
    """

    number: int
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Judgement:
    """What our runs say of a claim: the verdict, its p after Holm's correction, and the smallest n."""

    claim: Claim
    verdict: str
    p: float
    n: int


def difference(values: Values, better: str, worse: str) -> Part:
    """``log(better/worse)`` of two labels."""
    return paired(values.get(better, {}), values.get(worse, {}), f"{better} / {worse}")


def paired(better: Mapping[int, float], worse: Mapping[int, float], label: str) -> Part:
    """``log(better/worse)`` of the seeds that both have."""
    shared = sorted(better.keys() & worse.keys())
    return Part(label, {s: float(np.log(better[s] / worse[s])) for s in shared})


def slope(sizes: Mapping[str, float], changes: Values, name: str) -> Part:
    """Slope of a change over log size, fitted within each seed that has every size: below zero, it falls."""
    labels = list(sizes)
    shared = set.intersection(*(set(changes.get(label, {})) for label in labels)) if labels else set()
    x = np.log([sizes[label] for label in labels])
    fitted = {s: float(np.polyfit(x, [changes[label][s] for label in labels], 1)[0]) for s in sorted(shared)}
    return Part(name, fitted)


def judge(claims: list[Claim]) -> list[Judgement]:
    """Verdicts on the claims of one notebook; a part without any seed makes its claim "can't tell"."""
    directions, raw = [], []
    for claim in claims:
        agrees = max((_one_way(part, -1) for part in claim.parts), default=1.0)
        against = [_one_way(part, +1) for part in claim.parts]
        disagrees = min([1.0, *(p * len(against) for p in against)])
        directions.append("agrees" if agrees < disagrees else "disagrees")
        raw.append(min(agrees, disagrees))
    adjusted = _holm(raw)
    return [
        Judgement(
            claim,
            direction if p < LEVEL else "can't tell",
            p,
            min((len(part.values) for part in claim.parts), default=0),
        )
        for claim, direction, p in zip(claims, directions, adjusted, strict=True)
    ]


def _one_way(part: Part, sign: int) -> float:
    """p of the part where its mean has this sign, else 1."""
    return part.p if part.values and sign * part.estimate.value > 0 else 1.0


def _holm(p_values: list[float]) -> list[float]:
    """Holm's step-down correction: the k-th smallest of m is multiplied by m − k + 1, kept increasing."""
    adjusted, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
