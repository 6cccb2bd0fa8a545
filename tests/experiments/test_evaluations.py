"""The table of a notebook's runs: published ones, missing ones trained, ends marked."""

from pathlib import Path

import pytest
import torch

from disperse.errors import ConfigError
from disperse.experiments import dispersive_term, evaluations, profile, records_here, runner, seeds_of
from disperse.experiments.profiles import PROFILES
from disperse.experiments.runs import network, publish_network, samples_of
from disperse.sampling import sample
from disperse.store import publish, records

from .cases import TOY
from .test_store import Threads

REPOSITORY = Path(__file__).resolve().parents[2]


def test_published_runs_of_the_paper_s_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPERSE_HOME", str(REPOSITORY))
    monkeypatch.setattr(runner, "complete", None)  # nothing is trained
    row, term = profile("cpu"), dispersive_term("infonce-l2")
    runs = [row.run(seed, *terms) for seed in seeds_of("cpu") for terms in ((), (term,))]
    table, here = evaluations(runs, "cpu")
    assert here.empty
    assert list(here.columns) == list(table.columns)
    last = table[table.final]
    assert sorted(last.seed) == sorted(2 * list(range(6)))
    assert set(last.step) == {2400}
    assert set(table.step) == {600, 1200, 1800, 2400}
    assert set(table.sample_seeds) == {"shared"}
    assert not table.duplicated(["fingerprint", "step"]).any()


def test_what_is_missing_is_trained_once(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    monkeypatch.setitem(PROFILES, "toy", TOY)
    monkeypatch.setattr(runner, "ProcessPoolExecutor", Threads)
    runs = [TOY.run(seed) for seed in (0, 1)]
    only_first, _ = evaluations(runs, "toy")
    assert set(only_first.seed) == {0}, "of a setting that isn't published the first seed is enough"
    both, _ = evaluations(runs, "toy", source="runs")
    assert set(both.seed) == {0, 1}
    assert both.final.sum() == 2
    publish("toy", [record for spec in runs for record in records(spec, TOY.protocol)])
    _, here = evaluations(runs, "toy", source="both")
    assert list(here.fd) == list(both.fd), "what this machine has trained stands beside what is published"
    assert [record["seed"] for record in records_here(runs, "toy")] == list(here.seed)
    (store / "runs").rename(store / "away")
    again, here = evaluations(runs, "toy", source="both")
    assert list(again.fd) == list(both.fd)
    assert here.empty
    assert not (store / "runs").exists()


def test_other_protocols_evaluate_the_end_alone(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    monkeypatch.setitem(PROFILES, "toy", TOY)
    monkeypatch.setattr(runner, "ProcessPoolExecutor", Threads)
    coarse = [TOY.protocol.model_copy(update={"num_steps": n}) for n in (1, 2)]
    table, _ = evaluations([(TOY.run(0), coarse)], "toy")
    assert list(table.sampler_steps) == [1, 2]
    assert table.final.all()


def test_networks_are_published_in_half_precision(monkeypatch: pytest.MonkeyPatch, store: Path) -> None:
    monkeypatch.setitem(PROFILES, "toy", TOY)
    own = network(TOY.run(0), "toy", device="cpu")
    path = publish_network(TOY.run(0), "toy")
    assert path.is_relative_to(store / "figures" / "toy" / "weights")
    (store / "runs").rename(store / "away")
    again = network(TOY.run(0), "toy", device="cpu")
    images, asked = samples_of(TOY.run(0), "toy", 12, progress=False)
    how = TOY.protocol
    drawn = sample(again, range(12), asked, solver=how.solver, num_steps=how.num_steps)
    torch.testing.assert_close(images, drawn.clamp(-1, 1))
    assert asked.tolist() == [*range(10), 0, 1]
    for name, value in own.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, rtol=2**-11, atol=1e-7)


def test_unknown_sources_are_refused() -> None:
    with pytest.raises(ConfigError, match="source = 'here'"):
        evaluations([], "cpu", source="here")
