"""What a checkpoint holds is all that is needed, is all used, and is checked before anything changes."""

from pathlib import Path

import pytest
import torch

from disperse.errors import CheckpointError
from disperse.training import TrainState
from disperse.training import checkpoint as checkpoints
from disperse.training.state import load_strictly

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


@pytest.mark.parametrize("kind", ["missing", "extra", "shape", "dtype", "nan", "broadcast"])
def test_weights_that_do_not_fit_change_nothing(kind: str) -> None:
    model = TrainState.initial(TINY, torch.device("cpu")).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wrong = {name: value.clone() + 1 for name, value in before.items()}
    name = "final_layer.linear.bias"
    if kind == "missing":
        del wrong[name]
    elif kind == "extra":
        wrong["extra"] = wrong[name]
    else:
        wrong[name] = {
            "shape": torch.zeros(99), "dtype": wrong[name].double(), "broadcast": torch.zeros(1),
            "nan": torch.full_like(wrong[name], float("nan")),
        }[kind]  # fmt: skip
    with pytest.raises(CheckpointError, match="extra" if kind == "extra" else name):
        load_strictly(model, wrong)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
