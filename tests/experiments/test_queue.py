"""The queue: what is left, in its order, each run once; and what it publishes."""

from dataclasses import replace
from pathlib import Path

import pytest

from disperse.cli import main
from disperse.errors import ConfigError, DataError, RunFailedError
from disperse.experiments import published, queue, rules, runner
from disperse.experiments.profiles import PROFILES, Profile
from disperse.experiments.rules import Experiment
from disperse.spec import RunSpec

from .cases import TOY, toy

__all__ = ["toy"]


def short(row: Profile, seed: int) -> list[RunSpec]:
    return [row.run(seed)]


def longer(row: Profile, seed: int) -> list[RunSpec]:
    return [row.run(seed, num_steps=6, milestones=(3,))]


@pytest.fixture(autouse=True)
def experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    first = Experiment("first", "does it work?", "toy", short, (1, 2))
    rows = (first, Experiment("second", "does it last?", "toy", longer, (1,), losses_alone=True))
    monkeypatch.setitem(PROFILES, "toy", replace(TOY, name="toy"))
    monkeypatch.setattr(queue, "EXPERIMENTS", {row.name: row for row in rows})
    monkeypatch.setattr(rules, "EXPERIMENTS", {row.name: row for row in rows})


def test_experiments_come_one_after_another_and_a_longer_run_goes_on_when_its_own_comes(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[tuple[int, int, list[int]]]] = []

    def seen(jobs: list[runner.Job], **_: object) -> None:
        asked.append(
            [(spec.seed, spec.num_steps, [step for step, _ in evaluations]) for spec, evaluations in jobs]
        )
        if len(asked) == 1:
            raise RunFailedError("seed 2 is bad")

    monkeypatch.setattr(queue, "complete_jobs", seen)
    with pytest.raises(RunFailedError, match="first: seed 2 is bad"):  # said when all others are done
        queue.complete_queue()
    assert asked == [[(1, 4, [2, 4]), (2, 4, [2, 4])], [(1, 6, [3, 6])]]
    with pytest.raises(ConfigError, match="frist"):
        queue.complete_queue(("frist",))
    with pytest.raises(ConfigError, match="--processes 0"):
        queue.complete_queue(processes=0)


def test_experiments_without_their_data_are_left_out_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(queue, "complete_jobs", lambda jobs, **_: asked.append(len(jobs)))

    def missing(name: str) -> None:
        raise DataError(f"data = {name}: not here")

    monkeypatch.setattr(queue, "load_data", missing)
    with pytest.warns(UserWarning, match="experiments on digits are left out: data = digits: not here"):
        with pytest.raises(ConfigError, match="no experiment has its data"):
            queue.complete_queue()
    assert asked == []


def test_it_completes_publishes_once_and_says_what_is_left(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    asked = {}

    def one_after_another(jobs: list[runner.Job], **options: object) -> None:
        asked.update(options)
        for job in jobs:
            runner.complete(*job)

    monkeypatch.setattr(queue, "complete_jobs", one_after_another)
    assert main(["queue", "--list"]) == 0
    assert "0 of   2 runs,    0 of   4 evaluations" in capsys.readouterr().out
    assert main(["queue", "first", "--processes", "3"]) == 0
    assert asked["processes"] == 3
    assert asked["niceness"] == queue.NICENESS > 0
    assert "2 of   2 runs,    4 of   4 evaluations,   0.0 core-hours left" in capsys.readouterr().out
    rows = {row.experiment.name: row for row in queue.left()}
    assert rows["second"].evaluations == (0, 2)
    assert rows["first"].core_hours == 0 < rows["second"].core_hours
    assert main(["queue", "--publish"]) == 0
    assert "figures/toy/results.jsonl: 4 new" in capsys.readouterr().out
    assert main(["queue", "--publish"]) == 0
    assert "results.jsonl: 0 new" in capsys.readouterr().out
    found = published("toy")
    assert {record["protocol"]["sample_seeds"] for record in found} == {"own"}
    queue.complete_queue(processes=1)
    assert queue.publish_queue() == {"toy": 2}  # the longer run goes on from the shorter one
    alone = [record for record in published("toy") if record["step"] == 3]
    assert [sorted(record["metrics"]) for record in alone] == [["held_out_loss"]]
    assert alone[0]["blocks"] == []
