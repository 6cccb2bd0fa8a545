"""The committed results: of this version's numbers, complete, and what the committed tables say."""

from pathlib import Path

import numpy as np
import pytest

from disperse.evaluation import noise_floor
from disperse.evaluation.features import metric_name
from disperse.experiments import PROFILES, published, select
from disperse.experiments.rules import rule_protocol
from disperse.experiments.runs import jobs_of, network_path
from disperse.reproduce.declared import declared
from disperse.reproduce.index import BEGIN, END, claims_markdown, claims_of, index_markdown, with_claims
from disperse.reproduce.publishing import published_notebooks
from disperse.reproduce.verify import check_results, compare_figures
from disperse.results import table
from disperse.spec import NUMERICS
from disperse.store import Record

REPOSITORY = Path(__file__).resolve().parents[2]
ROW = PROFILES["cpu"]


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """Every committed evaluation; reading checks its seal."""
    monkeypatch.setenv("DISPERSE_HOME", str(REPOSITORY))
    return published("cpu")


def test_they_are_of_this_numerics_stamp(pool: list[Record]) -> None:
    assert {record["spec"]["numerics"] for record in pool} == {NUMERICS}
    assert not any(record["commit"].endswith("+") for record in pool)  # of a commit, not of edited files


@pytest.mark.parametrize("name", sorted(path.stem for path in (REPOSITORY / "notebooks").glob("[!0]*.ipynb")))
def test_every_run_that_a_notebook_shows_is_there(pool: list[Record], name: str) -> None:
    wanted = declared(name, {"profile": "cpu", "num_seeds": 3, "source": "published"})
    lacking = [
        (spec.name, spec.seed, step)
        for spec, how in jobs_of(wanted.runs, ROW)
        for step, protocol in how
        if not select(pool, spec.replace(num_steps=step, milestones=()), protocol)
    ]
    assert lacking == []
    assert all(network_path(spec, "cpu").exists() for spec in wanted.networks)


def test_every_system_draws_the_digit_that_it_is_asked_for(pool: list[Record]) -> None:
    runs = [ROW.run(seed, system=system) for system in ("sit", "dit", "meanflow") for seed in range(3)]
    ends = [select(pool, spec, ROW.protocol_of(spec.objective.kind))[-1] for spec in runs]
    assert set(table(ends).step) == {ROW.num_steps}
    by_system = table(ends).groupby("system").agreement.mean()
    assert len(by_system) == 3
    assert by_system.min() > 0.9  # MeanFlow in one step


def test_published_files_are_those_that_notebooks_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPERSE_HOME", str(REPOSITORY))
    figures, executed = REPOSITORY / "figures" / "cpu", REPOSITORY / "papermill_runs" / "cpu"
    assert [str(finding) for finding in compare_figures(figures, figures) if finding.state != "ok"] == []
    assert sorted(path.stem for path in executed.glob("*.ipynb")) == published_notebooks()
    assert max(path.stat().st_size for path in executed.glob("*.ipynb")) <= 200 * 1024
    for path in executed.glob("*.ipynb"):
        assert '"output_type": "error"' not in path.read_text(encoding="utf-8")


def test_the_index_and_the_readme_say_what_the_notebooks_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPERSE_HOME", str(REPOSITORY))
    assert all(finding.state == "ok" for finding in check_results("cpu", []))
    figures = REPOSITORY / "figures"
    assert list(claims_of(figures / "cpu")) == list(range(1, 12))
    assert (figures / "README.md").read_text(encoding="utf-8") == index_markdown("cpu", figures)
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert with_claims(text, claims_markdown("cpu", figures / "cpu", "notebooks")) == text


def test_every_distance_tells_half_of_the_training_from_the_whole_beyond_the_floor(
    pool: list[Record],
) -> None:
    """The baseline of seeds 0 to 2: the mean falls by more than the width of the floor's interval."""
    protocol = rule_protocol(ROW, "sit")
    specs = [ROW.run(seed) for seed in range(3)]
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
