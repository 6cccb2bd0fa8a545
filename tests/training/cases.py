"""A run that takes a third of a second: four narrow blocks, eight images a step."""

from pathlib import Path
from typing import Any

from torch import Tensor

from disperse import atomic
from disperse.regularizers import DispersiveSpec
from disperse.spec import OptimizerSpec, RunSpec
from disperse.training import TrainState, train
from disperse.training import checkpoint as checkpoints

TINY = RunSpec(
    name="tiny",
    model="SiT-Nano/2",
    overrides={"hidden_size": 16, "depth": 4, "num_heads": 2},
    regularizers=(DispersiveSpec(variant="infonce-l2", lam=0.5, tau=0.5),),
    optimizer=OptimizerSpec(lr=1e-3, warmup_steps=4),
    batch_size=8,
    label_drop=0.25,
    ema=("power-0.1", "constant-0.9"),
    num_steps=30,
    checkpoint_interval=10,
    log_interval=1,
    device="cpu",
)


def run(folder: Path, **changes: Any) -> TrainState:
    """Train ``TINY`` with fields replaced in ``folder``."""
    return train(TINY.replace(**changes), folder, progress=False)


def tensors(state: TrainState) -> dict[str, Tensor]:
    """A copy of everything that the next step depends on: weights, averages, optimiser."""
    parts = state.to_checkpoint().tensors
    return {f"{part}/{name}": value.clone() for part, named in parts.items() for name, value in named.items()}


def changed(a: dict[str, Tensor], b: dict[str, Tensor]) -> set[str]:
    """Parts in which two states differ in any bit of a value."""
    assert a.keys() == b.keys()
    return {name.split("/")[0] for name in a if not a[name].equal(b[name])}


def content(folder: Path, step: int = 30) -> dict[str, str]:
    """Hashes of everything that a run of so many steps leaves, but for the time it took."""
    place = checkpoints.folder_of(folder / "checkpoints", step)
    hashes = {path.name: atomic.sha256_file(path) for path in place.glob("*.safetensors")}
    return {**hashes, "metrics": atomic.sha256_file(folder / "metrics.jsonl")}
