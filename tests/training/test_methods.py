"""What a method brings is trained, checked, saved and found again: heads, own optimisers, targets, teachers."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from disperse import load_model, sample
from disperse.data import load_data
from disperse.data.sets import flipped
from disperse.errors import CheckpointError, NonFiniteError
from disperse.objectives import ShortcutSpec
from disperse.regularizers import RepaSpec
from disperse.regularizers.encoders import FrozenEncoder, frozen_encoder
from disperse.training import TrainState
from disperse.training.targets import Targets

from .cases import TINY, content, run, tensors
from .toy import Toy, ToySpec

# What is beside model, optimizer and the averages of TINY in a checkpoint.
BRINGS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "repa": ({"regularizers": (RepaSpec(hidden=8),)}, {"regularizer.0"}),
    "shortcut": ({"objective": ShortcutSpec(decay=0.99), "regularizers": ()}, {"ema.constant-0.99"}),
    "toy": ({"regularizers": (*TINY.regularizers, ToySpec())}, {"regularizer.1", "regularizer.1.optimizer"}),
}


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DISPERSE_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("name", BRINGS)
def test_a_run_in_parts_is_the_whole_run(name: str, tmp_path: Path) -> None:
    changes, brings = BRINGS[name]
    for length in (1, 3, 4, 8):
        run(tmp_path / "parts", num_steps=length, **changes)
    run(tmp_path / "whole", num_steps=8, **changes)
    got = content(tmp_path / "parts", 8)
    assert got == content(tmp_path / "whole", 8)
    common = {"model", "optimizer", "ema.power-0.1", "ema.constant-0.9"}
    assert set(got) - {"metrics"} == {f"{part}.safetensors" for part in common | brings}


@pytest.mark.parametrize("term", [RepaSpec(lam=0.0, hidden=8), ToySpec(lam=0.0)])
def test_at_weight_0_the_network_is_that_of_the_base_run(term: Any, tmp_path: Path) -> None:
    base = run(tmp_path / "base", num_steps=6, regularizers=())
    own = run(tmp_path / "own", num_steps=6, regularizers=(term,))
    for name, value in base.model.state_dict().items():
        assert torch.equal(value, own.model.state_dict()[name]), name
    for name, average in base.averages.items():
        assert all(torch.equal(value, own.averages[name][key]) for key, value in average.items())


def test_the_two_optimisers_do_not_touch_each_others_parameters(tmp_path: Path) -> None:
    """The judge moves at steps 2, 4, ... alone, and only it by its own optimiser."""
    states: list[dict[str, Tensor]] = []
    for length in range(1, 6):
        states.append(tensors(run(tmp_path, num_steps=length, regularizers=(ToySpec(start=2, every=2),))))
    moved = [
        {name for name in before if name in after and not before[name].equal(after[name])}
        for before, after in zip(states, states[1:], strict=False)
    ]
    judge = {"regularizer.0/judge.weight", "regularizer.0/judge.bias"}
    head = {"regularizer.0/head.weight", "regularizer.0/head.bias"}
    # Update number k + 2 is made at step k + 1, counted from 0.
    assert [bool(judge & names) for names in moved] == [False, True, False, True]
    assert all(head <= names for names in moved)
    still = run(tmp_path / "still", num_steps=5, regularizers=(ToySpec(start=99),))
    assert not any("regularizer.0.optimizer" in part for part in still.to_checkpoint().tensors)
    first = TrainState.initial(still.spec, torch.device("cpu")).regularizers[0]
    assert torch.equal(first.state_dict()["judge.weight"], still.regularizers[0].state_dict()["judge.weight"])


def test_a_head_that_is_missing_or_of_another_shape_is_named(tmp_path: Path) -> None:
    state = run(tmp_path, num_steps=2, regularizers=(RepaSpec(hidden=8),))
    saved = state.to_checkpoint()
    part = saved.tensors.pop("regularizer.0")
    with pytest.raises(CheckpointError, match=r"has no regularizer\.0"):
        state.restore(saved)
    saved.tensors["regularizer.0"] = {**part, "heads.0.0.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"regularizer\.0.*heads\.0\.0\.weight"):
        state.restore(saved)


def test_an_infinite_gradient_of_a_head_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = TrainState.initial

    def broken(spec: Any, device: torch.device) -> TrainState:
        state = build(spec, device)
        state.heads[0].register_hook(lambda gradient: gradient * float("inf"))
        return state

    monkeypatch.setattr(TrainState, "initial", broken)
    with pytest.raises(
        NonFiniteError, match=r"gradient of regularizer\.0\.heads\.0\.0\.weight is not finite"
    ):
        run(tmp_path, num_steps=2, regularizers=(RepaSpec(hidden=8),))


def test_an_infinite_own_loss_stops_before_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Toy, "own_loss", lambda self, step, first, target: self.score(first).sum() * float("inf")
    )
    with pytest.raises(NonFiniteError, match="step 0: the own loss of regularizer 0 is not finite"):
        run(tmp_path, num_steps=2, regularizers=(ToySpec(),))


def test_weights_with_what_a_method_brought_are_sampled_without_it(tmp_path: Path) -> None:
    run(tmp_path, num_steps=2, **BRINGS["shortcut"][0])
    model = load_model(tmp_path)
    assert model.objective.kind == "shortcut"
    assert sample(model, [0], 3, num_steps=1).isfinite().all()


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Images that an encoder reads, call by call."""
    calls: list[int] = []
    read = FrozenEncoder.__call__

    def counting(self: FrozenEncoder, images: Tensor) -> Tensor:
        calls.append(len(images))
        return read(self, images)

    monkeypatch.setattr(FrozenEncoder, "__call__", counting)
    return calls


def test_targets_are_computed_once_per_image_and_kept_by_the_encoders_weights(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls, data = counted(monkeypatch), load_data("digits:100")
    encoder = frozen_encoder("digits-patches-views")
    index = torch.tensor([7, 3, 50])
    for _ in range(2):
        targets = Targets(encoder, data, TINY.replace(data="digits:100"))
        torch.testing.assert_close(
            targets.batch(index, 0, slice(0, 2)), encoder.network(data.read(index[:2]))
        )
    assert sum(calls) == 100
    monkeypatch.setattr(encoder, "key", "digits-patches-views-0000")  # other weights
    Targets(encoder, data, TINY.replace(data="digits:100"))
    assert sum(calls) == 200
    Targets(encoder, load_data("digits:160"), TINY.replace(data="digits:160"))  # other images
    assert sum(calls) == 360


def test_targets_are_mirrored_where_the_images_are(tmp_path: Path) -> None:
    data, encoder = load_data("digits:100"), frozen_encoder("digits-patches-labels")
    spec = TINY.replace(data="digits:100", flip=True)
    index, rows = torch.arange(8) * 9, slice(2, 8)
    for step in range(3):
        x, _ = data.batch(index, spec.seed, step, flip=True, rows=rows)
        assert 0 < flipped(8, spec.seed, step).sum() < 8
        got = Targets(encoder, data, spec).batch(index, step, rows)
        torch.testing.assert_close(got, encoder.network(x))
