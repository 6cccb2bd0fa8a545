"""Has the change by the term converged? By grid and solver, paired by seed, of all runs and of some."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from disperse.evaluation import Protocol
from disperse.experiments import PROFILES, item
from disperse.experiments.looks import convergence
from disperse.figures import COLORS, draw_convergence, read_sidecar
from disperse.figures.sampler import (
    changes_by_term,
    convergence_figure,
    convergence_frame,
    drifts,
    relative_to_finest,
)
from disperse.store import Record

from ..experiments.cases import record

ROW = PROFILES["smoke"]  # Heun in 4 steps; the look takes 1 to 16, Euler twice as many
FINEST, CHOSEN = ("heun", 32), ("heun", 8)


def distance(protocol: Protocol, seed: int, *, term: bool) -> float:
    """Euler's from below, Heun's from above; the term costs a tenth on the finest grid, less on coarse ones."""
    finest, coarse = 2.0 + seed / 10, 1 / protocol.num_steps
    fd = finest * (1 + coarse if protocol.solver == "heun" else 1 - coarse / 4)
    return fd * (1.1 - 0.1 * (coarse - 1 / 16) * (protocol.solver == "heun") + 0.01 * seed if term else 1.0)


def evaluated(*seeds: int, labels: tuple[str, ...] = ("baseline", "infonce-l2")) -> list[Record]:
    return [
        record(cell.spec, cell.spec.num_steps, protocol,
               fd=distance(protocol, cell.spec.seed, term=cell.label == "infonce-l2"))
        for cell in item("pair", "smoke", seeds)
        for protocol in convergence(ROW, "sit")
        if cell.label in labels
    ]  # fmt: skip


def test_the_change_by_the_term_is_paired_at_every_grid() -> None:
    frame = convergence_frame(evaluated(0, 1))
    changes, moved = changes_by_term(frame), drifts(frame)
    assert len(changes) == len(moved) == 10
    assert changes[FINEST].value == pytest.approx(np.log([1.1, 1.11]).mean())
    assert (moved[FINEST].value, moved[FINEST].low) == (0.0, 0.0)
    own = [1.1 - 0.1 * (1 / 4 - 1 / 16) + 0.01 * seed for seed in (0, 1)]
    by_hand = [math.log(ratio / end) for ratio, end in zip(own, (1.1, 1.11), strict=True)]
    assert moved[CHOSEN].value == pytest.approx(np.mean(by_hand))
    assert moved[CHOSEN].n == 2
    assert moved["euler", 32].value == pytest.approx(0, abs=1e-12)  # other distances, the same change


def test_a_distance_is_compared_with_the_finest_grid_of_the_same_run() -> None:
    frame = relative_to_finest(convergence_frame(evaluated(0, 1)))
    for _, own in frame.groupby(["term", "seed"]):
        (end,) = own[(own.solver == "heun") & (own.nfe == 32)].fd
        assert own.change.tolist() == pytest.approx((own.fd / end - 1).tolist())


def test_colour_says_the_term_and_the_line_the_solver() -> None:
    left, right = convergence_figure(convergence_frame(evaluated(0, 1)), ROW).axes
    styles = {(line.get_color(), line.get_linestyle()) for line in left.lines if len(line.get_xdata()) == 5}
    grey, blue = COLORS["baseline"], COLORS["infonce-l2"]
    assert styles == {(color, line) for color in (grey, blue) for line in ("-", "--")}
    assert {c[0].get_color() for c in right.containers} == {blue}
    assert sorted(c[0].get_ydata()[0] for c in right.containers)[-1] == pytest.approx(10.5, abs=0.01)
    assert all(container.has_yerr for ax in (left, right) for container in ax.containers)
    for ax in (left, right):
        assert list(ax.get_xticks()) == [2, 4, 8, 16, 32]
        assert [line for line in ax.lines if list(line.get_xdata()) == [8, 8]]  # the profile's choice


def test_the_table_has_distances_changes_and_seeds(tmp_path: Path) -> None:
    picture = draw_convergence(evaluated(0, 1), ROW, tmp_path)
    lines = (tmp_path / "sampler.md").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.startswith(("| Heun", "| Euler"))]) == 10
    (finest,) = [line for line in lines if line.startswith("| Heun | 32 |")]
    assert "| 2.18 ± 0.68 | 0% [0%, 0%] |" in finest
    assert finest.endswith("| +10% [+4%, +17%] | 0% [0%, 0%] | 2 |")
    (chosen,) = [line for line in lines if line.startswith("| Heun | **8** |")]
    assert chosen.endswith("| -2% [-2%, -2%] | 2 |")
    assert "At the profile's choice (bold) by -2% [-2%, -2%], n = 2." in lines[-1]
    facts = read_sidecar(picture)
    assert len(facts["values"]) == 40
    assert {entry["term"] for entry in facts["over_finest"]} == {"baseline", "infonce-l2"}
    (moved,) = [e for e in facts["drifts"] if (e["solver"], e["nfe"]) == CHOSEN]
    assert moved["n"] == 2
    assert {run["label"] for run in facts["runs"]} == {"baseline", "infonce-l2"}


def test_the_baseline_alone_is_drawn_and_says_what_is_missing(tmp_path: Path) -> None:
    pool = evaluated(0, labels=("baseline",))
    picture = draw_convergence(pool, ROW, tmp_path)
    text = (tmp_path / "sampler.md").read_text(encoding="utf-8")
    assert text.count("| not evaluated |") == 10
    assert "whether its change has converged isn't known" in text
    assert "nan" not in text
    json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    left, right = convergence_figure(convergence_frame(pool), ROW).axes
    assert "isn't evaluated" in right.texts[0].get_text()
    assert not any(container.has_yerr for container in left.containers)
    assert [t.get_text() for t in left.figure.legends[0].get_texts()][:2] == ["baseline", "Heun"]


@pytest.mark.parametrize("kept", [slice(3, None), slice(0, 12), slice(10, None)])
def test_a_part_of_the_grids_is_drawn(tmp_path: Path, kept: slice) -> None:
    draw_convergence(evaluated(0)[kept], ROW, tmp_path)
    assert "nan" not in (tmp_path / "sampler.md").read_text(encoding="utf-8")


def test_what_stands_on_fewer_seeds_than_its_row_says_so(tmp_path: Path) -> None:
    """The finest grid lacks a seed of the term: what is compared with it has one seed less."""
    pool = [
        r for r in evaluated(0, 1, 2)
        if (r["name"], r["seed"], r["protocol"]["solver"], r["protocol"]["num_steps"]) != ("infonce-l2", 2, "heun", 16)
    ]  # fmt: skip
    picture = draw_convergence(pool, ROW, tmp_path)
    lines = (tmp_path / "sampler.md").read_text(encoding="utf-8").splitlines()
    (chosen,) = [line for line in lines if line.startswith("| Heun | **8** |")]
    cells = [cell.strip() for cell in chosen.split("|")[1:-1]]
    assert [cell.endswith(", n = 2") for cell in cells] == [False] * 5 + [True, False, True, False]
    assert cells[-1] == "3"
    (finest,) = [line for line in lines if line.startswith("| Heun | 32 |")]
    assert "n = " not in finest
    for ax, order in zip(
        convergence_figure(convergence_frame(pool), ROW).axes,
        ("baseline and with InfoNCE ℓ2", "Heun and Euler"),
        strict=True,
    ):
        assert [label.get_text() for label in ax.get_xticklabels()] == [
            "2\nn = 3",
            "4\nn = 3",
            "8\nn = 3",
            "16\nn = 3",
            "32\nn = 3, 2–3" if order.startswith("base") else "32\nn = 2, 3",
        ]
        assert f"(n of {order})" in ax.get_xlabel()
        assert not any("n = " in text.get_text() for text in ax.texts)
    assert finest.endswith("| 3 and 2, paired 2 |")
    (moved,) = [e for e in read_sidecar(picture)["drifts"] if (e["solver"], e["nfe"]) == CHOSEN]
    assert moved["n"] == 2
    assert ", n = 2. " in lines[-1]


def test_unequal_seeds_are_counted_each(tmp_path: Path) -> None:
    pool = [*evaluated(0, 1, labels=("baseline",)), *evaluated(0, labels=("infonce-l2",))]
    draw_convergence(pool, ROW, tmp_path)
    text = (tmp_path / "sampler.md").read_text(encoding="utf-8")
    assert text.count("| 2 and 1, paired 1 |") == 10
    assert text.count("(one seed) | 2 and 1") == 10
