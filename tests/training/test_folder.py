"""A folder holds one run and one process; what cannot work makes none; what it gives back was asked for."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from disperse import atomic, load_model
from disperse.errors import CheckpointError, ConfigError, LockedError
from disperse.training import checkpoint as checkpoints

from .cases import run


def test_a_folder_holds_one_run(undisturbed: Path) -> None:
    with pytest.raises(ConfigError, match="seed: 0 there, 5 asked"):
        run(undisturbed, seed=5)


def test_a_run_is_locked_by_its_process(tmp_path: Path) -> None:
    with (
        atomic.locked(tmp_path / "lock"),
        pytest.raises(LockedError, match=f"process {os.getpid()}") as caught,
    ):
        run(tmp_path)
    assert caught.value.exit_code == 75


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 5000, "regularizers": ()}, "1297"),
        ({"model": "SiT-S/2", "overrides": {}}, "expects"),
        ({"model": "SiT-X"}, "did you mean"),
        ({"batch_size": 6}, "does not divide"),
        ({"device": "cuda:77"}, "not usable"),
        ({"data": "digit"}, "digits"),
    ],
)
def test_what_cannot_work_fails_before_a_folder_is_made(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    grouped = {"regularizers": ({"local_batch": 4},), **change}
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "new", **grouped)
    assert not (tmp_path / "new").exists()


def test_milestones_and_the_two_newest_are_kept(tmp_path: Path) -> None:
    run(tmp_path, num_steps=9, milestones=(3,), checkpoint_interval=2)
    assert checkpoints.saved_steps(tmp_path / "checkpoints") == [3, 8, 9]
    run(tmp_path, num_steps=14, milestones=(3, 9), checkpoint_interval=2)
    assert checkpoints.saved_steps(tmp_path / "checkpoints") == [3, 9, 12, 14]


def test_load_model_gives_the_first_average_unless_others_are_asked_for(undisturbed: Path) -> None:
    models = [load_model(undisturbed, weights=name) for name in (None, "power-0.1", "raw", "constant-0.9")]
    weights = [model.final_layer.linear.weight for model in models]
    assert torch.equal(weights[0], weights[1])
    assert torch.pdist(torch.stack(weights[1:]).flatten(1)).min() > 1e-5
    for model in models:
        assert not model.training
        assert not any(p.requires_grad for p in model.parameters())
    with pytest.raises(CheckpointError, match=r"power-0\.1"):
        load_model(undisturbed, weights="power-0.2")


def test_load_model_reads_the_step_that_is_asked_for(tmp_path: Path) -> None:
    run(tmp_path, num_steps=4, milestones=(2,))
    weights = [load_model(tmp_path, step=step).final_layer.linear.weight for step in (2, 4, None)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])
    with pytest.raises(CheckpointError, match="step_00000000"):  # not the newest in its place
        load_model(tmp_path, step=0)
