"""The committed results: of this version's numbers, complete, and what the committed tables say."""

from pathlib import Path

import numpy as np
import pytest

from disperse.evaluation import noise_floor
from disperse.evaluation.features import metric_name
from disperse.experiments import LOOKS, PROFILES, Cell, item, published, seen_by, select
from disperse.experiments.claims import judge
from disperse.experiments.compare import compare
from disperse.experiments.rules import rule_protocol
from disperse.experiments.statements import STATEMENTS
from disperse.experiments.tables import variants_markdown
from disperse.experiments.verdicts import verdicts
from disperse.figures.grid import grid_text
from disperse.figures.published import BEGIN, END, with_claims
from disperse.spec import NUMERICS
from disperse.store import Record

REPOSITORY = Path(__file__).resolve().parents[2]
ROW = PROFILES["cpu"]


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """Every committed evaluation; reading checks its seal."""
    monkeypatch.setenv("DISPERSE_HOME", str(REPOSITORY))
    return published("cpu")


def complete(pool: list[Record], cell: Cell) -> bool:
    protocol = ROW.protocol_of(cell.spec.objective.kind)
    return len(select(pool, cell.spec, protocol)) == cell.spec.num_evaluations


def test_they_are_of_this_numerics_stamp(pool: list[Record]) -> None:
    assert {record["spec"]["numerics"] for record in pool} == {NUMERICS}
    assert not any(record["commit"].endswith("+") for record in pool)  # of a commit, not of edited files


@pytest.mark.parametrize(
    ("name", "labels", "seeds"),
    [("variants", None, 3), ("variants", {"baseline", "infonce-l2"}, 6), ("norm_cost", None, 3),
     ("longer", None, 3), ("contrastive", None, 3), ("systems_tour", None, 3), ("blocks", None, 3),
     ("lambda_tau", None, 3), ("local_batch", None, 3), ("contrastive_to_dispersive", None, 3),
     ("model_size", None, 3), ("meanflow", None, 3), ("scale_of_effect", None, 3), ("pair_longer", None, 3),
     ("large_pair", None, 3)],
)  # fmt: skip
def test_every_run_that_the_text_speaks_of_is_there(
    pool: list[Record], name: str, labels: set[str] | None, seeds: int
) -> None:
    cells = [c for c in item(name, "cpu", tuple(range(seeds))) if labels is None or c.label in labels]
    assert [c.label for c in cells if not complete(pool, c)] == []


def test_every_system_draws_the_digit_that_it_is_asked_for(pool: list[Record]) -> None:
    cells = item("pair", "cpu", (0,)) + item("systems_tour", "cpu", (0, 1, 2))
    rows = compare(pool, cells, ROW)
    assert {row.label for row in rows} == {cell.label for cell in cells}
    assert min(row.metrics["agreement"].value for row in rows) > 0.9  # MeanFlow in one step


@pytest.mark.parametrize("name", LOOKS)
def test_every_look_was_taken_at_three_seeds(pool: list[Record], name: str) -> None:
    look = LOOKS[name]
    cells = [c for each in look.items for c in item(each, "cpu", (0, 1, 2)) if look.wants(c)]
    wanted = {c.label: len(look.protocols(ROW, c.spec.objective.kind)) for c in cells}
    short = [(c.label, c.spec.seed) for c in cells if len(seen_by(name, pool, c, ROW)) < wanted[c.label]]
    assert short == []


def test_the_claims_in_the_readme_are_those_of_the_results(pool: list[Record]) -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert with_claims(text, verdicts(pool, ROW)) == text


def test_every_distance_tells_half_of_the_training_from_the_whole_beyond_the_floor(
    pool: list[Record],
) -> None:
    """The baseline of seeds 0 to 2: the mean falls by more than the width of the floor's interval."""
    protocol = rule_protocol(ROW, "sit")
    specs = [c.spec for c in item("pair", "cpu", (0, 1, 2)) if c.label == "baseline"]
    half, whole = (
        [next(r for r in select(pool, spec, protocol) if r["step"] == step) for spec in specs]
        for step in (1200, 2400)
    )
    for space in (protocol.evaluator, *protocol.spaces):
        floor, name = noise_floor(protocol, space=space), metric_name(space)
        mean = {
            key: np.mean([r["metrics"][name]["value"] for r in rs]) for key, rs in (("h", half), ("w", whole))
        }
        assert mean["h"] - mean["w"] > floor.high - floor.low, space
        assert mean["w"] > floor.high  # the baseline is no perfect model in any of them
    losses = [[r["metrics"]["held_out_loss"]["value"] for r in rs] for rs in (half, whole)]
    assert min(losses[0]) > max(losses[1])


def test_tables_say_what_the_results_say(pool: list[Record]) -> None:
    seeds = tuple(sorted({record["seed"] for record in pool}))
    folder = REPOSITORY / "figures" / "cpu"
    cells = item("variants", "cpu", seeds)
    rows = compare(pool, cells, ROW)
    assert (folder / "variants.md").read_text(encoding="utf-8") == variants_markdown(rows, ROW)
    cells += item("contrastive", "cpu", seeds)
    judgements = judge(STATEMENTS["variants"](pool, cells, ROW))
    text = grid_text(judgements, compare(pool, cells, ROW), ROW)
    assert (folder / "variants_grid.md").read_text(encoding="utf-8") == text
