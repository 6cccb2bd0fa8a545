"""Model size by data by length: what is drawn and written, what is fitted, of all runs and of some."""

import json
import math
from pathlib import Path

import pytest
from matplotlib.patches import Rectangle

from disperse.evaluation import log_ratio
from disperse.experiments.items import Cell, item
from disperse.experiments.statements import parameters
from disperse.figures import COLORS, draw_scale, read_sidecar, scale_figure
from disperse.figures.scale import changes, trends
from disperse.store import Record

from ..experiments.cases import TOY, record, toy

__all__ = ["toy"]
pytestmark = pytest.mark.usefixtures("toy")
WHOLE = 1297
SLOPES = {"parameters": -0.2, "images": 0.3, "steps": -0.3}  # of the log ratio, per doubling
TREND = {"parameters": -0.2, "training images": 0.3, "steps": -0.3, "images and steps together": 0.0}


def cells_of(*seeds: int) -> list[Cell]:
    return item("model_size", "toy", seeds) + item("scale_of_effect", "toy", seeds)


def effect(cell: Cell, step: int) -> float:
    """The log ratio that is put in: a plane in the logarithms, with a little of the seed."""
    images = int(cell.spec.data.partition(":")[2] or WHOLE)
    doublings = {"parameters": parameters(cell.spec) / 88_196, "images": images / 50, "steps": step / 2}
    found = sum(SLOPES[name] * math.log2(ratio) for name, ratio in doublings.items())
    return found + 0.01 * cell.spec.seed


def evaluated(cells: list[Cell]) -> list[Record]:
    return [
        record(cell.spec, step, TOY.protocol_of(cell.spec.objective.kind),
               fd=3.0 * math.exp(effect(cell, step) if cell.against else 0.0))
        for cell in cells
        for step in (2, 4)
    ]  # fmt: skip


def without(cells: list[Cell], gone: str) -> list[Cell]:
    return [cell for cell in cells if gone not in cell.label]


def test_every_cell_of_the_grid_is_its_paired_log_ratio() -> None:
    cells = cells_of(0, 1, 2)
    found = changes(evaluated(cells), cells, TOY)
    assert {(c.size, c.images, c.step) for c in found} == {
        (size, images, step) for size in ("Pico", "Nano") for images in (50, WHOLE) for step in (2, 4)
    }
    assert len(found) == 8  # DiT's are left out
    one = next(c for c in found if (c.size, c.images, c.step) == ("Nano", 50, 2))
    own = {c.spec.seed: math.exp(effect(c, 2)) for c in cells if c.label == "sit-Nano-50-infonce-l2"}
    expected = log_ratio(own, dict.fromkeys(own, 1.0))
    assert (one.part.estimate.value, one.part.estimate.low) == pytest.approx((expected.value, expected.low))
    assert one.epochs == 2 * 16 / 50
    assert (one.baseline.value, one.baseline.n) == (3.0, 3)
    assert one.clear


def test_trends_are_those_that_were_put_in() -> None:
    cells = cells_of(0, 1, 2)
    fitted = trends(changes(evaluated(cells), cells, TOY), TOY)
    assert {name: part.estimate.value for name, part in fitted.items()} == pytest.approx(TREND, abs=1e-9)
    assert all(part.estimate.n == 3 for part in fitted.values())


@pytest.mark.parametrize("gone", ["Nano-50", "sit-Nano-infonce", "sit-Pico-baseline"])
def test_no_trend_without_every_cell(gone: str) -> None:
    cells = without(cells_of(0, 1), gone)
    assert trends(changes(evaluated(cells), cells, TOY), TOY) == {}


def test_a_trend_is_of_the_seeds_that_have_every_cell() -> None:
    cells = [c for c in cells_of(0, 1, 2) if c.spec.seed < 2 or "Nano-50" not in c.label]
    fitted = trends(changes(evaluated(cells), cells, TOY), TOY)
    assert set(fitted["steps"].values) == {0, 1}


def test_table_and_sidecar_hold_every_cell(tmp_path: Path) -> None:
    cells = cells_of(0, 1, 2)
    table, picture = draw_scale(evaluated(cells), cells, TOY, tmp_path)
    text, facts = table.read_text(encoding="utf-8"), read_sidecar(picture)
    assert (table.name, picture.name) == ("scale_of_effect.md", "scale_of_effect.png")
    assert "| 50 | Pico | 88k | +1% [-1%, +4%], n = 3 | **-25% [-27%, -23%]**, n = 3 | 3.00 ± 0.00 |" in text
    assert text.count(", n = 3 |") == 8
    assert "| all 1297 | Nano | 330k |" in text
    assert "Epochs at these steps, by training images: 50: 0.6, 1.3; all 1297: 0.0, 0.0." in text
    assert "| images and steps together | 0% [0%, 0%] | 3 |" in text
    assert "in 7 of the 8 cells with several seeds; without any effect" in text
    assert "Those 8 cells share the runs of 4 lines of the table" in text
    assert facts["training_images"] == WHOLE
    assert len(facts["cells"]) == 8
    assert sum(cell["clear"] for cell in facts["cells"]) == 7
    assert not any(run["label"].startswith("dit") for run in facts["runs"])


def test_the_maps_frame_what_is_clear_and_say_what_is_not_trained() -> None:
    cells = without(cells_of(0, 1, 2), "sit-Nano-50")
    found = changes(evaluated(cells), cells, TOY)
    figure = scale_figure(found, TOY)
    early, late = figure.axes[:2]
    assert early.get_title(loc="left") == "2 steps"
    assert [label.get_text() for label in early.get_yticklabels()] == ["50", "all\n1297"]
    assert [label.get_text() for label in late.get_xticklabels()] == ["Pico", "Nano"]
    for ax, step in ((early, 2), (late, 4)):
        frames = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
        assert len(frames) == sum(c.clear for c in found if c.step == step)
        assert sum(text.get_text() == "not\ntrained" for text in ax.texts) == 1
        assert sum(text.get_text().endswith("n = 3") for text in ax.texts) == 3
    assert len([patch for patch in early.patches if isinstance(patch, Rectangle)]) == 2
    assert any("\n[" in text.get_text() for text in late.texts)


def test_the_lines_go_by_steps_and_by_epochs() -> None:
    cells = cells_of(0, 1)
    figure = scale_figure(changes(evaluated(cells), cells, TOY), TOY)
    by_steps, by_epochs = figure.axes[-2:]
    drawn = [[tuple(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2
              and line.get_color() != COLORS["baseline"]] for ax in (by_steps, by_epochs)]  # fmt: skip
    assert drawn[0] == [(2, 4)] * 4
    assert drawn[1] == [(0.64, 1.28), (32 / WHOLE, 64 / WHOLE)] * 2
    assert list(by_steps.get_xticks()) == [2, 4]
    assert by_steps.get_ylim() == by_epochs.get_ylim()


def test_one_seed_has_no_interval_and_no_frame(tmp_path: Path) -> None:
    cells = cells_of(0)
    table, picture = draw_scale(evaluated(cells), cells, TOY, tmp_path)
    text, facts = table.read_text(encoding="utf-8"), read_sidecar(picture)
    assert text.count("(one seed), n = 1") == 8
    assert "**" not in text
    assert all(cell["low"] is None and not cell["clear"] for cell in facts["cells"])
    maps = scale_figure(changes(evaluated(cells), cells, TOY), TOY).axes[:2]
    assert not any(isinstance(patch, Rectangle) for ax in maps for patch in ax.patches)
    assert sum("(one seed)" in label.get_text() for ax in maps for label in ax.texts) == 8


def test_only_cells_with_an_interval_are_counted(tmp_path: Path) -> None:
    """One seed has none; and all lengths of one run are the same pairs."""
    cells = [c for c in cells_of(0, 1, 2) if "Nano" in c.label or c.spec.seed == 0]
    text = draw_scale(evaluated(cells), cells, TOY, tmp_path)[0].read_text(encoding="utf-8")
    assert "in 4 of the 4 cells with several seeds (8 cells in all)" in text
    assert "Those 4 cells share the runs of 2 lines of the table" in text
    alone = cells_of(0)
    text = draw_scale(evaluated(alone), alone, TOY, tmp_path)[0].read_text(encoding="utf-8")
    assert "which no cell can yet" in text
    assert "one of twenty" not in text


def test_the_legend_has_what_is_drawn_and_one_seed_is_hollow() -> None:
    cells = [
        c for c in cells_of(0, 1) if "Nano" in c.label and (c.spec.seed == 0 or "Nano-50" not in c.label)
    ]
    figure = scale_figure(changes(evaluated(cells), cells, TOY), TOY)
    below = figure.subfigs[1]
    assert [text.get_text() for text in below.legends[0].get_texts()] == [
        "Nano",
        "50 images",
        "all 1297 images",
    ]
    assert below.legends[0].get_title().get_text() == "95% where n > 1; hollow: one seed"
    marks = [line for line in below.axes[0].lines if len(line.get_xdata()) == 1]
    assert sorted(line.get_markerfacecolor() == "white" for line in marks) == [False, False, True, True]


@pytest.mark.parametrize("gone", ["50", "infonce-l2", "Nano", ""])
def test_what_is_not_there_is_left_out(tmp_path: Path, gone: str) -> None:
    cells = cells_of(0, 1)
    left = without(cells, gone)
    table, picture = draw_scale(evaluated(left), cells, TOY, tmp_path)
    text = table.read_text(encoding="utf-8")
    assert "nan" not in text
    assert "Trends: not yet" in text
    json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    there = {cell.label for cell in left if cell.against and cell.label.startswith("sit")}
    assert len(read_sidecar(picture)["cells"]) == 2 * len(there)


def test_a_milestone_is_shown_before_the_run_is_at_its_end() -> None:
    cells = cells_of(0, 1)
    found = changes([r for r in evaluated(cells) if r["step"] == 2], cells, TOY)
    assert {c.step for c in found} == {2}
    assert len(found) == 4
