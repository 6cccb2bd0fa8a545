"""Verdicts on claims: by hand, by an independent Holm, and at their stated rate."""

import math

import numpy as np
import pytest
from scipy import stats

from disperse.experiments.claims import Claim, Part, difference, judge, slope

VALUES = {"a": {0: 1.0, 1: 2.0, 2: 4.0}, "b": {0: 2.0, 1: 4.2, 2: 7.8, 3: 1.0}, "c": {5: 1.0}}


def claim(*parts: list[float]) -> Claim:
    return Claim(1, tuple(Part("x", dict(enumerate(values))) for values in parts))


def test_a_difference_pairs_the_seeds_that_both_have() -> None:
    part = difference(VALUES, "a", "b")
    assert dict(part.values) == pytest.approx(
        {0: math.log(1 / 2), 1: math.log(2 / 4.2), 2: math.log(4 / 7.8)}
    )
    assert part.p == pytest.approx(stats.ttest_rel(np.log([1, 2, 4]), np.log([2, 4.2, 7.8])).pvalue)
    assert part.estimate.n == 3
    assert difference(VALUES, "a", "c").values == {}
    assert difference(VALUES, "a", "no such run").p == 1


def test_a_conjunction_agrees_only_if_every_part_does() -> None:
    down, up, unsure = [-1.0, -1.1, -0.9], [0.5, 0.51, 0.52], [-1.0, 1.0, -0.5]
    assert [judge([claim(*parts)])[0].verdict for parts in ([down], [down, down], [down, unsure], [down, up],
                                                            [unsure, up], [up], [unsure])] == [
        "agrees", "agrees", "can't tell", "disagrees", "disagrees", "disagrees", "can't tell"]  # fmt: skip
    (both,) = judge([claim(down, [-1.0, -1.3, -0.7])])
    assert both.p == pytest.approx(max(part.p for part in both.claim.parts))
    (against,) = judge([claim(down, up)])
    assert against.p == pytest.approx(2 * against.claim.parts[1].p)


def test_one_seed_or_none_can_not_tell() -> None:
    for parts in ([[-9.0]], [[]], [[-1.0, -1.1, -0.9], [-9.0]], [[-1.0, -1.1, -0.9], []], []):
        (judgement,) = judge([claim(*parts)])
        assert (judgement.verdict, judgement.p) == ("can't tell", 1.0)
        assert judgement.deciding is None


def test_what_is_missing_is_told_and_seeds_are_counted() -> None:
    down, up = [-1.0, -1.1, -0.9], [0.5, 0.51, 0.52]
    cases = ([down, [-1.0]], [down, []], [[], []], [], [up, []], [down, down])
    judged = [judge([claim(*parts)])[0] for parts in cases]
    assert [judgement.said for judgement in judged] == [
        "can't tell", "not all trained yet", "not trained yet", "not trained yet", "disagrees", "agrees",
    ]  # fmt: skip
    assert [judgement.seeds for judgement in judged] == ["1–3", "3", "", "", "3", "3"]


def test_a_verdict_names_the_comparison_that_it_stands_on() -> None:
    sure, less_sure = [-1.0, -1.1, -0.9], [-1.0, -1.3, -0.7]
    (agrees,) = judge([claim(sure, less_sure)])
    assert agrees.deciding is agrees.claim.parts[1]  # the chain is as strong as its weakest link
    (disagrees,) = judge([claim([1.0, 1.3, 0.7], [1.0, 1.1, 0.9], sure)])
    assert disagrees.deciding is disagrees.claim.parts[1]


def test_a_comparison_is_told_against_the_baseline() -> None:
    better = Part("l2 / baseline", {0: -0.1, 1: -0.2, 2: -0.4})
    assert better.told == ("l2 / baseline", better.estimate)
    lower = Part("baseline / l2, block 3", better.values)  # the claim: the baseline's is lower
    label, ratio = lower.told
    assert label == "l2 / baseline, block 3"
    assert (ratio.value, ratio.low, ratio.high) == (
        -lower.estimate.value, -lower.estimate.high, -lower.estimate.low,
    )  # fmt: skip
    assert ratio.n == 3
    for label in ("slope of SiT", "baseline", "all / l2"):
        assert Part(label, better.values).told[0] == label


def test_equal_values_have_no_spread() -> None:
    assert judge([claim([-1.0, -1.0, -1.0])])[0].verdict == "agrees"
    assert judge([claim([0.0, 0.0, 0.0])])[0].verdict == "can't tell"


def test_holm_by_hand() -> None:
    """Of p = .01, .04, .03: times 3, 1 and 2, kept increasing: .03, .06, .06."""

    def with_p(p: float, seeds: int = 4) -> list[float]:
        # mean −1 and the spread that gives this p
        t = stats.t.ppf(1 - p / 2, seeds - 1)
        shape = np.array([-1.5, -0.5, 0.5, 1.5])
        return list(-1 + shape / shape.std(ddof=1) * math.sqrt(seeds) / t)

    judged = judge([claim(with_p(0.01)), claim(with_p(0.04)), claim(with_p(0.03))])
    assert [judgement.p for judgement in judged] == pytest.approx([0.03, 0.06, 0.06])
    assert [judgement.verdict for judgement in judged] == ["agrees", "can't tell", "can't tell"]


def test_without_any_effect_few_notebooks_have_a_verdict() -> None:
    """Family-wise: at most 5% of the notebooks; measured about 4.7% for four claims of one part."""
    draw = np.random.default_rng(0)
    wrong = sum(
        any(j.verdict != "can't tell" for j in judge([claim(list(draw.normal(size=4))) for _ in range(4)]))
        for _ in range(1500)
    )
    assert 0.03 < wrong / 1500 < 0.065


def test_a_slope_over_sizes() -> None:
    sizes = {"s": 1.0, "m": math.e, "l": math.e**2}
    changes = {"s": {0: 0.1, 1: 0.3}, "m": {0: -0.1, 1: 0.2}, "l": {0: -0.3, 1: 0.1, 2: 5.0}}
    part = slope(sizes, changes, "gain over size")
    assert dict(part.values) == pytest.approx({0: -0.2, 1: -0.1})
    assert slope(sizes, {"s": {0: 1.0}}, "x").values == {}
