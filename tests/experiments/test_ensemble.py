"""Ensembles by the command line: which members, how many fit, their records, and mistakes in one line."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from disperse import atomic
from disperse.experiments import dispersive_term, evaluate_run, profile
from disperse.experiments.ensemble import FIRST_SEED, cells, main, members
from disperse.experiments.ensemble_records import Clock, Report
from disperse.experiments.ensemble_waves import Pace, that_fit, train_wave, waves_of
from disperse.experiments.rules import rule_protocol
from disperse.models.checkpoints import load_model_file
from disperse.sampling import sample
from disperse.spec import RunSpec
from disperse.store import check_seal, select
from disperse.training import train

TINY = ["--set", 'overrides={"hidden_size": 16, "depth": 4, "num_heads": 2}', "--set", "batch_size=16"]
ARGUMENTS = ["--profile", "smoke", "--device", "cpu", "--samples", "20", "--minutes", "5", *TINY]


def test_cells_are_named_by_run_or_experiment_and_stand_once() -> None:
    named = cells(["baseline", "E7-variants", "l2-lam1-tau2", "variants-explored"], "cpu", 3)
    assert [spec.name for spec in named] == [
        "baseline", "infonce-l2", "infonce-cosine", "hinge", "covariance", "l2-lam1-tau2",
    ]  # fmt: skip
    assert named[0] == profile("cpu").spec("baseline", 3)  # of the profile's size, not of its longer runs
    assert {spec.seed for spec in named} == {3}


def test_members_are_runs_of_another_engine_seed_by_seed() -> None:
    specs = members(["variants-explored"], "cpu", range(FIRST_SEED, FIRST_SEED + 3), steps=7)
    assert [(spec.seed, spec.name) for spec in specs[:3]] == [
        (100, "baseline"),
        (100, "infonce-l2"),
        (101, "baseline"),
    ]
    assert {(spec.engine, spec.num_steps, spec.milestones) for spec in specs} == {("ensemble-1", 7, ())}
    assert {spec.engine for spec in members(["variants-explored"], "cpu", range(1), draws="keyed")} == {
        "single"
    }


def test_whole_seeds_fit_and_waves_are_of_one_shape() -> None:
    specs = members(["variants-explored", "meanflow-patch2-baseline"], "cpu", range(4))
    taken, others = that_fit(specs, 100, lambda wave: 10.0 * len(wave), 65.0)
    assert [spec.seed for spec in taken] == [0, 0, 0, 1, 1, 1]
    assert len(taken) + len(others) == len(specs)
    assert len(that_fit(specs, 100, lambda wave: 10.0, 5.0)[0]) == 3  # one seed is begun in any case
    assert len(that_fit(specs, 100, lambda wave: 10.0, 20.0)[0]) == 12  # what a wave costs alone counts once
    assert len(that_fit(specs, 4, lambda wave: 10.0, 20.0)[0]) == 6
    waves = waves_of(specs, 3)
    assert sorted(len(wave) for wave in waves) == [2, 2, 2, 3, 3]
    assert all(len({(spec.model, spec.num_steps) for spec in wave}) == 1 for wave in waves)
    assert [wave[0].seed for wave in waves] == sorted(wave[0].seed for wave in waves)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ensemble")
    names = "baseline,infonce-l2,infonce-l2-restricted"
    assert main(["--cells", names, "--seeds", "2", "--steps", "4", "--members", "4", "--keep", "1",
                 "--commit", "abc", "--out", str(out), *ARGUMENTS]) == 0  # fmt: skip
    return out


def records(out: Path) -> list[dict[str, Any]]:
    return atomic.read_jsonl(out / "results.jsonl")


def test_every_member_has_a_sealed_record_of_the_published_form(done: Path) -> None:
    found = records(done)
    assert len(found) == 6
    for record in found:
        check_seal(record, "record")
        assert (record["device"], record["commit"], record["step"]) == ("cpu", "abc", 4)
        assert record["spec"]["engine"] == "ensemble-1"
        assert {"fd", "precision", "recall", "agreement", "guided_agreement"} <= record["metrics"].keys()
        assert record["blocks"]
    specs = members(["baseline"], "smoke", range(100, 102), steps=4)
    of_tiny = [RunSpec(**{**dict(spec), "overrides": {"hidden_size": 16, "depth": 4, "num_heads": 2}, "batch_size": 16})
               for spec in specs]  # fmt: skip
    assert {spec.fingerprint for spec in of_tiny} <= {record["fingerprint"] for record in found}
    assert select(found, profile("smoke").spec("baseline", 100), profile("smoke").protocol) == []


def test_the_report_says_what_took_how_long(done: Path) -> None:
    report = json.loads((done / "report.json").read_text())
    assert [wave["steps"] for wave in report["waves"]] == [4, 4]
    assert report["facts"]["engine"] == "ensemble-1"
    assert not any(report[name] for name in ("not_finite", "unfinished", "not_begun", "failed"))


def test_weights_that_are_kept_are_those_that_were_measured(done: Path) -> None:
    (path,) = done.glob("weights-*.safetensors")
    model = load_model_file(path)
    assert sample(model, [0], [0], num_steps=1).isfinite().all()


def test_what_is_done_is_not_done_again(done: Path, capsys: pytest.CaptureFixture) -> None:
    before = (done / "results.jsonl").read_bytes()
    names = "baseline,infonce-l2,infonce-l2-restricted"
    assert main(["--cells", names, "--seeds", "2", "--steps", "4", "--out", str(done), *ARGUMENTS]) == 0
    assert (done / "results.jsonl").read_bytes() == before
    assert "6 in" in capsys.readouterr().out


def test_a_shorter_run_or_other_samples_are_not_taken_for_what_is_asked(tmp_path: Path) -> None:
    out = ["--cells", "baseline", "--out", str(tmp_path), *ARGUMENTS]
    for more in (["--steps", "2"], ["--steps", "4"], ["--steps", "4", "--samples", "30"]):
        assert main([*out, *more]) == 0
    assert [(r["step"], r["protocol"]["num_samples"]) for r in records(tmp_path)] == [
        (2, 20),
        (4, 20),
        (4, 30),
    ]


def test_an_experiment_stands_for_its_cells() -> None:
    found = cells(["E4", "baseline"], "cpu", 100)
    assert [spec.name for spec in found] == ["baseline", "infonce-l2", "l2-rms", "l2-late", "covariance-lam2"]


def test_keyed_members_are_measured_as_the_single_run(tmp_path: Path) -> None:
    arguments = ["--cells", "infonce-l2", "--first-seed", "3", "--steps", "4", "--draws", "keyed"]
    assert main([*arguments, "--out", str(tmp_path), *ARGUMENTS]) == 0
    (record,) = records(tmp_path)
    (spec,) = members(["infonce-l2"], "smoke", range(3, 4), draws="keyed", steps=4, changes=TINY[1::2])
    assert record["fingerprint"] == spec.fingerprint
    train(spec.replace(device="cpu"), tmp_path / "run", progress=False)
    protocol = rule_protocol(profile("smoke"), "sit").model_copy(update={"num_samples": 20})
    single = evaluate_run(tmp_path / "run", 4, protocol, device="cpu")
    assert record.keys() == single.keys()
    for name, metric in single["metrics"].items():
        assert record["metrics"][name]["value"] == pytest.approx(metric["value"], rel=1e-3), name
    assert record["terms"][0]["value"] == pytest.approx(single["terms"][0]["value"], rel=1e-3)
    assert spec.regularizers == (dispersive_term("infonce-l2"),)


def test_a_member_that_diverges_has_no_record_and_is_named(tmp_path: Path) -> None:
    out = ["--out", str(tmp_path), "--steps", "4", *ARGUMENTS]
    assert main(["--cells", "baseline", "--set", "optimizer.lr=1e30", *out]) == 0
    assert not records(tmp_path)
    (bad,) = json.loads((tmp_path / "report.json").read_text())["not_finite"]
    assert bad["seed"] == FIRST_SEED


class Counting(Clock):
    """A clock that is a second later each time that it is read."""

    reads = 0

    @property
    def spent(self) -> float:
        self.reads += 1
        return float(self.reads)


def test_when_time_is_up_members_stay_at_the_step_they_have_reached(capsys: pytest.CaptureFixture) -> None:
    specs = members(["baseline"], "smoke", range(2), steps=100, changes=TINY[1::2])
    report = Report({})
    ensemble = train_wave(specs, torch.device("cpu"), "device", Counting(60.0), 7.5, report)
    assert ensemble.step == 7
    assert (report.waves[0]["steps"], report.waves[0]["of"]) == (7, 100)
    assert "2 members stay at step 7 of 100" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cells", "baselin"], 'did you mean "baseline"'),
        (["--cells", "baseline", "--draws", "gpu"], "--draws = 'gpu'"),
        (["--cells", "baseline", "--profile", "paper"], "measured by a classifier"),
        (["--cells", "baseline", "--profile", "cpus"], "profile"),
        (["--cells", "baseline", "--seeds", "0"], "--seeds = 0"),
        (["--cells", "baseline", "--steps", "0"], "--steps = 0"),
        (["--cells", "baseline", "--minutes", "0"], "--minutes 0"),
        (["--cells", "baseline", "--members", "0"], "--members = 0"),
        (["--cells", "baseline", "--measure-on", "gpu"], "--measure-on = 'gpu'"),
        (["--cells", "baseline", "--device", "cuda:77"], "not usable here"),
        (["--cells", "baseline", "--set", "model=SiT-Nano/3"], "model"),
        (["--cells", "baseline", "--set", "batch_sise=3"], "batch_sise"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("ensemble: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("gpu_ensemble.sh", ["--bad"], "--bad: expected --minutes"),
        ("gpu_ensemble.sh", ["--seeds"], "--seeds: expected a value"),
        ("gpu_cifar.sh", [], "--data: name the folder"),
        ("gpu_cifar.sh", ["--data", "nowhere"], "no such folder"),
    ],
)
def test_scripts_for_a_gpu_refuse_mistakes_in_one_line(
    script: str, arguments: list[str], message: str
) -> None:
    path = Path(__file__).parents[2] / "scripts" / script
    done = subprocess.run(["bash", str(path), *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_pace_of_a_stack_has_a_part_of_its_own_and_one_of_each_member() -> None:
    assert Pace(0.5, 0.25).seconds(4, 10) == 15.0
