"""The paper's claims as comparisons of our runs: which runs, in which direction, and told how."""

import math
from pathlib import Path

import pytest

from disperse.experiments import item, paper
from disperse.experiments.claims import Claim, Judgement, Part, judge
from disperse.experiments.items import Cell
from disperse.experiments.statements import (
    STATEMENTS,
    attraction_comparisons,
    group_comparisons,
    model_size_claims,
    parameters,
    size_slopes,
)
from disperse.experiments.tables import claims_markdown, compared_markdown, deciding
from disperse.figures import blocks_figure, draw_changes, lambda_tau_figure, read_sidecar
from disperse.store import Record

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


def sizes(gains: dict[str, float]) -> tuple[list[Cell], dict[str, float]]:
    """Runs of every size and system, and how good they are by size: 1 without the term."""
    return cells_of("model_size"), {
        f"{kind}-{size}-infonce-l2": gain for kind in ("sit", "dit") for size, gain in gains.items()
    }


@pytest.mark.parametrize(
    ("gains", "says"),
    [({"Pico": 0.9, "Nano": 0.7}, "agrees"), ({"Pico": 0.7, "Nano": 0.9}, "disagrees"),
     ({"Pico": 0.9, "Nano": 1.1}, "disagrees")],
)  # fmt: skip
def test_a_gain_that_grows_with_size(toy: object, gains: dict[str, float], says: str) -> None:
    cells, fd = sizes(gains)
    (judgement,) = judge(model_size_claims(evaluated(cells, fd), cells, TOY))
    assert judgement.verdict == says
    assert len(judgement.claim.parts) == 4 + 2
    for part in judgement.claim.parts[-2:]:
        assert math.copysign(1, part.estimate.value) == math.copysign(
            1, math.log(gains["Nano"] / gains["Pico"])
        )
    count = {cell.label: parameters(cell.spec) for cell in cells}
    doublings = math.log2(count["sit-Nano-baseline"] / count["sit-Pico-baseline"])
    slope = size_slopes(evaluated(cells, fd), cells, TOY)["sit"].estimate.value
    assert math.log(2) * slope * doublings == pytest.approx(math.log(gains["Nano"] / gains["Pico"]), abs=1e-3)


def test_a_size_that_is_not_there_yet_leaves_the_claim_open(toy: object) -> None:
    """Neither what is there agrees for what isn't, nor is a slope fitted to what is left."""
    cells, fd = sizes({"Pico": 0.9, "Nano": 0.7})
    there = [cell for cell in cells if not cell.label.startswith("dit-Nano")]
    for asked in (cells, there):
        (judgement,) = judge(model_size_claims(evaluated(there, fd), asked, TOY))
        assert (judgement.verdict, judgement.said) == ("can't tell", "not all trained yet")
        slopes = size_slopes(evaluated(there, fd), asked, TOY)
        assert {kind: len(part.values) for kind, part in slopes.items()} == {"sit": 3, "dit": 0}


ROWS = tuple(f"meanflow-{name}-infonce-l2" for name in paper.MEANFLOW_FID)


def test_meanflow_improves_in_every_row_whatever_the_controls_do(toy: object) -> None:
    cells = cells_of("meanflow")
    good = dict.fromkeys(ROWS, 0.9)
    for control in (0.5, 2.0):
        controls = {"meanflow-long": control, "meanflow-lr-half": control}
        assert verdicts("meanflow", cells, good | controls) == {11: "agrees"}
        (claim,) = STATEMENTS["meanflow"](evaluated(cells, good | controls), cells, TOY)
        assert len(claim.parts) == 4
    assert verdicts("meanflow", cells, good | {"meanflow-larger-infonce-l2": 1.1}) == {11: "disagrees"}


def test_a_row_of_meanflow_that_is_not_there_yet_leaves_the_claim_open(toy: object) -> None:
    there = [cell for cell in cells_of("meanflow") if "patch4" not in cell.label]
    assert verdicts("meanflow", there, dict.fromkeys(ROWS, 0.9)) == {11: "can't tell"}


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
    assert (claim["number"], claim["verdict"], set(claim["seeds"])) == (6, "disagrees", {3})
    assert claim["decided_by"] in ("l2-block1 / baseline", "l2-all / l2-block1")
    assert "| ℓ2, block 1 / baseline: +10% [+" in text
    worse = [p for p in claim["parts"] if p["compared"] == "l2-block1 / baseline"]
    assert worse[0]["low"] > 0
    assert {run["label"] for run in facts["runs"]} == {cell.label for cell in cells}


def test_the_picture_of_a_grid(toy: object) -> None:
    from disperse.experiments.compare import compare

    cells = [c for c in cells_of("variants") if c.label in ("baseline", "infonce-l2")] + cells_of(
        "lambda_tau"
    )
    figure = lambda_tau_figure(compare(evaluated(cells, {"l2-lam1-tau2": 2.0}), cells, TOY), cells)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert len(texts) == 12
    assert sum(text.startswith("+100%") for text in texts) == 1


def test_claims_without_runs_can_not_tell() -> None:
    text = claims_markdown(judge(STATEMENTS["variants"]([], [], TOY)))
    assert text.count("**not trained yet**") == 5
    assert "Not tested: that ℓ2 alone is not helped (4); that covariance is level (5)." in text


def test_comparisons_are_named_as_in_tables() -> None:
    def named(label: str) -> str:
        part = Part(label, {0: 0.2, 1: 0.25, 2: 0.15})
        return deciding(Judgement(Claim(1, (part,)), "disagrees", 0.03, part))

    assert named("infonce-cosine / baseline") == (
        "InfoNCE, cosine / baseline: +22% [+8%, +38%], n = 3, p = 0.03"
    )
    assert named("baseline / l2-block1, block 2").startswith("ℓ2, block 1 / baseline, block 2: -18% [")
    assert named("sit: change over size").startswith("sit: change over size: +22%")


def test_each_doubling_of_the_group_and_each_weight_of_the_attraction(toy: object) -> None:
    cells = cells_of("pair", "local_batch")
    sizes = {cell.label: (term.local_batch or cell.spec.batch_size)
             for cell in cells for term in cell.spec.regularizers if term.kind == "dispersive"}  # fmt: skip
    fd = {label: 1.1 ** math.log2(size) for label, size in sizes.items()}
    (part,) = group_comparisons(evaluated(cells, fd), cells, TOY)
    assert part.estimate.value == pytest.approx(math.log(1.1))
    assert part.estimate.n == len(SEEDS)
    without = [record for record in evaluated(cells, fd) if record["name"] != "l2-group4" or record["seed"]]
    assert len(group_comparisons(without, cells, TOY)[0].values) == len(SEEDS) - 1

    cells = cells_of("pair", "contrastive_to_dispersive")
    fd = {"l2-alpha0": 1.2, "l2-alpha0.25": 1.2, "l2-alpha0.5": 1.5, "l2-alpha0.75": 1.8, "l2-alpha1": 2.4}
    parts = attraction_comparisons(evaluated(cells, fd), cells, TOY)
    assert [part.label for part in parts] == [f"α = {a} / α = 0" for a in ("0.25", "0.5", "0.75", "1")]
    assert [math.exp(part.estimate.value) for part in parts] == pytest.approx([1, 1.25, 1.5, 2])
    assert compared_markdown(parts).splitlines()[-1] == "| α = 1 / α = 0 | +100% [+100%, +100%] | 3 |"
    assert attraction_comparisons([], cells, TOY)[0].values == {}
    assert compared_markdown(attraction_comparisons([], cells, TOY)) == ""
