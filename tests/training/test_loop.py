"""What a step does: the weighted sum of losses, the learning rate, the compiled network, the precision."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from disperse.atomic import read_jsonl
from disperse.regularizers import DispersiveSpec
from disperse.spec import OptimizerSpec
from disperse.training import trainer

from .cases import TINY, changed, run, tensors


def test_the_loss_is_the_diffusion_loss_plus_the_weighted_terms(tmp_path: Path) -> None:
    terms = (DispersiveSpec(lam=0.5), DispersiveSpec(variant="hinge", lam=0.125, blocks=(3,)))
    run(tmp_path, regularizers=terms, num_steps=6, log_interval=2)
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2, 4, 6]
    for row in rows:
        total = row["diffusion"] + 0.5 * row["regularizer_0"] + 0.125 * row["regularizer_1"]
        assert row["loss"] == pytest.approx(total, rel=1e-6)


def test_the_weight_of_a_term_follows_its_schedule(tmp_path: Path) -> None:
    run(tmp_path, regularizers=(DispersiveSpec(lam=0.5, lam_schedule=((1, 0.0), (3, 1.0))),), num_steps=5)
    rows = read_jsonl(tmp_path / "metrics.jsonl")
    assert all(abs(row["regularizer_0"]) > 0.1 for row in rows)
    weights = [(row["loss"] - row["diffusion"]) / row["regularizer_0"] for row in rows]
    assert weights == pytest.approx([0, 0, 0.25, 0.5, 0.5], abs=1e-5)


def test_weight_zero_is_the_baseline_bit_for_bit(tmp_path: Path) -> None:
    nothing, zero = (
        tensors(run(tmp_path / str(len(terms)), regularizers=terms, num_steps=10))
        for terms in ((), (DispersiveSpec(lam=0.0, local_batch=4),))
    )
    assert not changed(nothing, zero)


@pytest.mark.parametrize("warmup", [0, 1, 4])
def test_the_learning_rate_of_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warmup: int
) -> None:
    """Step 0 has 1/warmup of it already; the last step of the warm-up has all of it."""
    used: list[float] = []
    step = torch.optim.AdamW.step

    def recorded(self: torch.optim.AdamW, *args: Any) -> object:
        used.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", recorded)
    run(tmp_path, optimizer=OptimizerSpec(lr=0.008, warmup_steps=warmup), num_steps=6)
    rising = {0: [], 1: [0.008], 4: [0.002, 0.004, 0.006, 0.008]}[warmup]
    assert used == pytest.approx(rising + [0.008] * (6 - len(rising)))


def test_the_learning_rate_by_step() -> None:
    spec = TINY.replace(optimizer=OptimizerSpec(lr=1e-2, warmup_steps=5))
    rates = [trainer.learning_rate(spec, step) for step in (0, 3, 4, 5, 100)]
    assert rates == pytest.approx([0.002, 0.008, 0.01, 0.01, 0.01])


def test_the_compiled_network_is_the_one_that_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[object] = []
    calls: list[int] = []

    def recorder(model: Callable[..., Any]) -> Callable[..., Any]:
        compiled.append(model)

        def network(x: torch.Tensor, *args: Any, **options: Any) -> Any:
            calls.append(len(x))
            return model(x, *args, **options)

        return network

    monkeypatch.setattr(torch, "compile", recorder)
    plain = run(tmp_path / "plain", num_steps=3)
    assert compiled == calls == []
    state = run(tmp_path / "compiled", num_steps=3, compile=True)
    assert [model is state.model for model in compiled] == [True]
    assert calls == [8] * 3
    assert not changed(tensors(plain), tensors(state))


def test_bf16_and_compile_train(tmp_path: Path) -> None:
    losses = {}
    for name, changes in {"fp32": {}, "bf16": {"precision": "bf16"}, "compile": {"compile": True}}.items():
        run(tmp_path / name, num_steps=4, overrides={**TINY.overrides, "depth": 2}, **changes)
        losses[name] = np.array([row["loss"] for row in read_jsonl(tmp_path / name / "metrics.jsonl")])
    np.testing.assert_allclose(losses["compile"], losses["fp32"], rtol=1e-4)
    np.testing.assert_allclose(losses["bf16"], losses["fp32"], rtol=0.05)
    assert not np.array_equal(losses["bf16"], losses["fp32"])
