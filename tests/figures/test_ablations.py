"""Ablations tell their places, the paper's numbers and where they were read, and what is missing."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from disperse.evaluation import mean_over_seeds
from disperse.experiments import item, paper
from disperse.experiments.compare import compare
from disperse.experiments.items import Cell
from disperse.figures import (
    ABLATIONS,
    COLORS,
    blocks_figure,
    draw_ablation,
    lambda_tau_figure,
    read_sidecar,
)
from disperse.figures.ablations import published_blocks, regularised_blocks
from disperse.figures.heat import ink, ratio_map
from disperse.store import Record

from ..experiments.cases import TOY, toy
from ..experiments.test_statements import evaluated

__all__ = ["toy"]
pytestmark = pytest.mark.usefixtures("toy")
SEEDS = (0, 1, 2)


def cells_of(name: str, seeds: tuple[int, ...] = SEEDS) -> list[Cell]:
    return item("pair", "toy", seeds) + item(name, "toy", seeds)


def points(ax: Axes) -> dict[float, float]:
    """x → y of the dots with error bars."""
    return {
        float(x): float(y)
        for container in ax.containers
        for x, y in zip(container[0].get_xdata(), container[0].get_ydata(), strict=True)
    }


def diamonds(ax: Axes) -> dict[float, float]:
    """x → y of the paper's numbers, which are hollow and in front."""
    drawn = [dots for dots in ax.collections if dots.get_gid() == "paper"]
    assert not any(len(dots.get_facecolor()) for dots in drawn)
    marks = [line.get_zorder() for container in ax.containers for line in container[0:1]]
    assert all(dots.get_zorder() > max(marks, default=0) for dots in drawn)
    return {float(x): float(y) for dots in drawn for x, y in dots.get_offsets()}


def hollow(ax: Axes) -> dict[float, bool]:
    """x of each mark → whether it is hollow; such a mark has no interval, and another has one."""
    found = {}
    for container in ax.containers:
        (line,) = container[0:1]
        found[float(line.get_xdata()[0])] = line.get_markerfacecolor() == "white"
        assert found[float(line.get_xdata()[0])] == (not container.has_yerr)
    return found


def test_blocks_stand_at_their_share_of_the_depth() -> None:
    cells = cells_of("blocks")
    fd = {"infonce-l2": 1.2, "l2-block1": 1.1, "l2-block3": 0.9, "l2-all": 0.8}
    (ax,) = blocks_figure(compare(evaluated(cells, fd), cells, TOY), cells).axes
    expected = {0.25: 20, 0.5: 10, 0.75: 0, 1.0: -10, 1.2: -20}
    found = points(ax)
    assert found.keys() == expected.keys()
    assert all(found[x] == pytest.approx(y, abs=0.1) for x, y in expected.items())
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "0\n0.25", "1\n0.5", "2\n0.75", "3\n1", "all",
    ]  # fmt: skip


def test_a_bar_spans_both_ways_to_count_the_papers_blocks() -> None:
    cells = cells_of("blocks")
    (ax,) = blocks_figure(compare(evaluated(cells, {}), cells, TOY), cells).axes
    bars = sorted(
        tuple(float(x) for x in segment[:, 0])
        for drawn in ax.collections
        if isinstance(drawn, LineCollection)
        for segment in drawn.get_segments()
        if segment[0, 1] == segment[1, 1]  # intervals stand upright
    )
    assert bars == [pytest.approx((k / 12, (k + 1) / 12)) for k in (0, 3, 6, 11)]
    assert len(diamonds(ax)) == 5
    assert diamonds(ax)[1.2] == pytest.approx(100 * (32.05 / 36.49 - 1))  # where "all" stands
    ours, papers, bar = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert ours.startswith("ours, 95% over 3 seeds")
    assert "secondary source" in papers
    assert "count from 0 or 1" in bar


def test_the_papers_default_is_printed_and_its_other_blocks_are_not() -> None:
    """Its change at a quarter of the depth is the headline of the table of variants."""
    cells = cells_of("blocks")
    (ax,) = blocks_figure(compare(evaluated(cells, {}), cells, TOY), cells).axes
    marks = {round(text.xy[1], 1): text.get_text() for text in ax.texts}
    assert marks == {-6.9: "[S]", -11.3: "[P]", -7.4: "[S]", -7.2: "[S]", -12.2: "[S]"}


def test_one_seed_is_hollow_and_numbers_of_seeds_stand_where_they_differ() -> None:
    cells = cells_of("blocks")
    pool = [r for r in evaluated(cells, {"l2-block1": 1.1}) if r["name"] != "l2-block1" or r["seed"] == 0]
    (ax,) = blocks_figure(compare(pool, cells, TOY), cells).axes
    assert hollow(ax) == {0.25: False, 0.5: True, 0.75: False, 1.0: False, 1.2: False}
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "0\n0.25\nn = 3", "1\n0.5\nn = 1", "2\n0.75\nn = 3", "3\n1\nn = 3", "all\n\nn = 3",
    ]  # fmt: skip
    assert ax.figure.legends[0].get_texts()[0].get_text() == "ours, 95% where n > 1; hollow: one seed"
    (ax,) = blocks_figure(compare(evaluated(cells, {}), cells, TOY), cells).axes
    assert not any("n = " in label.get_text() for label in ax.get_xticklabels())


def test_a_block_that_has_no_run_says_so() -> None:
    cells = cells_of("blocks")
    pool = [r for r in evaluated(cells, {}) if r["name"] != "l2-all"]
    (ax,) = blocks_figure(compare(pool, cells, TOY), cells).axes
    assert [text.xy[0] for text in ax.texts if text.get_text() == "not trained"] == [1.2]


def test_the_papers_blocks_by_our_labels() -> None:
    small, large = published_blocks(cells_of("blocks")), published_blocks(item("blocks", "paper", (0,)))
    default = 32.35 / 36.49 - 1
    assert small["infonce-l2"] == large["infonce-l2"] == pytest.approx(default)
    assert small["l2-block3"] == large["l2-block11"] == pytest.approx(33.86 / 36.49 - 1)
    assert small["l2-block2"] == large["l2-block6"] == pytest.approx(33.79 / 36.49 - 1)
    assert large["l2-block0"] == pytest.approx(33.97 / 36.49 - 1)
    assert "l2-block3" not in large  # whether the paper's 3 counts from 0 is unknown
    assert "l2-block1" not in small


def test_regularised_blocks_are_in_the_order_of_their_places() -> None:
    found = regularised_blocks(cells_of("blocks"))
    assert list(found) == ["infonce-l2", "l2-block1", "l2-block2", "l2-block3", "l2-all"]
    assert found["infonce-l2"] == (0,)
    assert found["l2-all"] == (0, 1, 2, 3)


@pytest.mark.parametrize(
    ("name", "said"),
    [("blocks", "whether its 3 counts from 0 is unknown"), ("blocks", "read in one secondary source"),
     ("lambda_tau", "read in one secondary source"), ("contrastive_to_dispersive", "no members of this family")],
)  # fmt: skip
def test_a_table_says_how_sure_the_papers_numbers_are(name: str, said: str, tmp_path: Path) -> None:
    cells = cells_of(name)
    table, picture = draw_ablation(name, evaluated(cells, {}), cells, TOY, tmp_path)
    text = table.read_text(encoding="utf-8")
    assert said.lower() in text.lower()
    assert f"| {ABLATIONS[name].own} | -11.3% |" in text
    assert read_sidecar(picture)["paper"]["infonce-l2"] == pytest.approx(-0.1135, abs=1e-4)


@pytest.mark.parametrize("name", ABLATIONS)
@pytest.mark.parametrize(
    "part", ["all", "one seed", "no baseline", "baseline", "the paper's alone", "odd ones", "none"]
)
def test_what_is_missing_is_left_out(name: str, part: str, tmp_path: Path) -> None:
    """A value that isn't finite would be refused by the sidecar."""
    cells = cells_of(name)
    pool = evaluated(cells, {"infonce-l2": 1.3})
    baselines = {cell.spec.fingerprint for cell in cells if cell.against is None}
    own = {cell.spec.fingerprint for cell in cells if cell.label == "infonce-l2"}
    kept: list[Record] = {
        "all": pool,
        "one seed": [r for r in pool if r["seed"] == 1],
        "no baseline": [r for r in pool if r["fingerprint"] not in baselines],
        "baseline": [r for r in pool if r["fingerprint"] in baselines],
        "the paper's alone": [r for r in pool if r["fingerprint"] in baselines | own],
        "odd ones": pool[::2],
        "none": [],
    }[part]
    table, picture = draw_ablation(name, kept, cells, TOY, tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")
    text = table.read_text(encoding="utf-8")
    assert not any(word in text for word in ("nan", " inf", "-inf"))
    facts = read_sidecar(picture)
    assert {run["fingerprint"] for run in facts["runs"]} == {r["fingerprint"] for r in kept}
    if part == "one seed":
        assert "(one seed)" in text
        assert "±" not in text.partition("Mean ±")[0]


def test_the_grid_says_what_is_missing_and_what_is_clear() -> None:
    cells = cells_of("lambda_tau")
    fd = {"l2-lam1-tau2": 2.0, "l2-lam0.25-tau0.25": 0.5}
    pool = [r for r in evaluated(cells, fd) if r["name"] != "l2-lam1-tau1"]
    top, bottom, _ = lambda_tau_figure(compare(pool, cells, TOY), cells).axes
    texts = {(t.get_position()[1] - 0.5, t.get_position()[0] - 0.5): t for t in top.texts}
    assert len(texts) == 12
    assert texts[2, 2].get_text() == "not\ntrained"
    assert texts[2, 3].get_text().startswith("+100%\n[")
    assert texts[0, 0].get_text().startswith("-50%\n[")
    bold = {place for place, text in texts.items() if text.get_weight() == "bold"}
    assert bold == {(2, 3), (0, 0)}
    (frame,) = top.patches
    assert frame.get_xy() == (1, 1)  # λ = ½, τ = ½
    lines = [len(line.get_xdata()) for line in bottom.lines if line.get_marker() == "None"]
    assert [n for n in lines if n > 2] == [4, 4]  # of λ = 1 one is missing, and no line goes across
    assert len(bottom.containers) == 11
    blue = [c for c in bottom.containers if c[0].get_color() == COLORS["infonce-l2"]]
    assert [c[0].get_xdata()[0] for c in blue] == [0.5]  # the paper's setting alone
    assert len(bottom.get_legend().get_texts()) == 4


def test_a_cell_of_the_grid_tells_its_seeds() -> None:
    cells = cells_of("lambda_tau")
    pool = [r for r in evaluated(cells, {}) if r["seed"] == 0 or r["name"] in ("baseline", "infonce-l2")]
    top, bottom, _ = lambda_tau_figure(compare(pool, cells, TOY), cells).axes
    assert [text.get_text().split("\n")[-1] for text in top.texts].count("(one seed)") == 11
    assert [text.get_text() for text in top.texts if "n = 3" in text.get_text()]
    assert bottom.get_title(loc="left").endswith("; hollow: one seed)")
    lines = [line for line in bottom.lines if len(line.get_xdata()) > 1 and line.get_marker() == "None"]
    assert [len(line.get_xdata()) for line in lines if line.get_linestyle() == "-"] == [4, 4, 4]


def test_one_seed_is_not_bold_and_has_no_interval() -> None:
    cells = cells_of("lambda_tau", (0,))
    figure = lambda_tau_figure(compare(evaluated(cells, {"l2-lam1-tau2": 2.0}), cells, TOY), cells)
    texts = figure.axes[0].texts
    assert all(text.get_text().endswith("(one seed)") for text in texts)
    assert not any(text.get_weight() == "bold" for text in texts)


def test_half_and_double_are_as_far_from_none() -> None:
    ax = Figure().subplots()
    values = {("a", "x"): mean_over_seeds([np.log(2.0)]), ("a", "y"): mean_over_seeds([-np.log(2.0)])}
    ratio_map(ax, values, ["a", "b"], ["x", "y"], label="", cmap="vlag", times=True)
    assert ax.collections[0].get_clim() == pytest.approx((-np.log(2), np.log(2)))
    bar = ax.collections[0].colorbar
    assert bar is not None
    assert [text.get_text() for text in bar.ax.get_yticklabels()] == ["×0.5", "×0.67", "×1", "×1.5", "×2"]
    assert [text.get_text() for text in ax.texts] == [
        "×2.00\n(one seed)",
        "×0.50\n(one seed)",
        *2 * ["not\ntrained"],
    ]


def test_text_is_black_or_white_by_its_contrast() -> None:
    """Also on the middle of the scale, where white would hardly show."""
    ax = Figure().subplots()
    values = {("a", str(k)): mean_over_seeds([k / 10]) for k in range(-5, 6)}
    ratio_map(ax, values, ["a"], [str(k) for k in range(-5, 6)], label="", cmap="vlag")
    shades = {round(text.get_position()[0] - 5.5): text.get_color() for text in ax.texts}
    assert (shades[0], shades[3], shades[5]) == ("black", "black", "white")
    assert ink(to_rgb("#777777")) == "black"
    assert ink(to_rgb("#666666")) == "white"


def test_many_columns_leave_the_intervals_to_the_table() -> None:
    ax = Figure().subplots()
    columns = [str(k) for k in range(12)]
    values = {("a", column): mean_over_seeds([0.1, 0.2]) for column in columns}
    ratio_map(ax, values, ["a"], columns, label="", cmap="vlag")
    assert {text.get_text() for text in ax.texts} == {"+16%"}


def test_nothing_hides_under_the_legend() -> None:
    """It stands above the axes, not on them."""
    cells = cells_of("blocks")
    figure = blocks_figure(compare(evaluated(cells, {}), cells, TOY), cells)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.y0 >= figure.axes[0].get_window_extent().y1
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_the_paper_has_no_value_of_a_cell_but_its_own() -> None:
    assert set(ABLATIONS["lambda_tau"].published([])) == {"infonce-l2"}
    assert paper.BLOCKS_FID[3].value == paper.VARIANTS_FID["infonce-l2"][2].value
