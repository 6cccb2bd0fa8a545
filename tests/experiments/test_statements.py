"""The paper's claims as comparisons of our runs: which runs, in which direction, and told how."""

import math
from pathlib import Path

import pytest

from disperse.experiments import item, paper
from disperse.experiments.claims import judge
from disperse.experiments.items import Cell
from disperse.experiments.statements import STATEMENTS, model_size_claims
from disperse.experiments.store import Record
from disperse.experiments.tables import claims_markdown
from disperse.figures import blocks_figure, draw_changes, lambda_tau_figure, read_sidecar, size_figure

from .cases import TOY, record, toy

__all__ = ["toy"]
SEEDS = (0, 1, 2)
NOISE = {0: 0.999, 1: 1.0, 2: 1.001}


def cells_of(*names: str) -> list[Cell]:
    return [cell for name in names for cell in item(name, "toy", SEEDS)]


def evaluated(cells: list[Cell], fd: dict[str, float], rms: dict[str, float] | None = None) -> list[Record]:
    """Runs as good as their label says, 1 by default, within 0.1% over seeds (the baseline exactly)."""
    pool = []
    for cell in cells:
        noise = 1.0 if cell.against is None else NOISE[cell.spec.seed]
        value, length = fd.get(cell.label, 1.0) * noise, (rms or {}).get(cell.label, 1.0) * noise
        protocol = TOY.protocol_of(cell.spec.objective.kind)
        pool.append(record(cell.spec, cell.spec.num_steps, protocol, fd=value, rms=length))
    return pool


def verdicts(name: str, cells: list[Cell], fd: dict[str, float], **more: dict[str, float]) -> dict[int, str]:
    found = judge(STATEMENTS[name](evaluated(cells, fd, **more), cells, TOY))
    return {judgement.claim.number: judgement.verdict for judgement in found}


PAPER = {  # the paper's table as ratios to its baseline
    label: 1 + (paper.variants_change(label) or 0)
    for label in (
        "baseline",
        *(v + s for v in paper.VARIANTS_FID for s in ("", "-independent", "-restricted")),
    )
}


def test_the_papers_own_table_agrees_with_its_claims(toy: object) -> None:
    cells = cells_of("variants", "contrastive")
    assert verdicts("variants", cells, PAPER) == {
        1: "agrees",
        2: "agrees",
        3: "agrees",
        4: "agrees",
        5: "agrees",
    }


@pytest.mark.parametrize(
    ("change", "claim"),
    [({"hinge": 1.2}, 1), ({"hinge": 0.7}, 2), ({"covariance-independent": 0.9}, 3), ({"hinge-restricted": 1.1}, 4),
     ({"infonce-l2-restricted": 0.8, "infonce-l2": 0.85}, 5)],
)  # fmt: skip
def test_one_cell_the_other_way_disagrees(toy: object, change: dict[str, float], claim: int) -> None:
    assert verdicts("variants", cells_of("variants", "contrastive"), PAPER | change)[claim] == "disagrees"


def test_covariance_and_restricted_l2_are_not_judged(toy: object) -> None:
    """The paper says "level" of the one, and "but for ℓ2" of the other."""
    changed = PAPER | {"covariance-restricted": 0.7, "infonce-l2-restricted": 1.3}
    assert set(verdicts("variants", cells_of("variants", "contrastive"), changed).values()) == {"agrees"}


def test_blocks_help_and_all_most(toy: object) -> None:
    cells = [c for c in cells_of("variants") if c.label in ("baseline", "infonce-l2")] + cells_of("blocks")
    good = {c.label: 0.9 for c in cells if c.against} | {"l2-all": 0.8}
    assert verdicts("blocks", cells, good) == {6: "agrees"}
    assert verdicts("blocks", cells, good | {"l2-all": 0.9}) == {6: "can't tell"}
    assert verdicts("blocks", cells, good | {"l2-block2": 1.1}) == {6: "disagrees"}


def test_the_grid_of_lambda_and_tau(toy: object) -> None:
    cells = [c for c in cells_of("variants") if c.label in ("baseline", "infonce-l2")] + cells_of(
        "lambda_tau"
    )
    good = {c.label: 0.9 for c in cells if c.against}
    assert verdicts("lambda_tau", cells, good) == {7: "agrees"}
    assert verdicts("lambda_tau", cells, good | {"l2-lam1-tau2": 1.0}) == {7: "can't tell"}


def test_norms_of_every_block(toy: object) -> None:
    cells = [c for c in cells_of("variants") if c.label == "baseline"] + cells_of("blocks")
    longer = {c.label: 3.0 for c in cells if c.against}
    assert verdicts("norms", cells, {}, rms=longer) == {10: "agrees"}
    assert verdicts("norms", cells, {}, rms=longer | {"l2-block1": 0.5}) == {10: "disagrees"}
    assert verdicts("norms", cells, {}, rms=longer | {"l2-all": 0.5}) == {10: "agrees"}  # of one block alone


def sizes(gains: tuple[float, float]) -> tuple[list[Cell], dict[str, float]]:
    cells, fd = [], {}
    for size, gain in zip(("Pico", "Nano"), gains, strict=True):
        for seed in SEEDS:
            base = TOY.spec("b", seed, size=size)
            cells.append(Cell(f"{size}-base", base))
            cells.append(Cell(f"{size}-l2", base.replace(batch_size=15), f"{size}-base"))
        fd[f"{size}-l2"] = gain
    return cells, fd


@pytest.mark.parametrize(
    ("gains", "says"), [((0.9, 0.7), "agrees"), ((0.7, 0.9), "disagrees"), ((0.9, 1.1), "disagrees")]
)
def test_a_gain_that_grows_with_size(gains: tuple[float, float], says: str) -> None:
    cells, fd = sizes(gains)
    (judgement,) = judge(model_size_claims(evaluated(cells, fd), cells, TOY))
    assert judgement.verdict == says
    slope = judgement.claim.parts[-1].estimate.value
    assert math.copysign(1, slope) == math.copysign(1, math.log(gains[1] / gains[0]))


def test_tables_and_pictures_tell_the_verdict(toy: object, tmp_path: Path) -> None:
    cells = [c for c in cells_of("variants") if c.label in ("baseline", "infonce-l2")] + cells_of("blocks")
    pool = evaluated(cells, {"l2-block1": 1.1})
    table, picture = draw_changes(
        "blocks", pool, cells, TOY, tmp_path, draw=blocks_figure, published={"infonce-l2": -0.1135}
    )
    text = table.read_text(encoding="utf-8")
    assert f"| 6. {paper.CLAIMS[6]} | **disagrees** |" in text
    assert "| InfoNCE, ℓ2 | -11.3% | 1.00" in text
    facts = read_sidecar(picture.with_suffix(""))
    (claim,) = facts["claims"]
    assert (claim["number"], claim["verdict"], claim["n"]) == (6, "disagrees", 3)
    worse = [p for p in claim["parts"] if p["compared"] == "l2-block1 / baseline"]
    assert worse[0]["low"] > 0
    assert {run["label"] for run in facts["runs"]} == {cell.label for cell in cells}


def test_pictures_of_a_grid_and_of_sizes(toy: object) -> None:
    from disperse.experiments.compare import compare

    cells = [c for c in cells_of("variants") if c.label in ("baseline", "infonce-l2")] + cells_of(
        "lambda_tau"
    )
    figure = lambda_tau_figure(compare(evaluated(cells, {"l2-lam1-tau2": 2.0}), cells, TOY), cells)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert len(texts) == 12
    assert sum(text.startswith("+100%") for text in texts) == 1
    by_size, fd = sizes((0.9, 0.7))
    left, right = size_figure(compare(evaluated(by_size, fd), by_size, TOY), by_size).axes
    assert len(right.containers) == 2
    assert len(left.containers) == 4


def test_claims_without_runs_can_not_tell() -> None:
    text = claims_markdown(judge(STATEMENTS["variants"]([], [], TOY)))
    assert text.count("**can't tell**") == 5
    assert "| 0 |" in text
