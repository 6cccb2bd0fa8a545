"""The rows for GPUs: what they say of the paper, that a plan needs no data, and what a run costs."""

from pathlib import Path

import pytest

from disperse.cli import main
from disperse.experiments import PROFILES, profile, resources, sweeps
from disperse.models import model_config
from disperse.models.flops import train_flops


def test_the_paper_row_is_the_papers_setting() -> None:
    row = profile("paper")
    spec = row.spec("baseline", 0)
    assert (spec.model, spec.num_steps, spec.batch_size, spec.label_drop) == ("SiT-B/2", 400_000, 256, 0.1)
    rates = spec.optimizer
    assert (rates.lr, rates.beta1, rates.beta2, rates.weight_decay) == (1e-4, 0.9, 0.95, 0.0)
    assert (spec.ema, spec.flip, spec.overrides) == (("constant-0.9999",), True, {})
    protocol = row.protocol
    assert (protocol.num_samples, protocol.guidance, protocol.guided_samples) == (50_000, 1.0, 0)
    assert protocol.sampler.nfe == 498
    assert protocol.weights == "constant-0.9999"
    (term,) = sweeps.pair(row, 0)[1].regularizers
    assert (term.lam, term.tau, term.local_batch) == (0.5, 0.5, 16)
    assert not row.spec("mf", 0, system="meanflow").flip


@pytest.mark.parametrize("name", ["gpu", "paper"])
def test_every_system_of_a_row_fits_its_data(name: str) -> None:
    row = profile(name)
    shape = {"gpu": (3, 32, 32), "paper": (4, 32, 32)}[name]
    for system in ("sit", "dit", "meanflow"):
        spec = row.spec("baseline", 0, system=system)
        config = model_config(spec.model, **spec.overrides)
        assert (config.image_shape, config.num_tokens) == (shape, 256)
        assert spec.objective.kind == config.system
    assert row.protocol_of("meanflow").sampler.nfe == 1


@pytest.mark.parametrize("name", ["gpu", "paper"])
def test_a_plan_needs_no_data(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    out = planned(name, tmp_path, monkeypatch, capsys)
    assert "the baseline: " in out
    assert out.count("results to do (") >= 5


def planned(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> str:
    """What ``disperse reproduce --plan`` prints where there are notebooks, no runs and no data."""
    (tmp_path / "notebooks").symlink_to(Path(__file__).parents[2] / "notebooks")
    monkeypatch.setenv("DISPERSE_HOME", str(tmp_path))
    assert main(["reproduce", "--plan", "--profile", name]) == 0
    return capsys.readouterr().out


def test_small_rows_speak_of_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    assert "H100" not in planned("smoke", tmp_path, monkeypatch, capsys)
    for name in ("smoke", "cpu"):
        spec = PROFILES[name].spec("baseline", 0)
        assert {"flip", "overrides", "data", "ema", "precision"}.isdisjoint(spec.identity)
        assert "precision" not in PROFILES[name].protocol.model_dump(mode="json")


def test_hashes_of_published_protocols_do_not_move() -> None:
    cpu = profile("cpu")
    found = [cpu.protocol_of(system).hash for system in ("sit", "dit", "meanflow")]
    assert found == ["1aab7faa", "b655be31", "47aae706"]
    # Those of the results that were published before there were further feature spaces.
    plain = [cpu.protocol_of(s).model_copy(update={"spaces": ()}).hash for s in ("sit", "dit", "meanflow")]
    assert plain == ["6e717cd8", "31f48aaa", "da341b8b"]


def test_a_gpu_run_fits_ten_minutes() -> None:
    row = profile("gpu")
    cost = resources(row, row.spec("baseline", 0))
    assert cost.train_hours[1] + cost.evaluation_hours[1] < 10 / 60
    assert cost.memory_gib < 24


def test_costs_follow_the_operations() -> None:
    row = profile("paper")
    spec = row.spec("baseline", 0)
    flops = train_flops(model_config("SiT-B/2")) * 256 * 400_000
    one, eight = (resources(row.__class__(**{**vars(row), "gpus": g}), spec) for g in (1, 8))
    assert one.train_hours[0] * 3600 == pytest.approx(flops / (989e12 * 0.4))
    assert one.train_hours[0] == pytest.approx(8 * eight.train_hours[0])
    assert one.train_hours[1] == pytest.approx(1.6 * one.train_hours[0])
    assert one.memory_gib > eight.memory_gib
    by_label = {
        spec.name: resources(row, spec)
        for spec in (
            *sweeps.variants(row, 0),
            *sweeps.contrastive(row, 0),
            row.run(0, system="meanflow", name="meanflow-baseline"),
        )
    }
    plain = by_label["baseline"].train_hours[0]
    assert by_label["infonce-l2"].train_hours[0] == plain
    assert by_label["infonce-l2-restricted"].train_hours[0] == pytest.approx(plain * 1.5)
    assert by_label["meanflow-baseline"].train_hours[0] > 1.8 * plain
    assert "8 × H100 for 1.2 to 2.0 h of training" in by_label["baseline"].describe()
