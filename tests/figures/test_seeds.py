"""Numbers by seed and what is paired; numbers of seeds in words, and at the ticks of an axis."""

import math

import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from disperse.figures.seeds import (
    by_seed,
    count_of_seeds,
    mean_or_none,
    name_counts,
    pair_counts,
    paired_difference,
    paired_ratio,
    seeds_shown,
    with_count,
)
from disperse.figures.theme import log_axis


def test_values_are_kept_by_seed_and_paired() -> None:
    frame = pd.DataFrame(
        {"label": ["b", "b", "a"], "step": [2, 2, 1], "seed": [1, 0, 1], "fd": [4.0, 2.0, 3.0]}
    )
    found = by_seed(frame, ["label", "step"], "fd")
    assert list(found.items()) == [(("b", 2), {1: 4.0, 0: 2.0}), (("a", 1), {1: 3.0})]
    assert all(type(step) is int for _, step in found)  # so that a sidecar can hold it
    own, other = found["b", 2], found["a", 1]
    assert paired_difference(own, other).value == 1
    assert paired_ratio(own, other).value == pytest.approx(math.log(4 / 3))
    assert {paired_difference(own, {}), paired_ratio({}, other), mean_or_none("fd", [])} == {None}


@pytest.mark.parametrize(("counts", "text"), [({1}, "1 seed"), ({3}, "3 seeds"), ({1, 2, 6}, "1 to 6 seeds")])
def test_seeds_are_counted_in_english(counts: set[int], text: str) -> None:
    assert count_of_seeds(counts) == text


@pytest.mark.parametrize(
    ("base", "own", "paired", "text"),
    [(3, 3, 3, "3"), (3, 2, 2, "3 and 2, paired 2"), (3, 3, 2, "3 and 3, paired 2"), (2, 0, 0, "2"), (0, 1, 0, "1")],
)  # fmt: skip
def test_seeds_of_a_pair(base: int, own: int, paired: int, text: str) -> None:
    assert pair_counts(base, own, paired) == text


@pytest.mark.parametrize(
    ("counts", "text"),
    [((), "none yet"), ((1, 1), "one seed, no interval"), ((3, 1), "95% where n > 1; hollow: one seed"),
     ((3, 6), "95% over 3 to 6 seeds"), ((3, 3), "95% over 3 seeds")],
)  # fmt: skip
def test_what_marks_over_so_many_seeds_show(counts: tuple[int, ...], text: str) -> None:
    assert seeds_shown(counts) == text


def test_a_legend_counts_where_numbers_differ() -> None:
    assert [with_count("SiT", 3, among) for among in ((), (3, 3), (3, 1))] == ["SiT", "SiT", "SiT, n = 3"]


def labels(ax: Axes) -> list[str]:
    return [label.get_text() for label in ax.get_xticklabels()]


NAMES = {1.0: "one", 2.0: "two\nlines", 4.0: "four"}


def test_ticks_count_seeds_where_numbers_differ() -> None:
    ax = Figure().subplots()
    ax.set_xlabel("x")
    name_counts(ax, NAMES, [(1, "a", 3), (2, "a", 3), (4, "b", 3)])
    assert (labels(ax), ax.get_xlabel()) == (list(NAMES.values()), "x")
    name_counts(ax, NAMES, [(1, "a", 3), (2, "a", 3)], among=[1])  # of another panel
    assert labels(ax) == ["one\n\nn = 3", "two\nlines\nn = 3", "four"]
    name_counts(ax, NAMES, [(1, "a", 3)], always=True)
    assert labels(ax)[0] == "one\n\nn = 3"
    name_counts(ax, NAMES, [(1, "a", 3), (4, "a", 1)], short=True)
    assert labels(ax) == ["one\n\n3", "two\nlines", "four\n\n1"]
    assert ax.get_xlabel() == "x\n(under the ticks: number of seeds)"
    assert not ax.texts


def test_several_series_at_a_tick_have_their_order_in_the_label() -> None:
    ax = Figure().subplots()
    name_counts(
        ax,
        NAMES,
        [
            (1, "SiT", 6),
            (1, "DiT", 3),
            (2, "SiT", 3),
            (2, "DiT", 3),
            (4, "DiT", 1),
            (4, "SiT", 2),
            (4, "DiT", 3),
        ],
    )
    assert labels(ax) == ["one\n\nn = 6, 3", "two\nlines\nn = 3", "four\n\nn = 2, 1–3"]
    assert ax.get_xlabel() == "(n of SiT and DiT)"


def test_many_series_are_counted_in_the_order_of_the_legend() -> None:
    ax = Figure().subplots()
    name_counts(ax, {1: "one"}, [(1, name, n) for n, name in enumerate(("Pico", "Nano", "Mini"), start=1)])
    assert labels(ax) == ["one\nn = 1, 2, 3"]
    assert ax.get_xlabel() == "(n in the order of the legend)"


def test_names_of_rows_have_theirs_below_them() -> None:
    ax = Figure().subplots()
    name_counts(ax, {0.0: "a", 1.0: "b\nc", 2.0: ""}, [(0, "", 1), (1, "", 2), (2, "", 3)], across=True)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a\nn = 1", "b\nc\nn = 2", "n = 3"]


def test_a_logarithmic_axis_keeps_its_scale() -> None:
    ax = Figure().subplots()
    ax.plot([1, 4], [1, 1])
    log_axis(ax.xaxis, [1, 2, 4])
    name_counts(ax, NAMES, [(1, "a", 3), (2, "a", 1)])
    assert (ax.get_xscale(), list(ax.get_xticks()), len(ax.get_xticks(minor=True))) == ("log", [1, 2, 4], 0)
