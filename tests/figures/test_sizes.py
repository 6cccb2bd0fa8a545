"""Model size: what is drawn and written, of all runs and of some."""

import json
import math
from pathlib import Path

import pytest

from disperse.evaluation import noise_floor
from disperse.experiments import PROFILES, paper
from disperse.experiments.compare import compare
from disperse.experiments.items import Cell, item
from disperse.experiments.statements import parameters
from disperse.figures import COLORS, draw_model_size, read_sidecar, size_figure
from disperse.figures.facts import floor_of
from disperse.figures.sizes import paper_per_doubling, short
from disperse.store import Record

from ..experiments.cases import TOY, record, toy

__all__ = ["toy"]
pytestmark = pytest.mark.usefixtures("toy")


def cells_of(*seeds: int) -> list[Cell]:
    return item("model_size", "toy", seeds)


def evaluated(cells: list[Cell]) -> list[Record]:
    """With the term the small network is worse and the large one better; seeds differ a little."""
    pool = []
    for cell in cells:
        factor = 1.0
        if cell.against:
            factor = (1.5 if "Pico" in cell.label else 0.8) * math.exp(0.01 * cell.spec.seed)
        protocol = TOY.protocol_of(cell.spec.objective.kind)
        base = 2.0 if "Pico" in cell.label else 1.0
        pool.append(record(cell.spec, cell.spec.num_steps, protocol, fd=base * factor))
    return pool


def scan(rates: dict[str, float], *seeds: int) -> list[Record]:
    """Baselines of the rate scan at these rates, as good as said."""
    return [
        record(cell.spec, cell.spec.num_steps, TOY.protocol, fd=rates[cell.label] + cell.spec.seed)
        for cell in item("rate_scan", "toy", seeds)
        if cell.label in rates
    ]


def test_each_size_has_its_line_and_each_system_its_slope(tmp_path: Path) -> None:
    cells = cells_of(0, 1, 2)
    table, picture = draw_model_size(evaluated(cells), cells, TOY, tmp_path)
    text, facts = table.read_text(encoding="utf-8"), read_sidecar(picture)
    assert (table.name, picture.name) == ("model_size.md", "model_size.png")
    assert f"| 8. {paper.CLAIMS[8]} | **disagrees** |" in text
    for kind in ("SiT", "DiT"):
        assert f"| {kind}-Pico/2 | 88k | 2.00 ± 0.00 | 3.03" in text
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {kind}-Nano/2")]
        assert line.endswith("| improves | 3 |")
        assert "-19%" in line
        doublings = math.log2(330 / 88.2)
        falls = round(100 * (math.exp(math.log(0.8 / 1.5) / doublings) - 1))
        assert f"| {kind} | {falls}% [{falls}%, {falls}%] | 3 |" in text
    assert facts["per_doubling"]["sit"]["n"] == 3
    (claim,) = facts["claims"]
    assert {part["compared"] for part in claim["parts"]} >= {"sit: change over size", "dit: change over size"}
    assert {run["label"] for run in facts["runs"]} >= {cell.label for cell in cells}


def test_the_papers_sizes_stand_beside_ours_and_say_how_surely(tmp_path: Path) -> None:
    cells = cells_of(0)
    table, _ = draw_model_size(evaluated(cells), cells, TOY, tmp_path)
    small, large = [line for line in table.read_text(encoding="utf-8").splitlines() if "*paper (" in line]
    assert small.endswith("SiT-B/2 | 131M | 36.49 | 32.35 | -11.3% |  |  |")
    assert large.endswith("SiT-XL/2 | 675M | 18.46 | 15.95 | -13.6% |  |  |")
    assert "secondary" in large
    assert "secondary" not in small
    assert paper_per_doubling() == pytest.approx(math.log((15.95 / 18.46) / (32.35 / 36.49)) / 2.37, rel=1e-3)


def test_the_picture_shows_every_run_once() -> None:
    cells = cells_of(0, 1)
    rows = compare(evaluated(cells), cells, TOY)
    left, right, beside = size_figure(rows, cells, floor=0.1).axes
    assert len(left.containers) == 8
    drawn = sorted(
        (bar.lines[0].get_xdata()[0], bar.lines[0].get_ydata()[0], bar.lines[0].get_marker())
        for bar in right.containers
    )
    assert len(drawn) == 4
    sizes = sorted({parameters(c.spec) for c in cells if c.spec.objective.kind == "sit"})
    assert [x for x, _, marker in drawn if marker == "o"] == pytest.approx(sizes, rel=0.05)  # a little aside
    assert [y for _, y, marker in drawn if marker == "o"] == pytest.approx(
        [50 + 0.75, 100 * 0.8 * math.exp(0.005) - 100], abs=0.01
    )
    assert list(left.get_xticks()) == sizes
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["Pico\n88k", "Nano\n330k"]
    assert len(beside.collections) == len(paper.SIZES_FID)
    assert beside.get_ylim() == right.get_ylim()


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    cells = cells_of(0)
    table, picture = draw_model_size(evaluated(cells), cells, TOY, tmp_path)
    text, facts = table.read_text(encoding="utf-8"), read_sidecar(picture)
    assert text.count("(one seed)") == 4 + 2
    assert "**can't tell**" in text
    assert all(row["change"]["low"] is None for row in facts["rows"] if row["change"])
    figure = size_figure(compare(evaluated(cells), cells, TOY), cells)
    marks = [bar.lines[0] for ax in figure.axes[:2] for bar in ax.containers]
    assert len(marks) == 12
    assert all(dot.get_markerfacecolor() == "white" for dot in marks)
    assert figure.legends[0].get_title().get_text() == "one seed, no interval"


def test_systems_of_other_numbers_of_seeds_have_theirs_at_the_tick() -> None:
    cells = cells_of(0, 1, 2)
    few = {c.spec.fingerprint for c in cells if c.spec.objective.kind == "dit" and c.spec.seed}
    rows = compare([r for r in evaluated(cells) if r["fingerprint"] not in few], cells, TOY)
    for ax in size_figure(rows, cells).axes[:2]:
        assert [tick.get_text() for tick in ax.get_xticklabels()] == [
            "Pico\n88k\nn = 3, 1",
            "Nano\n330k\nn = 3, 1",
        ]
        assert ax.get_xlabel() == "parameters\n(n of SiT and DiT)"
        assert not any("n =" in text.get_text() for text in ax.texts)


def test_what_is_not_trained_says_so_and_no_line_goes_there() -> None:
    cells = [c for c in cells_of(0, 1) if c.spec.objective.kind == "sit"]
    pool = [r for r in evaluated(cells) if r["name"] != "sit-nano-infonce-l2"]
    pool = [r for r in pool if r["name"] != "sit-nano-baseline" or r["seed"] == 0]
    figure = size_figure(compare(pool, cells, TOY), cells)
    left, right = figure.axes[:2]
    assert not [text for text in left.texts if text.get_text() == "not trained"]
    assert [text.get_text() for text in right.texts] == ["no pair yet"]
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["Pico\n88k\nn = 2", "Nano\n330k\nn = 1"]
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["Pico\n88k\nn = 2", "Nano\n330k"]
    drawn = [line for line in left.lines if len(line.get_xdata()) > 1 and line.get_linestyle() == "-"]
    assert [line.get_color() for line in drawn] == [COLORS["baseline"]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "baseline", "InfoNCE, ℓ2", "SiT", "paper (FID, ImageNet)",
    ]  # fmt: skip
    small = [r for r in evaluated(cells) if "nano" not in r["name"]]
    for ax in size_figure(compare(small, cells, TOY), cells).axes[:2]:
        assert "not trained" in [text.get_text() for text in ax.texts]
    whole = size_figure(compare(evaluated(cells), cells, TOY), cells).axes[0]
    assert len([line for line in whole.lines if len(line.get_xdata()) == 2]) == 2


@pytest.mark.parametrize(
    ("gone", "asked"),
    [("dit", "all"), ("sit", "what is there"), ("Nano", "what is there"), ("infonce-l2", "all"),
     ("baseline", "what is there"), ("sit-Pico-baseline", "all"), ("", "all"), ("", "what is there")],
)  # fmt: skip
def test_what_is_not_there_is_left_out(tmp_path: Path, gone: str, asked: str) -> None:
    cells = cells_of(0, 1)
    left = [cell for cell in cells if gone not in cell.label]
    table, picture = draw_model_size(evaluated(left), cells if asked == "all" else left, TOY, tmp_path)
    assert "nan" not in table.read_text(encoding="utf-8")
    shown = {row["label"] for row in read_sidecar(picture)["rows"]}
    assert shown == {cell.label for cell in left}
    json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"), parse_constant=pytest.fail)


def test_unequal_seeds_are_counted_each(tmp_path: Path) -> None:
    cells = cells_of(0, 1, 2)
    pool = [r for r, c in zip(evaluated(cells), cells, strict=True) if not (c.against and c.spec.seed == 2)]
    table, _ = draw_model_size(pool, cells, TOY, tmp_path)
    assert "| 3 and 2, paired 2 |" in table.read_text(encoding="utf-8")


def test_the_best_rate_of_each_size_is_marked_where_all_are_there(tmp_path: Path) -> None:
    cells = cells_of(0, 1)
    found = {"Pico-lr0.0005": 3.0, "Pico-lr0.001": 2.0, "Pico-lr0.002": 1.0, "Nano-lr0.0005": 0.5}
    pool = evaluated(cells) + scan(found, 0)
    table, picture = draw_model_size(pool, cells, TOY, tmp_path)
    lines = table.read_text(encoding="utf-8").splitlines()
    # The rate of the profile is that of the item's baselines; one seed of three rates, two of one.
    assert "| Pico | 3.00 | 2.00 | **1.00** | 1 |" in lines
    assert "| Nano | 0.50 | 1.00 | not there yet | 1 |" in lines
    assert read_sidecar(picture)["rates"]["Pico"]["0.002"]["value"] == 1.0


def test_a_scan_that_is_not_published_is_said_to_be_missing(tmp_path: Path) -> None:
    cells = cells_of(0, 1)
    table, _ = draw_model_size(evaluated(cells), cells, TOY, tmp_path)
    lines = table.read_text(encoding="utf-8").splitlines()
    assert "| Pico | not there yet | 2.00 ± 0.00 | not there yet | 2 |" in lines
    assert "**" not in "".join(line for line in lines if line.startswith("| Pico |"))


@pytest.mark.parametrize(
    ("count", "text"), [(88_196, "88k"), (999_499, "999k"), (999_500, "1.0M"), (1_234_567, "1.2M"), (675_129_632, "675M")]
)  # fmt: skip
def test_numbers_of_parameters_are_short(count: int, text: str) -> None:
    assert short(count) == text


def test_a_floor_is_shown_where_there_are_real_images_to_measure_it_by() -> None:
    assert floor_of(TOY.protocol) == noise_floor(TOY.protocol).value
    assert floor_of(PROFILES["paper"].protocol) is None
