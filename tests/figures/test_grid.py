"""The grid of variants: one scale for the paper and for us, pale where nothing is clear, all 13 runs."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from disperse.experiments import item, paper, tables
from disperse.experiments.compare import compare
from disperse.experiments.items import Cell
from disperse.figures import draw_grid, read_sidecar
from disperse.figures.grid import grid_figure
from disperse.store import Record

from ..experiments.cases import TOY, toy
from ..experiments.test_statements import evaluated

__all__ = ["toy"]
pytestmark = pytest.mark.usefixtures("toy")
Place = tuple[int, int]  # line, column


def cells_of(*seeds: int) -> list[Cell]:
    return item("variants", "toy", seeds) + item("contrastive", "toy", seeds)


def drawn(ax: Axes) -> dict[Place, tuple[tuple[float, ...], tuple[float, ...]]]:
    """Place → colours of the inside and of the rim."""
    return {
        (round(cell.get_y() + 0.46), round(cell.get_x() + 0.46)): (
            to_rgb(cell.get_facecolor()),
            to_rgb(cell.get_edgecolor()),
        )
        for cell in ax.patches
    }


def texts(ax: Axes) -> dict[Place, str]:
    return {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in ax.texts}


def test_equal_changes_have_equal_colours_on_both_sides() -> None:
    fd = {paper.grid_label(v, c): paper.variants_fid(paper.grid_label(v, c)).value / 36.49
          for v in paper.VARIANTS_FID for c in paper.COLUMNS}  # fmt: skip
    left, right, _ = grid_figure(compare(evaluated(cells_of(0), fd), cells_of(0), TOY)).axes
    published, ours = drawn(left), drawn(right)
    assert published.keys() == ours.keys() == set(itertools.product(range(4), range(3)))
    for place, (face, rim) in published.items():
        assert face == pytest.approx(rim)
        assert ours[place][1] == pytest.approx(rim, abs=0.01)


def test_a_cell_is_pale_where_its_interval_holds_zero_and_has_its_seeds() -> None:
    cells = cells_of(0, 1, 2)
    # Seeds differ by far more than covariance changes; hinge is clear; cosine has one seed.
    pool = evaluated(cells, {"hinge": 2.0, "infonce-cosine": 3.0})
    pool = [r for r in pool if r["name"] != "infonce-cosine" or r["seed"] == 0]
    pool = [r for r in pool if r["name"] != "infonce-l2-restricted"]
    _, right, _ = grid_figure(compare(pool, cells, TOY)).axes
    found, said = drawn(right), texts(right)
    assert found[2, 2][0] == pytest.approx(found[2, 2][1])
    assert said[2, 2].startswith("+1")
    assert said[2, 2].endswith("]\nn = 3")
    assert min(found[1, 2][0]) > 0.2 + min(found[1, 2][1])  # one seed, however large the change
    assert said[1, 2].endswith("%\n(one seed)")
    assert said[0, 1] == "not\ntrained"
    assert (0, 1) not in found


def test_text_stands_out_from_its_cell() -> None:
    fd = {"hinge": 4.0, "covariance": 0.25, "infonce-cosine": 1.7, "infonce-l2": 0.6}
    for ax in grid_figure(compare(evaluated(cells_of(0, 1), fd), cells_of(0, 1), TOY)).axes[:2]:
        colors = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_color() for t in ax.texts}
        for place, (face, _) in drawn(ax).items():
            assert contrast(face, to_rgb(colors[place])) > 4.5


def contrast(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Of two sRGB colours, by WCAG 2."""
    bright, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(color: tuple[float, ...]) -> float:
    linear = np.where(
        np.array(color) <= 0.04045, np.array(color) / 12.92, ((np.array(color) + 0.055) / 1.055) ** 2.4
    )
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_the_table_has_the_papers_fid_of_all_thirteen_runs(tmp_path: Path) -> None:
    cells = cells_of(0, 1)
    gone = "covariance-independent"
    pool: list[Record] = [r for r in evaluated(cells, {"hinge": 0.5}) if r["name"] != gone]
    table, picture = draw_grid(pool, cells, TOY, tmp_path)
    lines = table.read_text(encoding="utf-8").splitlines()
    head = lines.index(
        "| variant | kind of term | paper FID | paper Δ | our FD | our Δ (paired, 95%) | verdict | n |"
    )
    grid = lines[head + 2 : head + 15]
    assert grid[0].startswith("| baseline | none | 36.49 |  | ")
    assert grid[0].endswith("|  |  | 2 |")
    assert [line.split(" | ")[2] for line in grid[1:]] == [
        f"{fids[column].value:.2f}" for column in range(3) for fids in paper.VARIANTS_FID.values()
    ]
    (hinge,) = [line for line in grid if line.startswith("| hinge | dispersive |")]
    assert "| 33.93 | -7.0% |" in hinge
    assert hinge.endswith("| improves | 2 |")
    (missing,) = [line for line in grid if line.startswith("| covariance | independent |")]
    assert missing == "| covariance | independent | 37.85 | +3.7% | not trained |  |  | 0 |"
    assert read_sidecar(picture)["paper"]["baseline"] == 36.49


def test_the_table_of_features_has_the_seeds_of_each_kind_of_term() -> None:
    cells = cells_of(0, 1, 2)
    pool = [
        r
        for r in evaluated(cells, {})
        if r["name"] != "hinge-restricted" and (r["name"] == "hinge" or r["seed"] < 2)
    ]
    table, _, base = tables.features_markdown(compare(pool, cells, TOY)).rstrip().rpartition("\n\n")
    head, _, *lines = table.splitlines()
    kinds = ("independent", "restricted", "dispersive")
    assert head == f"| variant | {' | '.join(f'{kind}: rank | rms | n' for kind in kinds)} |"
    (hinge,) = [line for line in lines if line.startswith("| hinge |")]
    cell = [text.strip() for text in hinge.split("|")[2:-1]]
    assert (cell[2], cell[3:6], cell[8]) == ("2", ["", "", "0"], "3")
    assert base.endswith(", n = 2.")
