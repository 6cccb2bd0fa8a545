"""What a checkpoint holds is all that is needed, is all used, and is checked before anything changes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from disperse import load_model
from disperse.atomic import read_jsonl
from disperse.errors import CheckpointError
from disperse.spec import DispersiveSpec
from disperse.training import TrainState, ema
from disperse.training import checkpoint as checkpoints

from .cases import TINY, changed, run, tensors

PARTS = {"model", "ema.power-0.1", "ema.constant-0.9", "optimizer"}
ENTRY = {
    "model": "blocks.1.mlp.fc1.weight",
    "ema.power-0.1": "blocks.1.mlp.fc1.weight",
    "ema.constant-0.9": "blocks.1.mlp.fc1.weight",
    "optimizer": "exp_avg.blocks.1.mlp.fc1.weight",
}


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory) -> TrainState:
    """The state after ten steps."""
    return run(tmp_path_factory.mktemp("ten"), num_steps=10)


def place(folder: Path, saved: checkpoints.Checkpoint) -> None:
    """Make a run folder that goes on from ``saved``."""
    checkpoints.save(folder / "checkpoints", saved)


def test_every_part_of_the_checkpoint_is_used(ten: TrainState, tmp_path: Path) -> None:
    place(tmp_path / "same", ten.to_checkpoint())
    whole = tensors(run(tmp_path / "same", num_steps=13))
    assert {name.split("/")[0] for name in whole} == PARTS
    for part in sorted(PARTS):
        saved = ten.to_checkpoint()
        saved.tensors[part] = {**saved.tensors[part], ENTRY[part]: saved.tensors[part][ENTRY[part]] + 1e-3}
        place(tmp_path / part, saved)
        moved = changed(whole, tensors(run(tmp_path / part, num_steps=13)))
        assert moved == ({part} if part.startswith("ema") else PARTS)  # an average moves itself alone


@pytest.mark.parametrize("part", sorted(PARTS))
@pytest.mark.parametrize(
    "fault", ["missing part", "missing", "unexpected", "shape", "broadcast", "dtype", "nan"]
)
def test_a_checkpoint_that_does_not_fit_changes_nothing(ten: TrainState, part: str, fault: str) -> None:
    saved, name = ten.to_checkpoint(), ENTRY[part]
    named = saved.tensors[part] = dict(saved.tensors[part])
    own = named[name]
    if fault == "missing part":
        del saved.tensors[part]
    elif fault == "missing":
        del named[name]
    elif fault == "unexpected":
        named["blocks.9.mlp.fc1.weight"] = own
    else:
        named[name] = {
            "shape": own[:3], "broadcast": own[:1, :1], "dtype": own.double(),
            "nan": own.clone().index_fill_(0, torch.tensor([2]), float("nan")),
        }[fault]  # fmt: skip
    fresh = TrainState.initial(TINY, torch.device("cpu"))
    before = {key: value.clone() for key, value in fresh.model.state_dict().items()}
    with pytest.raises(
        CheckpointError, match=part if fault == "missing part" else r"blocks\..\.mlp\.fc1\.weight"
    ):
        fresh.restore(saved)
    assert fresh.step == 0
    assert not fresh.optimizer.state
    for weights in (fresh.model.state_dict(), *fresh.averages.values()):
        assert all(torch.equal(weights[key], before[key]) for key in before)


def test_the_loss_is_the_diffusion_loss_plus_the_weighted_terms(tmp_path: Path) -> None:
    terms = (DispersiveSpec(lam=0.5), DispersiveSpec(variant="hinge", lam=0.125, blocks=(3,)))
    run(tmp_path, regularizers=terms, num_steps=6, log_interval=2)
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 4, 6]
    for row in rows:
        total = row["diffusion"] + 0.5 * row["regularizer_0"] + 0.125 * row["regularizer_1"]
        assert row["loss"] == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_power_average_weighs_step_i_by_the_growth_of_a_power(width: float) -> None:
    exponent = ema.power_exponent(width) + 1
    averages = np.zeros(40)  # the average of unit vectors: its weights
    for step in range(1, 41):
        beta = ema.decay(f"power-{width}", step)
        averages = beta * averages + (1 - beta) * np.eye(40)[step - 1]
    steps = np.arange(1, 41)
    closed = (steps**exponent - (steps - 1) ** exponent) / 40**exponent
    np.testing.assert_allclose(averages, closed, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25, 0.28])
def test_power_average_has_the_width_of_its_name(width: float) -> None:
    exponent, steps = ema.power_exponent(width) + 1, np.arange(1, 100_001)
    share = (steps**exponent - (steps - 1.0) ** exponent) / 1e5**exponent
    mean = (share * steps).sum()
    assert np.sqrt((share * (steps - mean) ** 2).sum()) / 1e5 == pytest.approx(width, rel=1e-3)


def test_averages_do_not_depend_on_where_a_run_was_cut(ten: TrainState, tmp_path: Path) -> None:
    place(tmp_path / "cut", ten.to_checkpoint())
    assert not changed(tensors(run(tmp_path / "cut")), tensors(run(tmp_path / "whole")))


def test_load_model_reads_the_step_that_is_asked_for(tmp_path: Path) -> None:
    run(tmp_path, num_steps=4, milestones=(2,))
    weights = [load_model(tmp_path, step=step).final_layer.linear.weight for step in (2, 4, None)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])
    with pytest.raises(CheckpointError, match="step_00000000"):  # not the newest in its place
        load_model(tmp_path, step=0)


def test_milestones_and_the_two_newest_are_kept(tmp_path: Path) -> None:
    run(tmp_path, num_steps=9, milestones=(3,), checkpoint_interval=2)
    assert checkpoints.saved_steps(tmp_path / "checkpoints") == [3, 8, 9]
    run(tmp_path, num_steps=14, milestones=(3, 9), checkpoint_interval=2)
    assert checkpoints.saved_steps(tmp_path / "checkpoints") == [3, 9, 12, 14]
