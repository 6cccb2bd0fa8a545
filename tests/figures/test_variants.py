"""The dispersive column: hollow marks for one seed, numbers of seeds where they differ."""

import pytest
from matplotlib.figure import Figure

from disperse.experiments import item, paper
from disperse.experiments.compare import compare
from disperse.figures import COLORS, variants_figure
from disperse.figures.variants import learning_curves_figure
from disperse.store import Record

from ..experiments.cases import TOY, toy
from ..experiments.test_statements import evaluated
from .test_ablations import diamonds, hollow

__all__ = ["toy"]
pytestmark = pytest.mark.usefixtures("toy")


def drawn(pool: list[Record]) -> Figure:
    cells = item("variants", "toy", (0, 1))
    return variants_figure(compare(pool, cells, TOY), pool, cells, TOY)


def test_one_seed_is_hollow_and_said_to_be() -> None:
    pool = evaluated(item("variants", "toy", (0, 1)), {"hinge": 2.0})
    figure = drawn([r for r in pool if r["name"] != "hinge" or not r["seed"]])
    left, right = figure.axes
    assert list(hollow(left).values()) == [False, False, False, True, False]
    assert list(hollow(right).values()) == [False, False, True, False]
    names = [label.get_text() for label in right.get_xticklabels()]
    assert names == [
        "InfoNCE,\nℓ2\nn = 2",
        "InfoNCE,\ncosine\nn = 2",
        "hinge\n\nn = 1",
        "covariance\n\nn = 2",
    ]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["each seed", "mean, 95% where n > 1; hollow: one seed", "paper (FID, ImageNet)"]
    assert list(diamonds(right).values()) == [100 * paper.variants_change(v) for v in paper.VARIANTS_FID]


def test_equal_numbers_of_seeds_are_said_once() -> None:
    figure = drawn(evaluated(item("variants", "toy", (0, 1)), {}))
    assert not any("n =" in label.get_text() for ax in figure.axes for label in ax.get_xticklabels())
    assert figure.legends[0].get_texts()[1].get_text() == "mean, 95% over 2 seeds"


def test_learning_curves_name_the_seeds_where_they_differ() -> None:
    cells = item("variants", "toy", (0, 1))
    pool = evaluated(cells, {})
    fewer = [r for r in pool if r["name"] != "hinge" or not r["seed"]]
    for found, name in ((pool, "hinge"), (fewer, "hinge, n = 1")):
        ax = learning_curves_figure(found, cells, TOY).axes[0]
        assert [text.get_text() for text in ax.get_legend().get_texts()][3] == name
        (hinge,) = [
            line for line in ax.lines if line.get_color() == COLORS["hinge"] and len(line.get_xdata())
        ]
        assert (hinge.get_markerfacecolor() == "white") == name.endswith("n = 1")
