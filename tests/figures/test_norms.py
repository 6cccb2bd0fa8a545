"""Norms block by block: paired ratios, the claim about one block, and rank and direction beside it."""

from pathlib import Path

import pytest

from disperse.experiments import item
from disperse.experiments.items import Cell
from disperse.experiments.store import Record, seal
from disperse.figures import draw_norms, norms_figure, read_sidecar
from disperse.figures.norms import block_frame, norm_ratios, norms_markdown, place_names

from ..experiments.cases import TOY, record, toy

__all__ = ["toy"]
pytestmark = pytest.mark.usefixtures("toy")
SEEDS = (0, 1, 2)


def cells_of(seeds: tuple[int, ...] = SEEDS) -> list[Cell]:
    return item("pair", "toy", seeds) + item("blocks", "toy", seeds)


def evaluated(cells: list[Cell], factor: dict[tuple[str, int], float] | None = None) -> list[Record]:
    """Runs whose norms are three times the baseline's of the same seed, but for (label, block) → factor.

    Norms of seeds are far apart, and their ratios within 1%.
    """
    pool = []
    for cell in cells:
        made = record(cell.spec, cell.spec.num_steps, TOY.protocol, rms=2.0**cell.spec.seed)
        for entry in made["blocks"]:
            ratio = (factor or {}).get((cell.label, entry["block"]), 3.0) * (1 + 0.01 * cell.spec.seed)
            entry["rms"] *= 1.0 if cell.against is None else ratio
            entry["rms"] *= 1.0 if entry["level"] == 0.5 else 100.0  # no other level is looked at
        pool.append(seal(made))
    return pool


def test_ratios_are_within_a_seed() -> None:
    cells = cells_of()
    ratios = norm_ratios(block_frame(evaluated(cells, {("l2-block2", 0): 0.5}), cells, TOY))
    assert len(ratios) == 5 * 4
    assert 2.71828 ** ratios["l2-block1", 3].value == pytest.approx(3.03, abs=0.01)
    assert ratios["l2-block2", 0].high < 0 < ratios["l2-block2", 1].low
    assert all(value.n == 3 and value.high - value.low < 0.1 for value in ratios.values())


def test_a_seed_without_its_baseline_is_in_no_ratio() -> None:
    cells = cells_of()
    pool = [r for r in evaluated(cells) if (r["name"], r["seed"]) != ("baseline", 1)]
    frame = block_frame(pool, cells, TOY)
    assert {value.n for value in norm_ratios(frame).values()} == {2}
    assert norm_ratios(block_frame([r for r in pool if r["name"] != "baseline"], cells, TOY)) == {}


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [({}, "agrees"), ({("l2-block3", 0): 0.5}, "disagrees"), ({("l2-block3", 0): 0.99}, "can't tell"),
     ({("l2-all", 0): 0.5}, "agrees")],
)  # fmt: skip
def test_the_claim_is_of_one_block_and_all_norms(
    factor: dict[tuple[str, int], float], verdict: str, tmp_path: Path
) -> None:
    cells = cells_of()
    table, picture = draw_norms(evaluated(cells, factor), cells, TOY, tmp_path)
    text = table.read_text(encoding="utf-8")
    assert f"| 10. Regularising one block raises the norms of all. | **{verdict}** |" in text
    assert "order of magnitude (read in one secondary source)" in text
    (claim,) = read_sidecar(picture)["claims"]
    assert claim["verdict"] == verdict
    assert len(claim["parts"]) == 4 * 4


def test_the_table_has_ratios_then_norm_rank_and_cosine(tmp_path: Path) -> None:
    cells = cells_of((0, 1))
    text = norms_markdown(block_frame(evaluated(cells), cells, TOY), cells, "card")
    lines = [line for line in text.splitlines() if line.startswith("| block 0 |")]
    assert lines[0].startswith("| block 0 | ×3.01 [")
    assert lines[0].endswith("] | 2 |")
    assert "; 10 ± 0; 0.50 ± 0.00 | " in lines[1]  # effective rank and mean cosine of block 0
    first = text.partition("| regularised: ")[0]
    assert "baseline |" not in first
    names = ["block 0", "block 1", "block 2", "block 3", "all blocks"]
    assert [line.split(" | ")[0].strip("| ") for line in first.splitlines() if "×" in line] == names


def test_the_picture_frames_what_is_regularised() -> None:
    cells = cells_of()
    figure = norms_figure(block_frame(evaluated(cells, {("l2-block1", 0): 6.0}), cells, TOY), cells)
    norm, ratio, rank, direction = figure.axes[:4]
    frames = sorted(tuple(patch.get_xy()) for patch in ratio.patches)
    assert frames == sorted([*((k, k) for k in range(4)), *((k, 4) for k in range(4))])
    texts = {tuple(t.get_position()): t.get_text() for t in ratio.texts}
    assert texts[0.5, 1.5].startswith("×6.06\n[")
    assert texts[1.5, 1.5].startswith("×3.03\n[")
    assert norm.get_yscale() == "log"
    for ax, label in ((norm, "feature rms"), (rank, "effective rank"), (direction, "mean cosine")):
        assert ax.get_ylabel() == label
        assert len(ax.containers) == 6
        assert list(ax.get_xticks()) == [0, 1, 2, 3]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert (
        names
        == list(place_names(cells).values())
        == ["baseline", *(f"block {k}" for k in range(4)), "all blocks"]
    )
    assert "95% over 3 seeds" in ratio.get_title(loc="left")


@pytest.mark.parametrize("part", ["one seed", "no baseline", "baseline", "odd ones", "none"])
def test_what_is_missing_is_left_out(part: str, tmp_path: Path) -> None:
    cells = cells_of()
    pool = evaluated(cells)
    kept = {
        "one seed": [r for r in pool if r["seed"] == 2],
        "no baseline": [r for r in pool if r["name"] != "baseline"],
        "baseline": [r for r in pool if r["name"] == "baseline"],
        "odd ones": pool[::2],
        "none": [],
    }[part]
    table, picture = draw_norms(kept, cells, TOY, tmp_path)
    text = table.read_text(encoding="utf-8")
    assert "nan" not in text
    facts = read_sidecar(picture)
    assert {run["fingerprint"] for run in facts["runs"]} == {r["fingerprint"] for r in kept}
    assert len(facts["values"]) == 4 * len(kept)
    if part == "one seed":
        assert text.count("×3.06 (one seed)") == 20
        assert all(ratio["log_ratio"]["low"] is None for ratio in facts["ratios"])
    if part in ("no baseline", "baseline", "none"):
        assert "**can't tell**" in text
        assert facts["ratios"] == []
