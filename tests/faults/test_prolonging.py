"""A run that is prolonged, or asked for less than it has, keeps the steps that others load."""

from pathlib import Path

import pytest

from disperse.atomic import write_json
from disperse.errors import StorageError
from disperse.training import checkpoint as checkpoints
from disperse.training import read_spec, train

from ..training.cases import TINY, run


def steps(folder: Path) -> list[int]:
    return checkpoints.saved_steps(folder / "checkpoints")


@pytest.mark.parametrize("milestones", [(), (12,)])
def test_milestones_and_ends_of_before_stay(tmp_path: Path, milestones: tuple[int, ...]) -> None:
    run(tmp_path, num_steps=9, milestones=(3,), checkpoint_interval=2)
    run(tmp_path, num_steps=14, milestones=milestones, checkpoint_interval=2)
    run(tmp_path, num_steps=20, checkpoint_interval=2)
    assert steps(tmp_path) == sorted({3, 9, *milestones, 14, 18, 20})
    spec = read_spec(tmp_path)
    assert (spec.num_steps, spec.milestones) == (20, (3, 9, *milestones, 14))


def test_evaluated_steps_stay(tmp_path: Path) -> None:
    run(tmp_path, num_steps=6, checkpoint_interval=2)
    write_json(tmp_path / "evaluations" / "step_00000004-0123abcd.json", {})
    (tmp_path / "evaluations" / "step_notes.json").write_text("mine")
    run(tmp_path, num_steps=12, checkpoint_interval=2)
    assert steps(tmp_path) == [4, 6, 10, 12]


def test_asking_for_less_takes_nothing_away(tmp_path: Path) -> None:
    run(tmp_path, num_steps=9, milestones=(3,))
    state = run(tmp_path, num_steps=4)
    assert state.step == 9
    assert steps(tmp_path) == [3, 9]
    spec = read_spec(tmp_path)
    assert (spec.num_steps, spec.milestones) == (9, (3, 4))


def test_a_folder_may_be_named_by_text(tmp_path: Path) -> None:
    assert train(TINY.replace(num_steps=1), str(tmp_path), progress=False).step == 1
    assert steps(tmp_path) == [1]


@pytest.mark.parametrize("step", ['"1"', "1.5", "null", "true", "[1]"])
def test_a_log_without_whole_steps_is_named(tmp_path: Path, step: str) -> None:
    run(tmp_path, num_steps=2)
    log = tmp_path / "metrics.jsonl"
    log.write_text(f'{{"step": 1}}\n{{"step": {step}}}\n')
    with pytest.raises(
        StorageError, match=r"metrics\.jsonl:2: step = .*expected an integer.*repair"
    ) as caught:
        run(tmp_path, num_steps=3)
    assert "\n" not in str(caught.value)
    assert log.read_text().count("\n") == 2
