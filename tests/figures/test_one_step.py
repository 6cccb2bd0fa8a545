"""Few network evaluations: what is counted, compared and said."""

import math
from pathlib import Path

import pytest

from disperse.experiments import LOOKS, PROFILES, item
from disperse.experiments.items import Cell
from disperse.experiments.published_systems import ONE_STEP
from disperse.figures import COLORS, draw_one_step, read_sidecar
from disperse.figures.by_system import changes
from disperse.figures.one_step import few_steps_frame, one_step_figure, one_step_markdown, shifts
from disperse.models import preset
from disperse.models.flops import num_parameters
from disperse.store import Record

from ..experiments.cases import record

ROW = PROFILES["smoke"]


def made_up(seeds: tuple[int, ...] = (0, 1)) -> tuple[list[Record], list[Cell]]:
    """Evaluations that fall with the steps; the term costs SiT a tenth and gains MeanFlow a tenth."""
    cells = [cell for name in ("pair", "systems_tour") for cell in item(name, "smoke", seeds)]
    looked = []
    for cell in cells:
        kind, term = cell.spec.objective.kind, bool(cell.spec.regularizers)
        factor = (0.9 if kind == "meanflow" else 1.1) if term else 1 + cell.spec.seed / 10
        factor *= 1 + cell.spec.seed / 10 if term else 1
        for protocol in LOOKS["one_step"].protocols(ROW, kind):
            fd = factor * (0.3 + 8 / protocol.num_steps)
            looked.append(record(cell.spec, cell.spec.num_steps, protocol, fd=fd))
    return looked, cells


def test_every_number_of_evaluations_is_there() -> None:
    frame = few_steps_frame(*made_up(), ROW)
    counts = {system: sorted(set(runs.NFE)) for system, runs in frame.groupby("system")}
    assert counts == {"SiT": [1, 2, 4, 8, 16], "MeanFlow": [1, 2, 4]}  # DiT has none
    assert len(frame) == (5 + 3) * 2 * 2


def test_changes_are_paired() -> None:
    found = changes(few_steps_frame(*made_up(), ROW), "NFE")
    assert {key: each.value for key, each in found.items()} == {
        ("SiT", n): pytest.approx(math.log(1.1)) for n in (1, 2, 4, 8, 16)
    } | {("MeanFlow", n): pytest.approx(math.log(0.9)) for n in (1, 2, 4)}


def test_one_step_is_tested_against_several_within_a_seed(tmp_path: Path) -> None:
    """The term gains MeanFlow a fifth in one step and a tenth in more; what all steps share is paired away."""
    looked, cells = made_up((0, 1, 2))
    term = {c.spec.fingerprint for c in cells if c.label == "meanflow-infonce-l2"}
    for number, entry in enumerate(looked):
        if entry["fingerprint"] in term and entry["protocol"]["num_steps"] == 1:
            entry["metrics"]["fd"]["value"] *= 8 / 9 * (1 + number / 1e4)
    found = shifts(few_steps_frame(looked, cells, ROW))
    assert list(found) == [(1, 2), (1, 4)]
    for each in found.values():
        assert each.value == pytest.approx(math.log(8 / 9), abs=0.02)
        assert each.low < each.value < each.high < 0
        assert each.n == 3
    table, picture = draw_one_step(looked, cells, ROW, tmp_path)
    lines = [line for line in table.read_text().splitlines() if line.startswith("| 1 step |")]
    assert [line.split(" | ")[1] for line in lines] == ["2 steps", "4 steps"]
    assert all(line.endswith("| yes | 3 |") for line in lines)
    facts = read_sidecar(picture)["shifts"]
    assert [(each["nfe"], each["against"], each["n"]) for each in facts] == [(1, 2, 3), (1, 4, 3)]


def test_one_seed_tells_no_difference_between_steps(tmp_path: Path) -> None:
    looked, cells = made_up((0,))
    table, _ = draw_one_step(looked, cells, ROW, tmp_path)
    lines = [line for line in table.read_text().splitlines() if line.startswith("| 1 step |")]
    assert all(line.endswith("(one seed) | can't tell | 1 |") for line in lines)
    table, _ = draw_one_step([], cells, ROW, tmp_path)
    assert "| 1 step |" not in table.read_text()


def test_where_seeds_differ_the_ticks_say_so() -> None:
    frame = few_steps_frame(*made_up(), ROW)
    part = frame[(frame.seed == 0) | (frame.NFE < 8) | (frame.term != "baseline")]
    ours = one_step_figure(part, 0.1).axes[1]
    lengths = [len(line.get_xdata()) for line in ours.lines
               if line.get_color() == COLORS["baseline"] and line.get_linestyle() == "-"
               and line.get_marker() == "None"]  # fmt: skip
    assert [n for n in lengths if n] == [5]
    assert {text.get_text() for text in ours.texts} == {"real against real"}
    ticks = [label.get_text() for label in ours.get_xticklabels()]
    assert ticks == ["1\nn = 2", "2\nn = 2", "4\nn = 2", "8\nn = 1–2", "16\nn = 1–2"]


def test_table_and_sidecar(tmp_path: Path) -> None:
    table, picture = draw_one_step(*made_up(), ROW, tmp_path)
    text = table.read_text()
    for system in ONE_STEP:
        assert f"| {system.name} | {system.parameters}M | {system.steps} | {system.nfe} |" in text
    lines = text.splitlines()
    sit = next(line for line in lines if line.startswith("| SiT, with InfoNCE ℓ2 | 16 |"))
    meanflow = next(line for line in lines if line.startswith("| MeanFlow, with InfoNCE ℓ2 | 1 |"))
    assert "| worse |" in sit
    assert "| improves |" in meanflow
    assert sit.endswith("| 2 |")
    assert "1 step, 1 NFE, no guidance" in text
    assert "aren't built here" in " ".join(text.split())
    facts = read_sidecar(picture)
    assert len(facts["changes"]) == 8
    assert len(facts["means"]) == 4 * 16
    assert len(facts["values"]) == 32
    assert facts["published"]["IMM-XL/2"] == 7.77


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    looked, cells = made_up((0,))
    table, picture = draw_one_step(looked, cells, ROW, tmp_path)
    assert "+10% (one seed) | can't tell |" in table.read_text()
    assert all(mean["low"] is None and mean["n"] == 1 for mean in read_sidecar(picture)["means"])
    bars = one_step_figure(few_steps_frame(looked, cells, ROW), 0.1).axes[1].containers
    assert bars
    assert not any(bar.has_yerr for bar in bars)
    assert all(bar[0].get_markerfacecolor() == "white" for bar in bars)  # hollow


def test_missing_runs_are_left_out(tmp_path: Path) -> None:
    looked, cells = made_up()
    lost = next(c.spec.fingerprint for c in cells if c.label == "baseline" and c.spec.seed == 1)
    frame = few_steps_frame([r for r in looked if r["fingerprint"] != lost], cells, ROW)
    assert changes(frame, "NFE")["SiT", 1].n == 1
    lines = one_step_markdown(frame, "").splitlines()
    assert next(line for line in lines if "SiT, baseline | 1 |" in line).endswith("| 1 |")
    assert "(one seed) | can't tell |" in next(line for line in lines if "SiT, with InfoNCE ℓ2 | 1 |" in line)
    only = [cell for cell in cells if cell.label == "meanflow-infonce-l2"]
    table, _ = draw_one_step(looked, only, ROW, tmp_path)
    assert "| MeanFlow, with InfoNCE ℓ2 | 1 |" in table.read_text()
    assert "baseline |" not in table.read_text()
    table, picture = draw_one_step([], cells, ROW, tmp_path)
    assert "iCT-XL/2" in table.read_text()
    assert read_sidecar(picture)["values"] == []


def test_an_interval_below_zero_is_drawn_on_the_log_axis() -> None:
    frame = few_steps_frame(*made_up(), ROW)
    frame.loc[frame.seed == 1, "fd"] *= 9
    right = one_step_figure(frame, 0.1).axes[1]
    low, high = right.get_ylim()
    assert 0 < low < 0.1
    assert high > frame.fd.max() / 2


def test_the_picture_has_every_published_system_and_a_tick_for_every_count() -> None:
    left, right = one_step_figure(few_steps_frame(*made_up(), ROW), 0.1).axes
    assert [float(dots.get_offsets()[0][0]) for dots in left.collections] == [s.fid.value for s in ONE_STEP]
    assert list(right.get_xticks()) == [1, 2, 4, 8, 16]
    assert "real against real" in [text.get_text() for text in right.texts]


def test_published_sizes_are_those_of_our_presets() -> None:
    counted = {name: round(num_parameters(preset(name).config) / 1e6) for name in ("SiT-XL/2", "MF-XL/2")}
    for system in ONE_STEP:
        if system.name.startswith("MeanFlow"):
            # Counted 676.7M, printed as 676M.
            assert system.parameters == counted["MF-XL/2"] - 1
        else:
            assert system.parameters == counted["SiT-XL/2"]
