"""How the network is called: settings, precision, compilation, mode, memory; and what a diverged one gives."""

import dataclasses
import gc
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from disperse.errors import NonFiniteError
from disperse.models import DiffusionTransformer, build_model
from disperse.sampling import SamplerConfig, noise_for_seeds, sample, sample_to_folder, sampler

from .conftest import awake


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[nn.Module]:
    """The modules that ``torch.compile`` gets; it gives one that predicts zero."""
    seen: list[nn.Module] = []

    def recorder(model: nn.Module) -> nn.Module:
        seen.append(model)
        return build_model("SiT-Nano/2", depth=1).eval()

    monkeypatch.setattr(torch, "compile", recorder)
    return seen


def test_every_setting_reaches_the_sampler(
    small: DiffusionTransformer, compiled: list[nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    configs: list[SamplerConfig] = []

    def recorded(network: nn.Module, seeds: list[int], *_: Any, config: SamplerConfig, **__: Any) -> Tensor:
        configs.append(config)
        return torch.zeros(len(seeds), 1, 8, 8)

    monkeypatch.setattr(sampler, "sample_batch", recorded)
    settings = {
        "solver": "sde-heun", "num_steps": 3, "guidance": 2.0, "guided_channels": 1, "precision": "bf16",
        "compile": True, "guidance_interval": (0.1, 0.9), "diffusion": "linear", "diffusion_norm": 0.5,
        "last_step": "euler", "last_step_size": 0.1, "eta": 0.5,
    }  # fmt: skip
    sample(small, [0], **settings)
    assert [dataclasses.asdict(config) for config in configs] == [settings]
    assert all(settings[name] != value for name, value in dataclasses.asdict(SamplerConfig()).items())


def test_guided_channels_are_guided_and_the_others_are_not() -> None:
    model = awake(build_model("SiT-Nano/2", in_channels=3, hidden_size=32, num_heads=2, depth=1), std=0.2)

    def images(**settings: Any) -> Tensor:
        return sample(model, range(3), [1, 2, 3], solver="euler", num_steps=1, **settings)

    plain, guided, first = images(), images(guidance=4), images(guidance=4, guided_channels=1)
    assert (guided - plain).abs().amax(dim=(0, 2, 3)).min() > 0.1
    torch.testing.assert_close(first[:, :1], guided[:, :1], rtol=0, atol=1e-5)
    torch.testing.assert_close(first[:, 1:], plain[:, 1:], rtol=0, atol=1e-5)


def test_the_compiled_network_is_the_one_that_is_sampled(
    small: DiffusionTransformer, compiled: list[nn.Module], tmp_path: Any
) -> None:
    sample(small, range(2), num_steps=1)
    assert compiled == []
    noise = noise_for_seeds(range(2), (1, 8, 8))
    assert torch.equal(sample(small, range(2), num_steps=1, compile=True), noise)
    config = SamplerConfig("euler", 1, compile=True)
    sample_to_folder(small, tmp_path, 1, config=config, source={}, device="cpu", progress=False)
    assert [model is small for model in compiled] == [True, True]


def test_compiled_is_near_eager() -> None:
    model = awake(build_model("SiT-Nano/2", hidden_size=16, num_heads=1, depth=1), std=0.2)
    eager, compiled = (
        sample(model, range(2), solver="euler", num_steps=2, compile=compile) for compile in (False, True)
    )
    assert eager.std() > 0.1
    torch.testing.assert_close(compiled, eager, rtol=0, atol=1e-4)


def test_bf16_is_near_fp32_also_under_guidance(small: DiffusionTransformer) -> None:
    """Measured: 0.9% root mean square; a bf16 number has 0.4% of its own."""
    exact = sample(small, range(4), num_steps=3, guidance=1.5)
    half = sample(small, range(4), num_steps=3, guidance=1.5, precision="bf16")
    assert half.dtype == torch.float32
    error = ((half - exact).square().mean() / exact.square().mean()).sqrt().item()
    assert 1e-4 < error < 0.02


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_in_the_mode_it_was_in(small: DiffusionTransformer, training: bool) -> None:
    small.train(training)
    try:
        sample(small, range(2), num_steps=1)
        assert small.training is training
    finally:
        small.eval()


def test_memory_does_not_grow_with_steps(small: DiffusionTransformer) -> None:
    def live_tensors(num_steps: int) -> int:
        counts: list[int] = []

        def count(step: int, state: Tensor) -> None:
            if step == num_steps - 1:
                gc.collect()
                counts.append(sum(issubclass(type(thing), Tensor) for thing in gc.get_objects()))

        sample(small, range(2), num_steps=num_steps, on_step=count)
        return counts[0]

    live_tensors(3)
    assert live_tensors(20) == live_tensors(4)


def test_a_diverged_model_is_named_by_its_seeds() -> None:
    model = build_model("SiT-Nano/2", depth=1)
    with torch.no_grad():
        model.final_layer.linear.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match=r"seeds \[5, 6\]"):
        sample(model, [5, 6], num_steps=2)
