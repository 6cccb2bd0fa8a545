"""Systems without and with guidance: what is compared, and what is said where little is there."""

import math
from pathlib import Path

import numpy as np
import pytest

from disperse.experiments import LOOKS, PROFILES, item, seen_by
from disperse.experiments.items import Cell
from disperse.experiments.published_systems import SYSTEMS, system_change
from disperse.figures import draw_guided, read_sidecar
from disperse.figures.guided import effects, guided_figure, guided_frame, guided_markdown, published_markdown
from disperse.models import preset
from disperse.models.flops import num_parameters
from disperse.store import Record

from ..experiments.cases import record

ROW = PROFILES["smoke"]
# The term costs a tenth without guidance and gains a tenth with it, give or take a hundredth by seed.
FD = {(False, 1.0): 2.0, (True, 1.0): 2.2, (False, 1.5): 1.0, (True, 1.5): 0.9}


def made_up(seeds: tuple[int, ...] = (0, 1, 2)) -> tuple[list[Record], list[Record], list[Cell]]:
    """Evaluations of SiT, DiT and MeanFlow, without and with guidance where they can be."""
    cells = [cell for name in ("pair", "systems_tour") for cell in item(name, "smoke", seeds)]
    pool, looked = [], []
    for cell in cells:
        kind, end = cell.spec.objective.kind, cell.spec.num_steps
        noise = 1 + cell.spec.seed / 100 * bool(cell.spec.regularizers)
        fd = {g: noise * FD[bool(cell.spec.regularizers), g] for g in (1.0, 1.5)}
        pool.append(record(cell.spec, end, ROW.protocol_of(kind), fd=fd[1.0]))
        looked += [record(cell.spec, end, p, fd=fd[1.5]) for p in LOOKS["systems"].protocols(ROW, kind)]
    return pool, looked, cells


def test_runs_are_compared_that_are_evaluated_both_ways() -> None:
    pool, looked, cells = made_up()
    frame = guided_frame(pool, looked, cells, ROW)
    assert set(frame.system) == {"SiT", "DiT"}  # MeanFlow has its guidance learned
    assert len(frame) == 2 * 2 * 3 * 2
    gone = {c.spec.fingerprint for c in cells if c.label == "baseline" and c.spec.seed == 1}
    assert len(guided_frame(pool, [r for r in looked if r["fingerprint"] not in gone], cells, ROW)) == 22
    assert len(guided_frame([r for r in pool if r["fingerprint"] not in gone], looked, cells, ROW)) == 22
    early = [cell for cell in cells if not seen_by("systems", pool, cell, ROW)]
    assert early == cells  # an unguided evaluation never stands for a guided one


def test_effects_are_paired_and_the_shift_is_their_difference() -> None:
    found = effects(guided_frame(*made_up(), ROW))
    noise = np.mean(np.log([1, 1.01, 1.02]))
    for system in ("SiT", "DiT"):
        assert found.term[system, 1.0].value == pytest.approx(math.log(1.1) + noise)
        assert found.term[system, 1.5].value == pytest.approx(math.log(0.9) + noise)
        assert found.guidance[system, "baseline"].value == pytest.approx(math.log(0.5))
        assert found.guidance[system, "infonce-l2"].value == pytest.approx(math.log(0.9 / 2.2))
        assert found.shift[system].value == pytest.approx(math.log(0.9 / 1.1))  # the noise is paired away
        assert found.shift[system].n == 3


def test_the_table_says_verdict_seeds_and_protocol() -> None:
    frame = guided_frame(*made_up(), ROW)
    table = guided_markdown(frame, effects(frame), "the card")
    lines = table.splitlines()
    assert next(line for line in lines if "SiT, with InfoNCE ℓ2 | none" in line).count("| worse |") == 1
    assert next(line for line in lines if "SiT, with InfoNCE ℓ2 | 1.5" in line).count("| improves |") == 1
    assert next(line for line in lines if line.startswith("| DiT |")).endswith("| improves | 3 |")
    assert "the card" in table
    assert "only signs" in table


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    pool, looked, cells = made_up((0,))
    table, picture = draw_guided(pool, looked, cells, ROW, tmp_path)
    text = table.read_text()
    assert "+10% (one seed) | can't tell" in text
    assert "± " not in text.split("Mean ±")[0]
    facts = read_sidecar(picture)
    assert facts["shifts"]["SiT"] == {**facts["shifts"]["SiT"], "low": None, "high": None, "n": 1}
    frame = guided_frame(pool, looked, cells, ROW)
    figure = guided_figure(frame, effects(frame), 0.1)
    bars = [container for ax in figure.axes for container in ax.containers]
    assert bars
    assert not any(bar.has_yerr or bar.has_xerr for bar in bars)
    assert all(bar[0].get_markerfacecolor() == "white" for bar in bars)  # hollow
    assert figure.legends[0].get_title().get_text() == "one seed, no interval"


def test_what_is_drawn_is_in_the_sidecar(tmp_path: Path) -> None:
    pool, looked, cells = made_up()
    table, picture = draw_guided(pool, looked, cells, ROW, tmp_path)
    assert (table.name, picture.name) == ("systems.md", "systems.png")
    assert published_markdown() in table.read_text()
    facts = read_sidecar(picture)
    assert facts["protocols"]["DiT"]["guidance"] == 1.5
    assert facts["noise_floor"] > 0
    assert len(facts["values"]) == 24
    assert {(c["system"], c["guidance"]) for c in facts["changes_by_term"]} == {
        (system, guidance) for system in ("SiT", "DiT") for guidance in (1.0, 1.5)
    }  # fmt: skip
    assert {m["metric"] for m in facts["means"]} == {"fd", "precision", "recall", "agreement"}
    assert all(len(v["fingerprint"]) == 12 and v["commit"] for v in facts["values"])


def test_missing_runs_are_left_out(tmp_path: Path) -> None:
    pool, looked, cells = made_up()
    sit = [cell for cell in cells if cell.label == "baseline"]
    table, _ = draw_guided(pool, looked, sit, ROW, tmp_path)
    assert "| SiT, baseline | 1.5 |" in table.read_text()
    assert "with InfoNCE" not in table.read_text()
    table, picture = draw_guided([], [], cells, ROW, tmp_path)
    assert published_markdown() in table.read_text()
    assert read_sidecar(picture)["values"] == []


def test_shares_stay_shares() -> None:
    frame = guided_frame(*made_up((0, 1)), ROW)
    frame["agreement"] = [1.0 if seed else 0.98 for seed in frame.seed]
    figure = guided_figure(frame, effects(frame), 0.1)
    tops = [segment[:, 1].max() for container in figure.axes[3].containers
            for segment in container.lines[2][0].get_segments()]  # fmt: skip
    assert max(tops) == 1.0


def test_numbers_of_seeds_stand_where_they_differ() -> None:
    pool, looked, cells = made_up()
    gone = {c.spec.fingerprint for c in cells if c.label == "dit-baseline" and c.spec.seed}
    frame = guided_frame(pool, [r for r in looked if r["fingerprint"] not in gone], cells, ROW)
    figure = guided_figure(frame, effects(frame), 0.1)
    distance, change, _, agreement = figure.axes
    counts = [label.get_text().partition("\n")[2] for label in change.get_yticklabels()]
    assert counts == [
        "n = 3",
        "n = 3",
        "n = 1",
        "n = 1",
        "system level",
    ]  # SiT, DiT, without and with guidance; paper
    for ax in (distance, agreement):
        ticks = [label.get_text() for label in ax.get_xticklabels()]
        assert ticks == ["none\nSiT\nn = 3", "1.5\nSiT\nn = 3", "none\nDiT\nn = 1, 3", "1.5\nDiT\nn = 1, 3"]
        assert ax.get_xlabel() == "guidance\n(n of baseline and with InfoNCE ℓ2)"
    assert figure.legends[0].get_title().get_text() == "95% where n > 1; hollow: one seed"
    whole = guided_frame(pool, looked, cells, ROW)
    axes = guided_figure(whole, effects(whole), 0.1).axes
    ticks = [label.get_text() for ax in axes for label in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    assert not any("n =" in text for text in ticks)


def test_the_papers_diamonds_stand_at_its_changes() -> None:
    frame = guided_frame(*made_up(), ROW)
    change = guided_figure(frame, effects(frame), 0.1).axes[1]
    drawn = [float(dots.get_offsets()[0][0]) for dots in change.collections if len(dots.get_offsets()) == 1
             and dots.get_paths()[0].vertices.shape[0] == 5]  # fmt: skip
    expected = [100 * (a / b - 1) for a, b in ((15.95, 18.46), (5.09, 6.02), (1.97, 2.06))]
    assert drawn == pytest.approx(expected)
    marks = [text.get_text() for text in change.texts]
    assert marks == ["[S]", "[P]", "[S]"]


def test_published_numbers_say_how_surely_they_are_known() -> None:
    assert system_change("80") is None
    printed = system_change("guided-disp")
    assert printed is not None
    assert (printed.source, printed.value) == ("P", pytest.approx(-0.1545, abs=1e-4))
    read = system_change("system-disp")
    assert read is not None
    assert read.source == "S"
    lines = [line for line in published_markdown().splitlines() if line.endswith("] |")]
    assert len(lines) == len(SYSTEMS)
    for line, system in zip(lines, SYSTEMS.values(), strict=True):
        assert f"| {system.fid.value:.2f} |" in line
        assert line.endswith(f"| [{system.fid.source}] |")
        assert ("not read" in line) == (None in (system.epochs, system.guidance, system.parameters))
    counted = round(num_parameters(preset("SiT-XL/2").config) / 1e6)
    assert {system.parameters for system in SYSTEMS.values()} == {counted, None}
