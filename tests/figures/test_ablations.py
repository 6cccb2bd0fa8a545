"""Ablations tell their places, the paper's numbers and where they were read, and what is missing."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from disperse.evaluation import mean_over_seeds
from disperse.experiments import item, paper
from disperse.experiments.compare import compare
from disperse.experiments.items import Cell
from disperse.experiments.store import Record
from disperse.figures import ABLATIONS, blocks_figure, draw_ablation, lambda_tau_figure, read_sidecar
from disperse.figures.ablations import published_blocks, regularised_blocks
from disperse.figures.heat import ratio_map

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
    """x → y of the paper's numbers: white with a black rim."""
    return {
        float(x): float(y)
        for drawn in ax.collections
        if not isinstance(drawn, LineCollection)
        and len(drawn.get_facecolor())
        and tuple(drawn.get_facecolor()[0]) == to_rgba("white")
        for x, y in drawn.get_offsets()
    }


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
    assert min(diamonds(ax).values()) == pytest.approx(100 * (32.05 / 36.49 - 1))
    assert "secondary source" in " ".join(text.get_text() for text in ax.figure.legends[0].get_texts())


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
     ("lambda_tau", "read in one secondary source"), ("contrastive_to_dispersive", "nearly, but not exactly")],
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
    assert [len(container[0].get_xdata()) for container in bottom.containers] == [4, 4, 3]


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
    figure.canvas.draw()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert box.y0 >= figure.axes[0].get_window_extent().y1
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_the_paper_has_no_value_of_a_cell_but_its_own() -> None:
    assert set(ABLATIONS["lambda_tau"].published([])) == {"infonce-l2"}
    assert paper.BLOCKS_FID[3].value == paper.VARIANTS_FID["infonce-l2"][2].value
