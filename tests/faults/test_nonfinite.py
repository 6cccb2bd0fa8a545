"""A loss or gradient that is not finite stops training before the update, and says which and where."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from disperse.atomic import read_jsonl
from disperse.data import ImageSet, load_data
from disperse.errors import NonFiniteError
from disperse.regularizers import DispersiveSpec
from disperse.training import TrainState, trainer
from disperse.training import checkpoint as checkpoints

from ..training.cases import run, tensors

STEP = 7
NAME = "blocks.2.mlp.fc1.weight"


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch) -> list[TrainState]:
    """The states that training makes, for a look at them after it has failed."""
    made: list[TrainState] = []
    initial = TrainState.initial

    def remember(spec: object, device: torch.device) -> TrainState:
        made.append(initial(spec, device))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(TrainState, "initial", remember)
    return made


def spoil_gradient(states: list[TrainState], patch: pytest.MonkeyPatch) -> None:
    """One entry of one gradient is infinite; the loss is not."""
    made = TrainState.initial

    def hooked(spec: object, device: torch.device) -> TrainState:
        state = made(spec, device)  # type: ignore[arg-type]

        def hook(gradient: Tensor) -> Tensor:
            if state.step != STEP:
                return gradient
            gradient = gradient.clone()
            gradient[3, 1] = float("inf")
            return gradient

        dict(state.model.named_parameters())[NAME].register_hook(hook)
        return state

    patch.setattr(TrainState, "initial", hooked)


def spoil_sample(states: list[TrainState], patch: pytest.MonkeyPatch) -> None:
    """The third image of one batch has one NaN pixel."""

    class Spoiled:
        def __getitem__(self, index: Tensor) -> Tensor:
            images = load_data("digits").images[index]
            if states[-1].step == STEP:
                images[2, 0, 4, 4] = float("nan")
            return images

        shape = load_data("digits").images.shape

    spoiled = ImageSet(Spoiled(), load_data("digits").labels)  # type: ignore[arg-type]
    patch.setattr(trainer, "load_data", lambda name: spoiled)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_gradient, rf"step 7: gradient of {NAME} is not finite \(samples of the batch: none"),
        (spoil_sample, r"step 7: diffusion loss is not finite \(samples of the batch: \[2\]\)"),
    ],
    ids=["one gradient", "one sample"],
)
@pytest.mark.parametrize("log_interval", [1, 5])  # step 7 is logged, or not
def test_nothing_is_updated_and_the_log_is_kept(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    states: list[TrainState],
    spoil: Callable[[list[TrainState], pytest.MonkeyPatch], None],
    message: str,
    log_interval: int,
) -> None:
    clean = tensors(run(tmp_path / "clean", num_steps=STEP, log_interval=log_interval))
    spoil(states, monkeypatch)
    with pytest.raises(NonFiniteError, match=message) as caught:
        run(tmp_path / "run", log_interval=log_interval)
    assert caught.value.exit_code == 4
    assert "\n" not in str(caught.value)
    assert states[-1].step == STEP
    spoiled = tensors(states[-1])
    assert all(spoiled[name].equal(clean[name]) for name in clean)
    assert read_jsonl(tmp_path / "run" / "metrics.jsonl") == read_jsonl(tmp_path / "clean" / "metrics.jsonl")


def test_a_weight_that_is_too_large_stops_the_first_step(tmp_path: Path, states: list[TrainState]) -> None:
    with pytest.raises(NonFiniteError, match=r"step 0: .* is not finite.*lower .* lam"):
        run(tmp_path, regularizers=(DispersiveSpec(lam=1e300),))
    fresh = TrainState.initial(states[0].spec, torch.device("cpu")).model.state_dict()
    assert all(torch.equal(value, fresh[name]) for name, value in states[0].model.state_dict().items())
    assert not states[0].optimizer.state
    assert not checkpoints.saved_steps(tmp_path / "checkpoints")
