"""The paper's claims as statements about paired differences, and what our seeds say of each.

A claim is a conjunction of parts. A part holds one number per training seed, whose mean the claim says is
below zero: mostly ``log(FD_a/FD_b)`` of two runs that share initial weights, order of data and noise.

*Agrees*: every part is below zero, each by a two-sided t-test; the p of the claim is the largest (a
conjunction needs no correction). *Disagrees*: some part is above zero; p is the smallest times the number
of parts (Bonferroni). The claims of one notebook are then corrected together by Holm's method, at 5%.
Anything else is *can't tell*, and so is every part of a single seed.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..evaluation import Estimate, mean_over_seeds
from ..results import holm, p_of

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
    def told(self) -> tuple[str, Estimate]:
        """Label and log ratio as people read them: against the baseline, whichever is claimed to be lower."""
        names, comma, place = self.label.partition(", ")
        over, slash, under = names.partition(" / ")
        mean = self.estimate
        if over != "baseline" or not slash:
            return self.label, mean
        turned = dataclasses.replace(mean, value=-mean.value, low=-mean.high, high=-mean.low)
        return f"{under} / {over}{comma}{place}", turned

    @property
    def p(self) -> float:
        """Two-sided p of a mean of zero, by Student's t; 1 with fewer than two seeds."""
        return p_of(list(self.values.values()))


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
    """What our runs say of a claim.

    Attributes:
        claim: that is judged.
        verdict: ``"agrees"``, ``"disagrees"`` or ``"can't tell"``.
        p: of the verdict, after both corrections.
        deciding: the comparison that the verdict stands on: of a claim that agrees the least sure one, of one
            that disagrees the surest that is the other way. None where nothing is decided.
    """

    claim: Claim
    verdict: str
    p: float
    deciding: Part | None

    @property
    def counts(self) -> list[int]:
        """Seeds of each comparison."""
        return [len(part.values) for part in self.claim.parts]

    @property
    def said(self) -> str:
        """The verdict; where nothing can be told, also whether runs are missing."""
        return said(self.verdict, self.counts)

    @property
    def seeds(self) -> str:
        """Fewest and most seeds of the comparisons that have any: ``"3"``, ``"1–6"``, or empty."""
        there = sorted({count for count in self.counts if count})
        return "–".join(str(count) for count in dict.fromkeys((there[0], there[-1]))) if there else ""


def said(verdict: str, counts: list[int]) -> str:
    """A verdict by the seeds of each comparison: where nothing can be told, also whether runs are missing."""
    if verdict != "can't tell" or (counts and min(counts)):
        return verdict
    return "not all trained yet" if any(counts) else "not trained yet"


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


def per_doubling(part: Part) -> Part:
    """A slope over the logarithm of a size as the log ratio that each doubling of it brings."""
    return Part(part.label, {seed: float(np.log(2)) * value for seed, value in part.values.items()})


def judge(claims: list[Claim]) -> list[Judgement]:
    """Verdicts on the claims of one notebook; a claim agrees only where every part of it has seeds."""
    raw = [_judge_alone(claim) for claim in claims]
    adjusted = holm([p for _, p, _ in raw])
    return [
        Judgement(claim, verdict, p, part) if p < LEVEL else Judgement(claim, "can't tell", p, None)
        for claim, (verdict, _, part), p in zip(claims, raw, adjusted, strict=True)
    ]


def _judge_alone(claim: Claim) -> tuple[str, float, Part | None]:
    """The likelier verdict, its p before Holm's correction, and the comparison that this is of."""
    agrees = max(((_one_way(part, -1), part) for part in claim.parts), key=_first, default=(1.0, None))
    against = min(((_one_way(part, +1), part) for part in claim.parts), key=_first, default=(1.0, None))
    disagrees = min(1.0, against[0] * max(len(claim.parts), 1))
    if agrees[0] < disagrees:
        return "agrees", agrees[0], agrees[1]
    return "disagrees", disagrees, against[1]


def _first(pair: tuple[float, Part | None]) -> float:
    return pair[0]


def _one_way(part: Part, sign: int) -> float:
    """p of the part where its mean has this sign, else 1."""
    return part.p if part.values and sign * part.estimate.value > 0 else 1.0
