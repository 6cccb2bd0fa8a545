"""Differences are paired, overfitting is told from less fitting, and what isn't there is left out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes

from disperse.data import digits
from disperse.errors import DisperseError
from disperse.evaluation import mean_over_seeds
from disperse.experiments import PROFILES, Cell, item, run_folder
from disperse.figures import draw_beyond_fid, draw_nearest, nearest_figure, read_sidecar
from disperse.figures.beyond_fid import beyond_fid_figure, quality_frame
from disperse.figures.levels import level_frame, looked_at
from disperse.figures.nearest import REAL, find_nearest
from disperse.figures.overfitting import conclusion, overfitting
from disperse.figures.sections import SECTIONS
from disperse.figures.seeds import PAIR
from disperse.figures.theme import COLORS
from disperse.store import Record, seal
from disperse.training import train

from ..experiments.cases import TOY, record, toy  # noqa: F401  (a fixture)
from .looked import looked

ROW = PROFILES["smoke"]


def cells(seeds: tuple[int, ...] = (0, 1, 2)) -> list[Cell]:
    return item("pair", "smoke", seeds) + item("scale_of_effect", "smoke", seeds)


def quality(seeds: tuple[int, ...] = (0, 1, 2)) -> list[Record]:
    """With the term, precision is 0.1 higher in every seed, recall 0.1 lower, agreement the same."""
    found = []
    for cell in item("pair", "smoke", seeds):
        for step in (20, 40):
            made = record(cell.spec, step, ROW.protocol)
            shift = 0.1 * bool(cell.spec.regularizers)
            noise = 0.01 * cell.spec.seed
            metrics = made["metrics"]
            metrics["precision"]["value"] += shift + noise + 0.001 * cell.spec.seed * bool(shift)
            metrics["recall"]["value"] -= shift + noise
            found.append(seal(made))
    return found


def against(seeds: tuple[int, ...] = (0, 1, 2)) -> list[Record]:
    """On few images the term cures the small network and starves the other; on all it does nothing."""
    found = []
    for cell in cells(seeds):
        few, small = ":" in cell.spec.data, "Pico" in cell.spec.model
        own, noise = bool(cell.spec.regularizers), 0.001 * cell.spec.seed
        seen, unseen = 1.0, (1.5 if few else 1.1) + noise
        if own and few:
            seen, unseen = (1.05, 1.4 + noise / 2) if small else (1.3, 1.7 + noise / 2)
        near = (0.9 if few else 0.6) - 0.1 * (own and few) + 0.01 * cell.spec.seed
        found.append(looked(cell, ROW, near=near, seen_loss=seen, unseen_loss=unseen))
    return found


def places_of(made: list[Record], seeds: tuple[int, ...] = (0, 1, 2)) -> dict[tuple[str, int], dict]:
    found = overfitting(level_frame(looked_at(made, cells(seeds), ROW)), ROW)
    return {(place["model"], place["images"]): place for place in found}


def test_what_is_drawn_and_written_is_what_was_measured(tmp_path: Path) -> None:
    table, picture = draw_beyond_fid(quality(), against(), cells(), ROW, tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")
    facts, text = read_sidecar(picture), table.read_text()
    assert facts["changes"]["precision"]["difference"]["value"] == pytest.approx(0.101)
    assert facts["changes"]["recall"]["difference"] == {**facts["changes"]["recall"]["difference"], "n": 3}
    assert "| precision | 0.51 ± 0.02 | 0.61 ± 0.03 | +10.1 [+9.9, +10.3] | improves | 3 |" in text
    assert "-10.0 [-10.0, -10.0] | worse | 3 |" in text
    assert [(p["model"], p["images"], p["so"]) for p in facts["places"]] == [
        ("SiT-Pico/2", 100, "less overfitting"), ("SiT-Nano/2", 100, "less fitting"),
        ("SiT-Nano/2", 1297, "can't tell"),
    ]  # fmt: skip
    assert "| SiT-Pico | 100 |" in text
    assert "**less overfitting** | 3 |" in text
    assert {run["label"] for run in facts["runs"]} == {"baseline", "infonce-l2"}
    assert len(facts["looked_at"]) == 18
    assert {entry["step"] for entry in facts["curves"]} == {20, 40}


def test_places_hold_paired_differences() -> None:
    place = places_of(against())["SiT-Nano/2", 100]
    assert place["near"]["baseline"].value == pytest.approx(0.91)
    assert place["near_difference"].value == pytest.approx(-0.1)
    assert place["gap"]["baseline"].value == pytest.approx(0.501)
    assert place["gap_difference"].value == pytest.approx(0.4005 - 0.501)
    assert place["seen_change"].value == pytest.approx(np.log(1.3))
    assert place["copies"] == 1
    assert set(place["gap_by_group"]) == {"low", "middle", "high"}
    whole = places_of(against())["SiT-Nano/2", 1297]
    assert 0.6 < whole["copies"] < 0.75


@pytest.mark.parametrize(
    ("gap", "unseen", "so"),
    [
        (-1, -1, "less overfitting"),
        (-1, 1, "less fitting"),
        (1, 1, "more overfitting"),
        (1, -1, "more fitting"),
        (0, -1, "can't tell"),
        (-1, 0, "can't tell"),
    ],
)
def test_a_closed_gap_is_a_cure_only_where_unseen_images_gain(gap: int, unseen: int, so: str) -> None:
    estimates = [mean_over_seeds([sign - 0.1, sign + 0.1, sign]) for sign in (gap, unseen)]
    assert conclusion(*estimates) == so
    assert conclusion(mean_over_seeds([-1.0]), mean_over_seeds([-1.0])) == "can't tell"  # one seed
    assert conclusion(None, estimates[1]) == ""


def test_one_seed_has_no_interval_and_no_verdict(tmp_path: Path) -> None:
    table, picture = draw_beyond_fid(quality((0,)), against((0,)), cells((0,)), ROW, tmp_path)
    text = table.read_text()
    assert "+10.0 (one seed) | can't tell | 1 |" in text
    assert "improves |" not in text
    assert "less overfitting** |" not in text
    assert read_sidecar(picture)["places"][0]["gap_difference"]["low"] is None


@pytest.mark.parametrize("there", ["pair", "baseline", "subsets", "quality", "nothing"])
def test_missing_runs_are_left_out(there: str, tmp_path: Path) -> None:
    pair = {cell.spec.fingerprint for cell in item("pair", "smoke", (0, 1, 2))}
    made = {
        "pair": [r for r in against() if r["fingerprint"] in pair],
        "baseline": [r for r in against() if r["name"] == "baseline"],
        "subsets": [r for r in against() if r["fingerprint"] not in pair],
    }.get(there, [])
    pool = [] if there == "nothing" else quality()
    table, picture = draw_beyond_fid(pool, made, cells(), ROW, tmp_path)
    facts = read_sidecar(picture)
    json.dumps(facts, allow_nan=False)
    assert len(facts["places"]) == {"pair": 1, "baseline": 1, "subsets": 2}.get(there, 0)
    assert table.read_text().startswith("Not measured." if there == "nothing" else "| at the end |")
    if there == "baseline":
        assert facts["places"][0]["gap_difference"] is None
        assert facts["places"][0]["so"] == ""


def test_what_was_not_measured_is_left_out(tmp_path: Path) -> None:
    """As with an external reference: no nearest images, no unseen ones, no guided samples."""
    pool = quality()
    for made in pool:
        del made["metrics"]["guided_agreement"]
    made = [looked(cell, ROW, near=None, unseen_loss=None) for cell in cells()]
    table, _ = draw_beyond_fid(pool, made, cells(), ROW, tmp_path)
    text = table.read_text()
    assert "| guided agreement |" not in text
    assert "nan" not in text
    assert "| SiT-" not in text
    figure = beyond_fid_figure(quality_frame(pool, cells(), ROW), list(places_of(made).values()), ROW)
    for ax in figure.axes[3:]:
        assert "not measured" in [note.get_text() for note in ax.texts]


def test_lines_are_those_of_the_runs() -> None:
    places = list(places_of(against()).values())
    figure = beyond_fid_figure(quality_frame(quality(), cells(), ROW), places, ROW)
    ends, near, unseen = figure.axes[2], figure.axes[3], figure.axes[5]
    drawn = [line.get_xdata()[0] for line in ends.lines if line.get_marker() == "o"]
    assert drawn == pytest.approx([10.1, -10, 0, 0])
    assert near.containers[0].lines[0].get_ydata() == pytest.approx([0.91, 0.61])
    assert {note.get_text() for note in near.texts} == {"real images", "nothing but copies", "nothing copied"}
    assert [tick.get_text() for tick in near.get_xticklabels()] == ["100\nn = 3", "1297\nn = 3"]
    assert ends.get_yticklabels()[0].get_text() == "precision\n(3 seeds)"
    assert figure.axes[0].get_xlabel() == "training step (3 seeds)"
    assert [text.get_text() for text in unseen.get_legend().get_texts()] == ["SiT-Pico", "SiT-Nano"]
    assert unseen.containers[0].lines[0].get_ydata()[0] < 0 < unseen.containers[1].lines[0].get_ydata()[0]


def panels(made: list[Record]) -> list[Axes]:
    places = list(places_of(made).values())
    return beyond_fid_figure(quality_frame(quality(), cells(), ROW), places, ROW).axes


def test_a_single_seed_is_hollow_and_the_line_goes_on() -> None:
    few = [r for r in against() if r["name"] in PAIR or ("nano" in r["name"] and r["seed"] == 0)]
    *_, near, gap, unseen = panels(few)
    for ax, terms in ((near, 2), (gap, 2), (unseen, 1)):
        assert [len(bars.lines[0].get_xdata()) for bars in ax.containers] == [1, 1] * terms
        faces = [bars.lines[0].get_markerfacecolor() for bars in ax.containers]
        assert faces[::2] == ["white"] * terms
        assert "white" not in faces[1::2]
        assert [tick.get_text() for tick in ax.get_xticklabels()] == ["100\nn = 1", "1297\nn = 3"]
        if terms == 2:
            through = [
                line for line in ax.lines if line.get_marker() == "None" and len(line.get_xdata()) == 2
            ]
            assert {line.get_color() for line in through} >= {COLORS[term] for term in PAIR}
    assert all(len(bars.lines[0].get_xdata()) == 2 for bars in panels(against())[4].containers)


def test_networks_are_told_apart_without_lines() -> None:
    unseen = panels(against())[5]
    sizes = [bars.lines[0].get_markersize() for bars in unseen.containers]
    assert sizes == sorted(set(sizes))
    assert [handle.get_markersize() for handle in unseen.get_legend().legend_handles] == sizes


def test_gaps_are_on_a_logarithmic_axis_where_all_are_positive() -> None:
    assert panels(against())[4].get_yscale() == "log"
    negative = [looked(cell, ROW, seen_loss=1.0, unseen_loss=0.9) for cell in cells()]
    assert panels(negative)[4].get_yscale() == "linear"


def test_nothing_copied_is_written_beside_the_diamonds() -> None:
    (note,) = (note for note in panels(against())[3].texts if note.get_text() == "nothing copied")
    assert 150 < note.xy[0] < 1000  # between 100 and 1297 images


def test_published_the_first_table_has_every_seed_and_the_others_those_looked_at(tmp_path: Path) -> None:
    (section,) = (section for section in SECTIONS if section.notebook == "beyond_fid")
    pool, seeds = [*quality(), *against((0, 1))], (0, 1, 2)
    table, picture = section.draw(pool, section.cells(pool, ROW, seeds), ROW, tmp_path)
    first, *others = table.read_text().split("\n\n")
    assert all(line.endswith("| 3 |") for line in first.splitlines()[2:])
    rows = [line for part in others for line in part.splitlines() if line.startswith(("| SiT", "| 1"))]
    assert rows
    assert all(line.endswith("| 2 |") for line in rows)
    facts = read_sidecar(picture)
    assert facts["changes"]["precision"]["difference"]["n"] == 3
    assert {run["seed"] for run in facts["looked_at"]} == {0, 1}


def test_nearest_pairs_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("disperse.figures.nearest.ROWS", 7)  # several parts
    training = digits("train").images[:30]
    images = torch.stack([training[20] + 0.5, training[3], -training[5]])
    found = find_nearest(images, training)
    assert found.order[:2].tolist() == [1, 0]
    assert found.difference[0] == 0
    assert torch.equal(found.twins[0], training[3])
    brute = [(image - training).square().mean(dim=(1, 2, 3)).sqrt().min().item() for image in images]
    assert found.difference.tolist() == pytest.approx(sorted(brute), rel=1e-6)


def test_the_nearest_are_shown_with_held_out_images_beside(toy: object, store: Path) -> None:  # noqa: F811
    with pytest.raises(DisperseError):
        draw_nearest(TOY, store)  # not trained here
    for cell in item("pair", "toy", (0,)):
        train(cell.spec.replace(device="cpu"), run_folder(cell.spec), progress=False)
    picture = draw_nearest(TOY, store, num=3)
    facts = read_sidecar(picture)
    assert picture == store / "nearest.png"
    assert list(facts["shown"]) == [REAL, "baseline", "infonce-l2"]
    assert facts["n"] == TOY.num_samples
    for label, values in facts["differences"].items():
        assert values == sorted(values)
        assert facts["shown"][label] == values[:3]
        assert len(values) == TOY.num_samples
    assert min(facts["differences"][REAL]) > 0  # no held-out image is one of training


def test_each_pair_has_its_number() -> None:
    training, unseen = digits("train").images[:200], digits("held-out").images[:20]
    figure = nearest_figure({REAL: find_nearest(unseen, training)}, num=4)
    numbers = [float(t.get_text()) for t in figure.axes[0].texts if t.get_text()[0].isdigit()]
    assert len(numbers) == 4
    assert numbers == sorted(numbers)
