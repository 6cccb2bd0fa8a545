"""The committed results: of this version's numbers, complete, and what the committed tables say."""

from pathlib import Path

import pytest

from disperse.experiments import PROFILES, Cell, item, published, select
from disperse.experiments.claims import judge
from disperse.experiments.compare import compare
from disperse.experiments.statements import STATEMENTS
from disperse.experiments.store import Record
from disperse.experiments.tables import claims_markdown, grid_markdown, variants_markdown
from disperse.spec import NUMERICS

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
     ("longer", None, 1)],
)  # fmt: skip
def test_every_run_that_the_text_speaks_of_is_there(
    pool: list[Record], name: str, labels: set[str] | None, seeds: int
) -> None:
    cells = [c for c in item(name, "cpu", tuple(range(seeds))) if labels is None or c.label in labels]
    assert [c.label for c in cells if not complete(pool, c)] == []


def test_the_sampler_was_shown_to_have_converged(pool: list[Record]) -> None:
    found = [select(pool, ROW.spec("baseline", 0), protocol) for protocol in ROW.convergence_protocols]
    assert all(records and records[-1]["step"] == ROW.num_steps for records in found)


def test_tables_say_what_the_results_say(pool: list[Record]) -> None:
    seeds = tuple(sorted({record["seed"] for record in pool}))
    folder = REPOSITORY / "figures" / "cpu"
    cells = item("variants", "cpu", seeds)
    rows = compare(pool, cells, ROW)
    assert (folder / "variants.md").read_text(encoding="utf-8") == variants_markdown(rows, ROW)
    cells += item("contrastive", "cpu", seeds)
    claims = claims_markdown(judge(STATEMENTS["variants"](pool, cells, ROW)))
    text = f"{claims}\n{grid_markdown(compare(pool, cells, ROW))}"
    assert (folder / "variants_grid.md").read_text(encoding="utf-8") == text
