"""Long runs: change at each length with its seeds, the claim at the end alone, the paper's two lengths."""

from pathlib import Path

import numpy as np
import pytest

from disperse.experiments import PROFILES, item, paper
from disperse.experiments.items import Cell
from disperse.figures import draw_longer, longer_figure, read_sidecar
from disperse.figures.longer import changes_by_length, changes_of_seeds, pair_frame
from disperse.store import Record

from ..experiments.cases import record
from .test_ablations import diamonds, points

ROW = PROFILES["smoke"]  # 40 steps, a milestone at 20
LENGTHS = [20, 40, 80, 120, 160]


def cells_of(*, long: tuple[int, ...], short: tuple[int, ...] = ()) -> list[Cell]:
    return item("pair", "smoke", short) + item("longer", "smoke", long)


def evaluated(cells: list[Cell], ratio: dict[int, float] | None = None) -> list[Record]:
    """Distances 10/step, the paper's setting worse or better by step → ratio; seeds differ by 1%."""
    pool: dict[tuple[str, int], Record] = {}
    for cell in cells:
        for step in (*cell.spec.milestones, cell.spec.num_steps):
            own = (ratio or {}).get(step, 1.2) * (1 + 0.01 * cell.spec.seed) if cell.against else 1.0
            fd = 10 * (1 + cell.spec.seed) / step * own
            pool[cell.spec.fingerprint, step] = record(cell.spec, step, ROW.protocol, fd=fd)
    return list(pool.values())


def test_every_length_has_its_change_and_its_seeds() -> None:
    cells = cells_of(long=(0, 1), short=(0, 1, 2))
    changes = changes_by_length(pair_frame(evaluated(cells, {20: 2.0, 160: 0.9}), cells, ROW))
    assert list(changes) == LENGTHS
    assert [change.n for change in changes.values()] == [3, 3, 2, 2, 2]
    percent = [100 * np.expm1(change.value) for change in changes.values()]
    assert percent == pytest.approx([102.0, 21.2, 20.6, 20.6, -9.5], abs=0.1)


def test_a_seed_counts_where_both_runs_are() -> None:
    cells = cells_of(long=(0, 1))
    pool = [r for r in evaluated(cells) if (r["name"], r["seed"], r["step"]) != ("infonce-l2", 1, 80)]
    frame = pair_frame(pool, cells, ROW)
    assert [change.n for change in changes_by_length(frame).values()] == [2, 2, 1, 2, 2]
    assert len(changes_of_seeds(frame)) == 9
    assert set(frame[frame.seed == 1].step) == {20, 40, 120, 160}


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        ({20: 2.0, 160: 0.9}, "agrees"),
        ({20: 0.5, 40: 0.5, 160: 1.1}, "disagrees"),
        ({160: 0.99}, "can't tell"),
    ],
)
def test_the_claim_is_judged_at_the_end(ratio: dict[int, float], verdict: str, tmp_path: Path) -> None:
    """Seeds that stopped at the profile's length say nothing of longer training."""
    cells = cells_of(long=(0, 1, 2), short=(0, 1, 2, 3, 4))
    table, picture = draw_longer(evaluated(cells, ratio), cells, ROW, tmp_path)
    text = table.read_text(encoding="utf-8")
    assert f"| 9. {paper.CLAIMS[9]} | **{verdict}** |" in text
    (claim,) = read_sidecar(picture)["claims"]
    assert (claim["verdict"], claim["seeds"], len(claim["parts"])) == (verdict, [3], 1)


def test_the_table_has_distances_difference_and_the_papers_numbers(tmp_path: Path) -> None:
    cells = cells_of(long=(0,), short=(0, 1))
    text = draw_longer(evaluated(cells), cells, ROW, tmp_path)[0].read_text(encoding="utf-8")
    (last,) = [line for line in text.splitlines() if line.startswith("| 160 |")]
    assert last == "| 160 | 0.06 | 0.07 | 0.01 | +20% (one seed) | can't tell | 1 |"
    (short,) = [line for line in text.splitlines() if line.startswith("| 40 |")]
    assert " | worse | 2 |" in short
    assert "| 80 epochs | 18.46 | 15.95 | -13.6% | one secondary source |" in text
    assert "| 80 epochs, guidance 1.5 | 6.02 | 5.09 | -15.4% | the paper |" in text
    assert "| the longest run, guided | 2.06 | 1.97 | -4.4% | one secondary source |" in text


def test_the_papers_two_lengths_stand_beside_ours() -> None:
    cells = cells_of(long=(0, 1), short=(0, 1, 2))
    figure = longer_figure(pair_frame(evaluated(cells), cells, ROW), ROW)
    left, right = figure.axes
    assert list(points(right)) == [0.5, 1, 2, 3, 4]
    assert list(diamonds(right)) == [1, 10]
    assert list(diamonds(right).values()) == pytest.approx([-13.6, -10.1], abs=0.05)
    assert not right.texts
    ticks = [label.get_text() for label in right.get_xticklabels()]
    assert ticks == ["0.5\n3", "1\n3", "2\n2", "3\n2", "4\n2", "10"]
    assert "number of seeds" in right.get_xlabel()
    thin = [line for line in right.lines if line.get_linewidth() == 0.8 and len(line.get_xdata())]
    assert [len(line.get_xdata()) for line in thin] == [5, 5, 2]
    assert "real against real" in [text.get_text() for text in left.texts]
    assert left.get_title(loc="left") == "160 steps, 2 seeds"  # those that go all the way
    names = " ".join(text.get_text() for text in figure.legends[0].get_texts())
    assert "95% over 2 to 3 seeds" in names
    assert "secondary source" in names


@pytest.mark.parametrize("part", ["one seed", "baseline", "no baseline", "short", "none"])
def test_what_is_missing_is_left_out(part: str, tmp_path: Path) -> None:
    cells = cells_of(long=(0, 1))
    pool = evaluated(cells)
    kept = {
        "one seed": [r for r in pool if r["seed"] == 1],
        "baseline": [r for r in pool if r["name"] == "baseline"],
        "no baseline": [r for r in pool if r["name"] != "baseline"],
        "short": [r for r in pool if r["step"] <= 40],
        "none": [],
    }[part]
    table, picture = draw_longer(kept, cells, ROW, tmp_path)
    text = table.read_text(encoding="utf-8")
    assert "nan" not in text
    facts = read_sidecar(picture)
    steps = {"one seed": LENGTHS, "short": [20, 40]}.get(part, [])
    assert sorted(map(int, facts["changes"])) == steps
    assert "| 80 epochs | 18.46" in text
    if part == "one seed":
        assert text.count("(one seed)") == 5
    assert ("**can't tell**" if part == "one seed" else "**not trained yet**") in text
