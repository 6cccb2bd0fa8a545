"""MeanFlow: four rows that are judged, two controls that are not, of all runs and of some."""

import json
import math
from pathlib import Path

import pytest
from matplotlib.collections import PathCollection

from disperse.experiments import paper
from disperse.experiments.compare import compare
from disperse.experiments.items import Cell, item
from disperse.figures import draw_meanflow, meanflow_figure, read_sidecar
from disperse.figures.meanflow import CONTROLS, KINDS, PLACES
from disperse.store import Record

from ..experiments.cases import TOY, record, toy

__all__ = ["toy"]
pytestmark = pytest.mark.usefixtures("toy")
PROTOCOL = TOY.protocol_of("meanflow")


def cells_of(*seeds: int) -> list[Cell]:
    return item("meanflow", "toy", seeds)


def evaluated(cells: list[Cell], fd: dict[str, float], rms: dict[str, float] | None = None) -> list[Record]:
    """Runs at their milestones and end, as good as said, 2 by default; seeds differ a little if compared."""
    pool = {}
    for cell in cells:
        noise = math.exp(0.01 * cell.spec.seed) if cell.against else 1.0
        for step in {*cell.spec.milestones, cell.spec.num_steps}:
            value = fd.get(cell.label, 2.0) * noise
            length = (rms or {}).get(cell.label, 1.0)
            # A shorter run's end is a milestone of the longer: one evaluation, told by the longer.
            found = record(cell.spec, step, PROTOCOL, fd=value, rms=length)
            pool[cell.spec.fingerprint, step] = pool.get((cell.spec.fingerprint, step), found)
    return list(pool.values())


GOOD = {f"meanflow-{name}-infonce-l2": 1.0 for name in paper.MEANFLOW_FID}
CONTROL = {"meanflow-long": 0.5, "meanflow-lr-half": 3.0}


def test_rows_stand_beside_the_papers_and_controls_apart(tmp_path: Path) -> None:
    cells = cells_of(0, 1, 2)
    table, picture = draw_meanflow(evaluated(cells, GOOD | CONTROL), cells, TOY, tmp_path)
    text, facts = table.read_text(encoding="utf-8"), read_sidecar(picture)
    assert (table.name, picture.name) == ("meanflow.md", "meanflow.png")
    assert f"| 11. {paper.CLAIMS[11]} | **agrees** |" in text
    changes = {"patch4": "-6.2%", "patch2": "-8.2%", "patch2-longer": "-7.8%", "larger": "-6.4%"}
    for name, change in changes.items():
        (line,) = [
            each for each in text.splitlines()
            if each.startswith(f"| {paper.name_of(f'meanflow-{name}-infonce-l2')} (MF-")
        ]  # fmt: skip
        assert f" | {change} | 1.01 ± 0.03 | -49% [-51%, -48%] | improves |" in line
        assert line.endswith("| 3 |")
    # Alone the first control does better than the term, the other one hurts.
    long, half = [line for line in text.splitlines() if line.startswith("| MeanFlow, patch 2, ") and
                  ("tokens" in line or "rate" in line) and "%" in line]  # fmt: skip
    assert "-75%" in long
    assert "+100% [+100%, +100%] | worse | 3 |" in long
    assert "-67% [-67%, -67%] | improves | 3 |" in half
    (claim,) = facts["claims"]
    assert len(claim["parts"]) == 4
    assert facts["against_controls"]["meanflow-long"]["value"] == pytest.approx(math.log(2))
    assert facts["protocol"]["num_steps"] == 1
    assert facts["protocol"]["solver"] == "meanflow"
    assert {run["label"] for run in facts["runs"]} == {cell.label for cell in cells}


def test_the_table_tells_the_length_of_features_and_the_pull_of_the_term(tmp_path: Path) -> None:
    cells = cells_of(0, 1)
    rms = {"meanflow-patch2-infonce-l2": 4.0, "meanflow-long": 5.0}
    table, picture = draw_meanflow(evaluated(cells, GOOD, rms), cells, TOY, tmp_path)
    measured = read_sidecar(picture)["features"]
    assert measured["meanflow-patch2-infonce-l2"]["rms"]["value"] == 4.0 + 0.5
    assert measured["meanflow-long"]["rms"]["value"] == 5.0 + 0.5
    assert {label for label, means in measured.items() if "gradient_ratio" in means} == set(GOOD)
    lines = table.read_text(encoding="utf-8").splitlines()
    assert "| MeanFlow, patch 2, tokens × 4 | 5.50 ± 0.00 | 10.0 ± 0.0 | 0.09 ± 0.00 |  | 2 |" in lines


def test_an_early_measure_over_more_seeds_than_the_end_says_so(tmp_path: Path) -> None:
    """The longer row is the same run: its first milestone is there in every seed of the shorter one."""
    cells = cells_of(0, 1, 2)
    pool = [r for r in evaluated(cells, GOOD) if r["step"] < 3 * TOY.num_steps or r["seed"] == 0]
    table, picture = draw_meanflow(pool, cells, TOY, tmp_path)
    measured = read_sidecar(picture)["features"]["meanflow-patch2-longer-infonce-l2"]
    assert (measured["rms"]["n"], measured["gradient_ratio"]["n"]) == (1, 3)
    (line,) = [
        line for line in table.read_text(encoding="utf-8").splitlines()
        if line.startswith("| MeanFlow, patch 2, longer, InfoNCE ℓ2 |")
    ]  # fmt: skip
    assert line.endswith("| 0.0100 ± 0.0000, n = 3 | 1 |")


def test_the_picture_shows_rows_in_pairs_and_controls_in_a_hue_of_their_own() -> None:
    cells = cells_of(0, 1)
    rows = compare(evaluated(cells, GOOD | CONTROL), cells, TOY)
    left, right = meanflow_figure(rows, floor=0.3).axes
    dots = [bar.lines[0] for bar in left.containers]
    assert len(dots) == 4 * 2 + 2
    control = KINDS["control"][0]
    assert control not in (KINDS["baseline"][0], KINDS["infonce-l2"][0])
    apart = {dot.get_ydata()[0]: dot.get_xdata()[0] for dot in dots if dot.get_color() == control}
    assert set(apart) == {PLACES[label] for label in CONTROLS}
    assert apart[PLACES["meanflow-lr-half"]] == pytest.approx(3.0, rel=0.01)
    assert all(dot.get_markerfacecolor() != "white" for dot in dots)  # hollow is one seed
    changes = {bar.lines[0].get_ydata()[0]: bar.lines[0].get_xdata()[0] for bar in right.containers}
    assert changes[PLACES["patch4"]] == pytest.approx(-50 * 0.99, abs=0.3)
    assert changes[PLACES["meanflow-lr-half"]] == pytest.approx(51, abs=0.5)
    assert min(PLACES[label] for label in CONTROLS) - max(PLACES[name] for name in paper.MEANFLOW_FID) > 1.2
    dots = [c.get_offsets() for c in right.collections if isinstance(c, PathCollection)]
    diamonds = {float(y): round(float(x), 1) for ((x, y),) in (place for place in dots if len(place))}
    assert [diamonds[y] for y in sorted(diamonds)] == [-6.2, -8.2, -7.8, -6.4]
    assert left.get_ylim() == right.get_ylim()


def test_one_seed_has_no_interval_and_no_verdict(tmp_path: Path) -> None:
    cells = cells_of(0)
    table, picture = draw_meanflow(evaluated(cells, GOOD | CONTROL), cells, TOY, tmp_path)
    text = table.read_text(encoding="utf-8")
    assert "**can't tell**" in text
    assert text.count("(one seed)") == 4 + 2 * 2
    assert "| improves |" not in text
    changes = [row["change"] for row in read_sidecar(picture)["rows"] if row["change"]]
    assert len(changes) == 6
    assert all(change["low"] is None and change["n"] == 1 for change in changes)
    figure = meanflow_figure(compare(evaluated(cells, GOOD), cells, TOY))
    marks = [bar.lines[0] for ax in figure.axes for bar in ax.containers]
    assert all(dot.get_markerfacecolor() == "white" for dot in marks)
    assert figure.legends[0].get_title().get_text() == "one seed, no interval"


def test_what_is_not_trained_says_so_and_the_legend_has_what_is_drawn() -> None:
    cells = cells_of(0, 1)
    pool = [r for r in evaluated(cells, GOOD) if "patch2-" in r["name"] and "longer" not in r["name"]]
    figure = meanflow_figure(compare([r for r in pool if r["step"] <= TOY.num_steps], cells, TOY))
    left = figure.axes[0]
    said = {text.xy[1] for text in left.texts if text.get_text() == "not trained"}
    assert said == {place for name, place in PLACES.items() if name != "patch2"}
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["baseline", "InfoNCE, ℓ2", "paper (FID, ImageNet)"]


def test_numbers_of_seeds_stand_where_they_differ() -> None:
    cells = cells_of(0, 1)
    pool = [r for r in evaluated(cells, GOOD) if "larger-infonce" not in r["name"] or r["seed"] == 0]
    left, right = meanflow_figure(compare(pool, cells, TOY)).axes
    assert not left.texts
    assert not right.texts
    names = {name: label.get_text() for name, label in zip(PLACES, left.get_yticklabels(), strict=True)}
    assert names["larger"] == "larger\nn = 2, 1"
    assert names["patch4"] == "patch 4\nn = 2"
    assert left.get_ylabel() == "(n of baseline and InfoNCE, ℓ2)"
    counts = {name: label.get_text() for name, label in zip(PLACES, right.get_yticklabels(), strict=True)}
    assert counts == {name: "n = 1" if name == "larger" else "n = 2" for name in PLACES}
    whole = meanflow_figure(compare(evaluated(cells, GOOD), cells, TOY)).axes
    assert not any("n = " in label.get_text() for ax in whole for label in ax.get_yticklabels())


def test_without_guidance_nothing_stands_under_it(tmp_path: Path) -> None:
    """A MeanFlow model is sampled at guidance 1, which is none."""
    cells = cells_of(0, 1)
    table, picture = draw_meanflow(evaluated(cells, GOOD), cells, TOY, tmp_path)
    lines = table.read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if "(MF-" in line and line.startswith("| ")]
    assert len(rows) == 8
    assert all(line.endswith("|  | 2 |") for line in rows)
    assert all(r["metrics"]["guided_agreement"]["value"] is None for r in read_sidecar(picture)["rows"])


@pytest.mark.parametrize(
    "gone", ["meanflow-l", "patch", "infonce-l2", "patch2-baseline", "patch2-infonce", ""]
)
def test_what_is_not_there_is_left_out(tmp_path: Path, gone: str) -> None:
    cells = cells_of(0, 1)
    lost = {cell.spec.fingerprint for cell in cells if gone in cell.label}  # the longer row is the same run
    left = [cell for cell in cells if cell.spec.fingerprint not in lost]
    asked = left if gone == "patch" else cells
    table, picture = draw_meanflow(evaluated(left, GOOD), asked, TOY, tmp_path)
    text, facts = table.read_text(encoding="utf-8"), read_sidecar(picture)
    assert "nan" not in text
    json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert "**agrees**" not in text or gone == "meanflow-l"
    assert ("The controls aren't there yet." in text) == (gone in ("meanflow-l", ""))
    controls = {cell.label for cell in left if cell.label in CONTROLS}
    assert {row["label"] for row in facts["rows"]} >= controls
    assert facts["against_controls"].keys() == (
        controls if any(c.label == "meanflow-patch2-infonce-l2" for c in left) else set()
    )


def test_a_run_that_is_not_at_its_end_has_no_row() -> None:
    cells = cells_of(0, 1)
    pool = [r for r in evaluated(cells, GOOD) if r["step"] < 3 * TOY.num_steps]
    labels = {entry.label for entry in compare(pool, cells, TOY)}
    assert "meanflow-patch2-infonce-l2" in labels
    assert "meanflow-patch2-longer-infonce-l2" not in labels


def test_an_interval_that_begins_below_zero_has_an_arrow_at_the_axis() -> None:
    """On a logarithmic axis its end can't be shown."""

    def arrows(fds: list[float]) -> int:
        cells = [c for c in item("meanflow", "toy", (0, 1, 2)) if c.label == "meanflow-patch2-baseline"]
        pool = [record(c.spec, c.spec.num_steps, TOY.protocol_of("meanflow"), fd=fd)
                for c, fd in zip(cells, fds, strict=True)]  # fmt: skip
        left, _ = meanflow_figure(compare(pool, cells, TOY)).axes
        return sum(line.get_marker() == "<" for line in left.lines)

    assert arrows([0.5, 0.6, 1.5]) == 1
    assert arrows([0.5, 0.51, 0.52]) == 0
