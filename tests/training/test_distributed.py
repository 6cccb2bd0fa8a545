"""Two processes train the run that one trains: same numbers to rounding, same ends, same files."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from disperse import distributed
from disperse.atomic import locked, read_jsonl
from disperse.cli import main
from disperse.data import ImageSet, batch_indices, load_data
from disperse.errors import DataError, DisperseError, StorageError
from disperse.losses import exchange
from disperse.objectives import MeanFlowSpec, ShortcutSpec
from disperse.regularizers import AlignmentSpec, ContrastiveSpec, DispersiveSpec, RepaSpec
from disperse.spec import RunSpec
from disperse.training import TrainState, train, trainer
from disperse.training import checkpoint as checkpoints

from ..ranks import Ranks
from .cases import TINY, changed, tensors
from .toy import ToySpec

REPOSITORY = Path(__file__).parents[2]
STEPS = 6
WITHIN = (DispersiveSpec(lam=0.5, local_batch=4),)
WHOLE = (
    DispersiveSpec(lam=0.5, time_weight="clean"),
    DispersiveSpec(variant="covariance", lam=0.5, blocks=(2,)),
)
RUNS: dict[str, dict[str, Any]] = {
    "groups within ranks": {"regularizers": WITHIN},
    "whole batch": {"regularizers": WHOLE},
    "guided meanflow, two views": {
        "model": "MF-Nano/2",
        "objective": MeanFlowSpec(omega=1.0, kappa=0.5),
        "regularizers": (
            ContrastiveSpec(lam=0.25, blocks=(1,)),
            ContrastiveSpec(variant="hinge", lam=0.25, view="independent", local_batch=4),
            AlignmentSpec(lam=0.1),
        ),
    },
    "shortcut, a teacher, a head, targets, an optimiser of its own": {
        "objective": ShortcutSpec(decay=0.9),
        "regularizers": (RepaSpec(lam=0.5, hidden=8), ToySpec(start=1)),
    },
}


def spec(name: str, **changes: Any) -> RunSpec:
    return TINY.replace(**{"num_steps": STEPS, "checkpoint_interval": 3, **RUNS[name], **changes})


def trained(run: RunSpec, folder: Path) -> dict[str, Tensor]:
    return tensors(train(run, folder, progress=False))


def trained_evenly(run: RunSpec, folder: Path) -> dict[str, Tensor]:
    """With an ε of Adam that leaves rounding small.

    The gradient of a key's bias is 0 but for rounding, since a softmax does not see it; divided by its own
    size, as Adam does with the usual ε, rounding becomes a step.
    """
    initial = TrainState.initial

    def started(spec: RunSpec, device: torch.device) -> TrainState:
        state = initial(spec, device)
        state.optimizer.param_groups[0]["eps"] = 1e-3
        return state

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainState, "initial", started)
        return trained(run, folder)


def furthest(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max((a[name] - b[name]).abs().max().item() for name in a)


@pytest.mark.parametrize("name", RUNS)
def test_two_ranks_train_the_run_of_one(ranks: Ranks, name: str, tmp_path: Path) -> None:
    one = trained_evenly(spec(name), tmp_path / "one")
    two, other = ranks(trained_evenly, spec(name), tmp_path / "two")
    assert not changed(two, other)
    assert furthest(one, two) < 1e-6
    ours, theirs = (read_jsonl(tmp_path / folder / "metrics.jsonl") for folder in ("one", "two"))
    assert len(ours) == STEPS
    assert [row.keys() for row in theirs] == [row.keys() for row in ours]
    for row, expected in zip(theirs, ours, strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-6)


def trained_apart(run: RunSpec, folder: Path) -> dict[str, Tensor]:
    """Each rank disperses its own rows alone: what exchanging them must differ from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "needed", lambda rows, local_batch: False)
        return trained_evenly(run, folder)


def test_what_the_comparison_would_catch(ranks: Ranks, tmp_path: Path) -> None:
    one = trained_evenly(spec("whole batch"), tmp_path / "one")
    two, _ = ranks(trained_apart, spec("whole batch"), tmp_path / "two")
    assert furthest(one, two) > 1e-4


def test_a_run_goes_on_with_another_number_of_ranks(ranks: Ranks, tmp_path: Path) -> None:
    run, half = spec("whole batch"), spec("whole batch", num_steps=3)
    one = trained_evenly(run, tmp_path / "one")
    two, _ = ranks(trained_evenly, run, tmp_path / "two")
    trained_evenly(half, tmp_path / "more")
    more, other = ranks(trained_evenly, run, tmp_path / "more")
    ranks(trained_evenly, half, tmp_path / "fewer")
    fewer = trained_evenly(run, tmp_path / "fewer")
    ranks(trained_evenly, half, tmp_path / "same")
    same, _ = ranks(trained_evenly, run, tmp_path / "same")
    assert not changed(more, other)
    assert not changed(same, two)
    assert furthest(more, one) < 1e-6
    assert furthest(fewer, one) < 1e-6
    steps = [row["step"] for row in read_jsonl(tmp_path / "more" / "metrics.jsonl")]
    assert steps == list(range(1, STEPS + 1))


def failed(run: RunSpec, folder: Path, spoil: Callable[[pytest.MonkeyPatch], None]) -> tuple[Any, ...]:
    """How training ends, and with what state."""
    states: list[TrainState] = []
    initial = TrainState.initial

    def kept(spec: RunSpec, device: torch.device) -> TrainState:
        states.append(initial(spec, device))
        return states[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainState, "initial", kept)
        spoil(patch)
        with pytest.raises(DisperseError) as caught:
            train(run, folder, progress=False)
    error = caught.value
    return type(error).__name__, str(error), error.exit_code, states and tensors(states[0])


def nothing(patch: pytest.MonkeyPatch) -> None: ...


def one_image_is_nan(patch: pytest.MonkeyPatch) -> None:
    """The sixth of step 2: on two ranks, the second's."""
    data = load_data("digits")
    images = data.images.clone()
    images[batch_indices(len(data), 8, 0, 2)[5], 0, 3, 3] = float("nan")
    patch.setattr(trainer, "load_data", lambda name: ImageSet(images, data.labels))


def test_nan_on_one_rank_stops_all_before_the_update(ranks: Ranks, tmp_path: Path) -> None:
    run = spec("groups within ranks")
    alone = failed(run, tmp_path / "one", one_image_is_nan)
    clean, _ = ranks(trained, spec("groups within ranks", num_steps=2), tmp_path / "clean")
    for kind, message, code, state in ranks(failed, run, tmp_path / "two", one_image_is_nan):
        assert (kind, message, code) == alone[:3]
        assert message.startswith("step 2: diffusion loss is not finite (samples of the batch: [5])")
        assert not changed(state, clean)
    assert len(read_jsonl(tmp_path / "two" / "metrics.jsonl")) == 2


def infinite_gradient(patch: pytest.MonkeyPatch) -> None:
    """On the first rank alone, with a finite loss."""
    initial = TrainState.initial

    def hooked(spec: RunSpec, device: torch.device) -> TrainState:
        state = initial(spec, device)
        if distributed.rank() == 0:
            state.model.final_layer.linear.bias.register_hook(lambda gradient: gradient * float("inf"))
        return state

    patch.setattr(TrainState, "initial", hooked)


def test_an_infinite_gradient_on_one_rank_stops_all(ranks: Ranks, tmp_path: Path) -> None:
    first, second = ranks(failed, spec("groups within ranks"), tmp_path, infinite_gradient)
    assert first[:3] == second[:3]
    assert first[1].startswith("step 0: gradient of final_layer.linear.bias is not finite")
    assert first[2] == 4


def signal_to_the_second(patch: pytest.MonkeyPatch) -> None:
    update = TrainState.update_averages

    def told(state: TrainState) -> None:
        if distributed.rank() == 1 and state.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        update(state)

    patch.setattr(TrainState, "update_averages", told)


def test_a_signal_to_one_rank_ends_all(ranks: Ranks, tmp_path: Path) -> None:
    run = spec("whole batch", checkpoint_interval=100)
    ends = ranks(failed, run, tmp_path / "stopped", signal_to_the_second)
    assert ends[0][:3] == ends[1][:3]
    assert ends[0][0] == "Interrupted"
    assert "stopped by SIGTERM after step 3, saved" in ends[0][1]
    assert ends[0][2] == 128 + signal.SIGTERM
    assert checkpoints.saved_steps(tmp_path / "stopped" / "checkpoints") == [3]
    gone_on, _ = ranks(trained, run, tmp_path / "stopped")
    whole, _ = ranks(trained, run, tmp_path / "whole")
    assert not changed(gone_on, whole)


def other_images(patch: pytest.MonkeyPatch) -> None:
    data = load_data("digits")
    content = "ab"[distributed.rank()]
    patch.setattr(trainer, "load_data", lambda name: ImageSet(data.images, data.labels, content))


def no_data(patch: pytest.MonkeyPatch) -> None:
    """On the second rank, where the first has found some."""

    def missing(name: str) -> ImageSet:
        if distributed.rank() == 1:
            raise DataError("no data here")
        return load_data(name)

    patch.setattr(trainer, "load_data", missing)


def disk_full(patch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageError("no space")

    patch.setattr(checkpoints, "save", full)  # the first rank's alone is called


@pytest.mark.parametrize(
    ("changes", "spoil", "kind", "message"),
    [
        ({"batch_size": 9, "regularizers": ()}, nothing, "ConfigError", "not divisible by the 2 ranks"),
        ({}, other_images, "DataError", "the ranks found [(1297, 'a'), (1297, 'b')]"),
        ({}, no_data, "DataError", "no data here"),
        ({"seed": 5}, nothing, "ConfigError", "seed: 0 there, 5 asked"),
        ({}, disk_full, "StorageError", "no space"),
    ],
)
def test_an_error_of_one_rank_is_that_of_all(
    ranks: Ranks, changes: dict[str, Any], spoil: Any, kind: str, message: str, tmp_path: Path
) -> None:
    if "seed" in changes:
        train(spec("groups within ranks", num_steps=0), tmp_path / "run", progress=False)
    ends = ranks(failed, spec("groups within ranks", **changes), tmp_path / "run", spoil)
    assert ends[0][:3] == ends[1][:3]
    assert ends[0][0] == kind
    assert message in ends[0][1]
    assert "\n" not in ends[0][1]
    assert (tmp_path / "run").exists() == ("seed" in changes or spoil is disk_full)


def test_a_run_of_ranks_is_locked(ranks: Ranks, tmp_path: Path) -> None:
    with locked(tmp_path / "lock"):
        ends = ranks(failed, spec("groups within ranks"), tmp_path, nothing)
    assert [end[2] for end in ends] == [75, 75]


def averaged() -> list[Tensor]:
    heads = [torch.nn.Parameter(torch.zeros(2, 3)), torch.nn.Parameter(torch.zeros(4))]
    for size, head in enumerate(heads):
        head.grad = torch.full_like(head, float(10**size * (1 + distributed.rank())))
    distributed.average_gradients([*heads, torch.nn.Parameter(torch.zeros(1))])
    return [head.grad for head in heads if head.grad is not None]


def test_gradients_of_heads_are_averaged(ranks: Ranks) -> None:
    for first, second in ranks(averaged):
        assert torch.equal(first, torch.full((2, 3), 1.5))
        assert torch.equal(second, torch.full((4,), 15.0))


@pytest.mark.parametrize(
    ("command", "message"),
    [(["list"], "several processes can train or sample"), (["train", "--profile", "smoke"], "torchrun")],
)
def test_what_ranks_cannot_do_is_one_line(
    command: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)  # nowhere to meet
    assert main(command) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(rank: int, meeting: int, folder: Path, *options: str) -> subprocess.Popen[str]:
    environment = {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(meeting), "OMP_NUM_THREADS": "1", "DISPERSE_HOME": str(folder),
    }  # fmt: skip
    command = ["train", "--profile", "smoke", "--device", "cpu", "--out", str(folder), *options]
    return subprocess.Popen([sys.executable, "-m", "disperse", *command], cwd=REPOSITORY, text=True,
                            env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip


def test_a_killed_rank_takes_the_others_with_it(tmp_path: Path) -> None:
    meeting = port()
    processes = [start(rank, meeting, tmp_path, "--steps", "100000") for rank in range(2)]
    try:
        for _ in range(1200):
            if (tmp_path / "metrics.jsonl").exists() or any(p.poll() is not None for p in processes):
                break
            time.sleep(0.1)
        processes[1].kill()
        _, error = processes[0].communicate(timeout=120)
        assert processes[0].returncode == 5, error
        assert "\ndisperse train: rank 0: lost contact with another rank (" in error.replace("\r", "\n")
        assert "Traceback" not in error
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_torchrun(tmp_path: Path) -> None:
    """The command of the README; what one rank says is said once."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               "-m", "disperse", "train", "--profile", "smoke", "--device", "cpu", "--steps", "2"]  # fmt: skip
    done = subprocess.run([*command, "--out", str(tmp_path / "run")], cwd=REPOSITORY, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("2 steps, ") == 1
    assert "warning" not in done.stderr
    assert checkpoints.saved_steps(tmp_path / "run" / "checkpoints") == [2]
