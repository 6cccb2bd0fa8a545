"""Norms block by block: paired ratios, the claim about one block, and rank and direction beside them."""

from pathlib import Path

import pytest
from matplotlib.colors import to_rgb

from disperse.evaluation import mean_over_seeds
from disperse.experiments import item
from disperse.experiments.items import Cell
from disperse.figures import COLORS, draw_norms, norms_figure, read_sidecar
from disperse.figures.norms import (
    block_differences,
    block_frame,
    clear_of_none,
    norm_ratios,
    norms_markdown,
    place_names,
)
from disperse.store import Record, seal

from ..experiments.cases import TOY, record, toy

__all__ = ["toy"]
pytestmark = pytest.mark.usefixtures("toy")
SEEDS = (0, 1, 2)


def cells_of(seeds: tuple[int, ...] = SEEDS) -> list[Cell]:
    return item("pair", "toy", seeds) + item("blocks", "toy", seeds)


def evaluated(cells: list[Cell], factor: dict[tuple[str, int], float] | None = None) -> list[Record]:
    """Runs whose norms are three times the baseline's of the same seed, but for (label, block) → factor.

    Norms of seeds are far apart, and their ratios within 2%; so are ranks, and their differences within 2.
    """
    pool = []
    for cell in cells:
        made = record(cell.spec, cell.spec.num_steps, TOY.protocol, rms=2.0**cell.spec.seed)
        for entry in made["blocks"]:
            ratio = (factor or {}).get((cell.label, entry["block"]), 3.0) * (1 + 0.01 * cell.spec.seed)
            entry["rms"] *= 1.0 if cell.against is None else ratio
            entry["rms"] *= 1.0 if entry["level"] == 0.5 else 100.0  # no other level is looked at
            entry["effective_rank"] += 50.0 * cell.spec.seed
            entry["mean_cosine"] -= 0.1 * cell.spec.seed
            if cell.against is not None:
                entry["effective_rank"] -= 4.0 + cell.spec.seed  # rank falls by 4, 5, 6
                entry["mean_cosine"] += 0.02 * (cell.spec.seed - 1)  # to either side
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


def test_differences_are_within_a_seed() -> None:
    cells = cells_of()
    frame = block_frame(evaluated(cells), cells, TOY)
    ranks = block_differences(frame, "effective_rank")
    assert ranks.keys() == norm_ratios(frame).keys()
    for value in ranks.values():  # unpaired, seeds are 50 apart
        assert (value.value, value.n) == (pytest.approx(-5), 3)
        assert value.low == pytest.approx(-5 - 4.303 / 3**0.5, abs=1e-3)
    cosines = block_differences(frame, "mean_cosine")
    assert all(value.low < 0 < value.high and value.high < 0.06 for value in cosines.values())
    alone = frame[(frame.label != "baseline") | (frame.seed != 1)]
    assert {value.n for value in block_differences(alone, "effective_rank").values()} == {2}
    assert block_differences(frame[frame.label != "baseline"], "effective_rank") == {}


def test_only_intervals_say_what_goes_up_or_down() -> None:
    up, down, open_, single = (mean_over_seeds(v) for v in ([1.0, 1.1], [-1.0, -1.1], [-1.0, 1.0], [9.0]))
    assert clear_of_none({"norm": up, "rank": down, "cosine": open_}) == "norm up, rank down"
    assert clear_of_none({"norm": single, "rank": single}) == "can't tell"


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


def test_the_table_has_changes_then_norm_rank_and_cosine(tmp_path: Path) -> None:
    cells = cells_of()
    text = norms_markdown(block_frame(evaluated(cells), cells, TOY), cells, "card")
    first, _, second = text.partition("| regularised: ")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in first.splitlines() if "×" in line]
    names = ["block 0", "block 1", "block 2", "block 3", "all blocks"]
    assert [row[:2] for row in rows] == [[name, f"block {k}"] for name in names for k in range(4)]
    for row in rows:
        assert row[2].startswith("×3.03 [")
        assert row[3:] == ["-5.0 [-7.5, -2.5]", "+0.000 [-0.050, +0.050]", "norm up, rank down", "3"]
    (line,) = (line for line in second.splitlines() if line.startswith("| block 0 |"))
    assert "; 55 [1, 177]; 0.40 ± 0.20 | " in line  # effective rank and mean cosine of block 0


def test_the_picture_frames_what_is_regularised() -> None:
    cells = cells_of()
    figure = norms_figure(block_frame(evaluated(cells, {("l2-block1", 0): 6.0}), cells, TOY), cells)
    norm, ratio, rank, fewer, direction, turned = figure.axes
    frames = sorted((int(patch.get_x()), int(patch.get_y())) for patch in ratio.patches)
    assert frames == sorted([*((k, k) for k in range(4)), *((k, 4) for k in range(4))])
    assert all(patch.get_width() < 1 and patch.get_height() < 1 for patch in ratio.patches)  # none touch
    texts = {tuple(t.get_position()): t.get_text() for t in ratio.texts}
    assert texts[0.5, 1.5].startswith("×6.06\n[")
    assert texts[1.5, 1.5].startswith("×3.03\n[")
    assert norm.get_yscale() == "log"
    for ax, label in ((norm, "feature rms"), (rank, "effective rank"), (direction, "mean cosine")):
        assert ax.get_ylabel() == label
        assert len(ax.containers) == 6
        assert list(ax.get_xticks()) == [0, 1, 2, 3]
    for ax, value in ((fewer, -5), (turned, 0)):
        assert len(ax.containers) == 6  # the baseline's is empty
        assert ax.containers[1].lines[0].get_ydata() == pytest.approx([value] * 4)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert (
        names
        == list(place_names(cells).values())
        == ["baseline", *(f"block {k}" for k in range(4)), "all blocks"]
    )
    assert "95% over 3 seeds" in legend.get_title().get_text()
    assert "hollow" not in legend.get_title().get_text()


def test_runs_of_one_seed_are_hollow_and_all_blocks_are_neither_grey_nor_blue() -> None:
    cells = cells_of()
    pool = [r for r in evaluated(cells) if r["seed"] == 0 or r["name"] in ("baseline", "infonce-l2")]
    figure = norms_figure(block_frame(pool, cells, TOY), cells)
    ticks = [label.get_text() for label in figure.axes[1].get_yticklabels()]
    assert ticks == ["block 0\nn = 3", *(f"block {k}\nn = 1" for k in (1, 2, 3)), "all blocks\nn = 1"]
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["baseline, n = 3", *(tick.replace("\n", ", ") for tick in ticks)]
    faces = [bars.lines[0].get_markerfacecolor() for bars in figure.axes[0].containers]
    assert faces == [COLORS["baseline"], COLORS["infonce-l2"], *["white"] * 4]
    assert "hollow: one seed" in figure.legends[0].get_title().get_text()
    red, green, blue = to_rgb(figure.axes[0].containers[5].lines[0].get_color())
    assert max(red, green, blue) - min(red, green, blue) > 0.2
    assert blue < green


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
        assert "-6.0 (one seed) | +0.020 (one seed) | can't tell | 1 |" in text
        assert {d["difference"]["n"] for d in facts["differences"]} == {1}
    if part in ("no baseline", "baseline", "none"):
        assert "**not trained yet**" in text
        assert facts["ratios"] == facts["differences"] == []
