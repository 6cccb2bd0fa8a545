"""Means, paired changes and verdicts on planted numbers."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from disperse.errors import ConfigError
from disperse.results import Claim, changes, holm, judge, means, p_of, pairs, pooled, slopes, where

LEVELS = {"a": 0.1, "b": -0.2}


def planted(noise: float = 0.0, seeds: int = 4) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two settings over their baseline, per size; the baseline differs by seed and size."""
    draw = np.random.default_rng(0)
    base = pd.DataFrame([{"seed": s, "size": k, "fd": 1.0 + s + k} for s in range(seeds) for k in (1, 2)])
    own = pd.DataFrame(
        [
            {"seed": row.seed, "size": row.size_, "arm": arm,
             "fd": row.fd * math.exp(level + noise * draw.normal())}
            for row in base.rename(columns={"size": "size_"}).itertuples()
            for arm, level in LEVELS.items()
        ]
    )  # fmt: skip
    return own, base


def test_changes_are_taken_within_a_seed() -> None:
    own, base = planted()
    found = changes(own, base, "fd", ("arm", "size"), match=("seed", "size"))
    assert list(found.columns) == ["arm", "size", "value", "low", "high", "n"]
    for row in found.to_dict("records"):
        assert row["value"] == pytest.approx(LEVELS[row["arm"]], abs=1e-12)
        assert row["high"] - row["low"] == pytest.approx(0, abs=1e-12)
        assert row["n"] == 4


def test_intervals_are_those_of_scipy() -> None:
    own, base = planted(noise=0.3)
    found = pairs(own, base, "fd", ("arm", "size"), match=("seed", "size"))
    for (arm, size), part in found.groupby(["arm", "size"]):
        row = where(changes(own, base, "fd", ("arm", "size"), match=("seed", "size")), arm=arm, size=size)
        expected = stats.ttest_1samp(part.value, 0).confidence_interval(0.95)
        assert (row.low.item(), row.high.item()) == pytest.approx((expected.low, expected.high))
        assert p_of(part.value) == pytest.approx(stats.ttest_1samp(part.value, 0).pvalue)


def test_a_group_without_partners_stays_and_one_pair_has_no_interval() -> None:
    own, base = planted()
    found = changes(where(own, arm="a"), where(base, seed=0, size=1), "fd", "size", ("seed", "size"))
    one, none = found.to_dict("records")
    assert (one["n"], none["n"]) == (1, 0)
    assert one["value"] == pytest.approx(0.1)
    assert all(math.isnan(x) for x in (one["low"], one["high"], none["value"]))


def test_missing_values_are_a_group_of_their_own() -> None:
    own, base = planted()
    own = own.assign(arm=own.arm.where(own.arm != "b"))
    found = changes(own, base, "fd", ("arm", "size"), match=("seed", "size"))
    assert list(found.n) == [4, 4, 4, 4]
    assert sorted(found.value.round(9)) == [-0.2, -0.2, 0.1, 0.1]


def test_rows_that_share_a_key_are_refused_with_what_they_differ_in() -> None:
    own, base = planted()
    with pytest.raises(ConfigError, match=r"own: 4 rows share seed = 0, and differ in size, arm"):
        changes(own, base, "fd")
    with pytest.raises(ConfigError, match=r"base: 2 rows share seed = 0, and differ in size"):
        changes(where(own, arm="a", size=1), base, "fd")
    with pytest.raises(ConfigError, match=r"the table: 2 rows share size = 1, seed = 0, and differ in arm"):
        means(own, "fd", "size")


def test_unknown_columns_and_values_without_logarithm_are_refused() -> None:
    own, base = planted()
    with pytest.raises(ConfigError, match="column"):
        means(own, "fid", "arm")
    with pytest.raises(ConfigError, match="column"):
        where(own, arms="a")
    with pytest.raises(ConfigError, match="expected 'seed'"):
        pairs(own, base, "fd", "arm", match=("size",))
    with pytest.raises(ConfigError, match="values above 0"):
        pairs(own.assign(fd=-1.0), base, "fd", "arm", match=("seed", "size"))
    difference = pairs(own.assign(fd=-1.0), base, "fd", "arm", match=("seed", "size"), log=False)
    assert (difference.value < 0).all()


def test_means_end_where_their_measure_does() -> None:
    rows = pd.DataFrame({"seed": [0, 1], "recall_selfsup": [0.5, 1.0], "fd": [0.1, 5.0], "x": [-9.0, 9.0]})
    (recall,), (fd,), (x,) = (means(rows, y).to_dict("records") for y in ("recall_selfsup", "fd", "x"))
    assert (recall["low"], recall["high"]) == (0.0, 1.0)
    assert (fd["low"], fd["high"] > 5) == (0.0, True)
    assert x["low"] < -9


def test_a_pooled_estimate_is_the_mean_of_its_comparisons_within_a_seed() -> None:
    own, base = planted(noise=0.3, seeds=6)
    found = pairs(own, base, "fd", ("arm", "size"), match=("seed", "size"))
    by_seed = found.groupby("seed").value.mean()
    value, low, high, n = pooled(found)
    expected = stats.ttest_1samp(by_seed, 0).confidence_interval(0.95)
    assert (value, n) == (pytest.approx(by_seed.mean()), 6)
    assert (low, high) == pytest.approx((expected.low, expected.high))
    partly = found.drop(found[(found["seed"] == 5) & (found.arm == "a")].index)
    assert pooled(partly)[3] == 5  # seed 5 lacks comparisons


def test_slopes_are_fitted_within_seeds_that_have_every_size() -> None:
    rows = [(s, x, s + 0.5 * math.log(x)) for s in range(3) for x in (10, 100, 1000) if (s, x) != (2, 10)]
    found = slopes(pd.DataFrame(rows, columns=["seed", "x", "value"]), "x", "growth")
    assert list(found.seed) == [0, 1]
    assert found.value.to_list() == pytest.approx([0.5, 0.5])


def test_holm_steps_down() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == [1.0, 1.0]


LOW, HIGH, WIDE = (-1.0, -1.01, -0.99), (1.0, 1.01, 0.99), (-1.0, 1.0, 0.1)


@pytest.mark.parametrize(
    ("parts", "verdict"),
    [
        ({"x": LOW, "y": LOW}, "agrees"),
        ({"x": LOW, "y": WIDE}, "open"),
        ({"x": LOW, "y": HIGH}, "disagrees"),
        ({"x": LOW, "y": ()}, "open"),
        ({"x": (-1.0,)}, "open"),
    ],
)
def test_a_claim_is_a_conjunction(parts: dict[str, tuple[float, ...]], verdict: str) -> None:
    (row,) = judge([Claim(1, parts)]).to_dict("records")
    assert row["verdict"] == verdict


def test_more_claims_need_more() -> None:
    parts = {"x": (-1.0, -0.8, -1.3)}
    p = p_of(parts["x"])
    assert 0.01 < p < 0.025
    assert list(judge([Claim(1, parts)]).verdict) == ["agrees"]
    (row,) = judge([Claim(1, parts)], of=11).to_dict("records")
    assert (row["verdict"], row["p"]) == ("open", pytest.approx(min(1.0, 11 * p)))
