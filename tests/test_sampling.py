"""Solvers by their measured order, samples by their independence of batches, files by resuming."""

import gc
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from disperse import sample
from disperse.errors import ConfigError, NonFiniteError
from disperse.models import DiffusionTransformer, build_model
from disperse.sampling import (
    SOLVERS,
    SamplerConfig,
    guided_prediction,
    noise_for_seeds,
    read_samples,
    sample_to_folder,
    uniform_times,
)
from disperse.sampling.files import finished_seeds

MEAN, STD = 0.7, 0.4


def exact_velocity(x: Tensor, t: float) -> Tensor:
    """Velocity of the linear interpolant for data N(MEAN, STD²): E[x₁ − x₀ | x_t = x]."""
    variance = t**2 * STD**2 + (1 - t) ** 2
    return MEAN + (t * STD**2 - (1 - t)) / variance * (x - t * MEAN)


def order(solver: object) -> float:
    start = torch.linspace(-2, 2, 9, dtype=torch.float64)
    exact = MEAN + STD * start
    steps = (20, 40, 80, 160)
    errors = [(solver(exact_velocity, start, uniform_times(n)) - exact).abs().max().item() for n in steps]
    return math.log(errors[0] / errors[-1]) / math.log(steps[-1] / steps[0])


@pytest.mark.parametrize(("name", "expected"), [("euler", 1), ("heun", 2)])
def test_order_of_convergence(name: str, expected: int) -> None:
    assert order(SOLVERS[name]) == pytest.approx(expected, abs=0.1)


def test_a_heun_that_forgets_the_second_time_is_of_order_one() -> None:
    def broken(velocity, x, times):
        for t, t_next in zip(times[:-1], times[1:], strict=True):
            first = velocity(x, t)
            x = x + (t_next - t) / 2 * (first + velocity(x + (t_next - t) * first, t))
        return x

    assert order(broken) < 1.5


@pytest.fixture(scope="module")
def wide() -> DiffusionTransformer:
    """Wide enough that results differ in the last bits between batch sizes."""
    model = build_model("SiT-Nano/2", hidden_size=384, num_heads=6, depth=2)
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            if parameter.requires_grad:
                draw = torch.Generator().manual_seed(index)
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=draw))
    return model


@pytest.fixture(scope="module")
def small() -> DiffusionTransformer:
    model = build_model("SiT-Nano/2", hidden_size=32, num_heads=2, depth=2)
    with torch.no_grad():
        model.final_layer.linear.weight.add_(0.1)
        model.y_embedder.embedding_table.weight.mul_(50)
        for block in (*model.blocks, model.final_layer):
            block.adaLN_modulation[1].weight.add_(0.02)
    return model


def test_image_i_does_not_depend_on_the_batch(wide: DiffusionTransformer) -> None:
    whole = sample(wide, range(16), num_steps=4, batch_size=16)
    assert whole.std() > 0.1
    assert torch.equal(whole, sample(wide, range(16), num_steps=4, batch_size=16))
    for size in (1, 3, 5):
        torch.testing.assert_close(
            sample(wide, range(16), num_steps=4, batch_size=size), whole, rtol=0, atol=1e-5
        )
    permuted = [7, 3, 11, 0]
    torch.testing.assert_close(sample(wide, permuted, num_steps=4), whole[permuted], rtol=0, atol=1e-5)


def test_noise_is_a_function_of_the_seed_alone_and_large_seeds_do_not_alias() -> None:
    seeds = [0, 1, 2**32, 2**32 + 1, 2**63, 2**64 + 1]
    noise = noise_for_seeds(seeds, (1, 8, 8))
    assert torch.equal(noise[3], noise_for_seeds([2**32 + 1], (1, 8, 8))[0])
    assert len({tuple(row.flatten().tolist()) for row in noise}) == len(seeds)


@pytest.mark.parametrize("seeds", [[-1], [0.5], [True], [1, 2, 1]])
def test_bad_seeds(small: DiffusionTransformer, seeds: list[object]) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        sample(small, seeds)


def test_no_seeds_give_no_images(small: DiffusionTransformer) -> None:
    assert sample(small, []).shape == (0, 1, 8, 8)


@pytest.mark.parametrize(
    "options",
    [{"solver": "hein"}, {"num_steps": 0}, {"num_steps": True}, {"guidance": float("nan")}, {"labels": [11]},
     {"labels": [1.0]}, {"labels": [1, 2]}, {"precision": "fp8"}, {"batch_size": 0}, {"guided_channels": 0}],
)  # fmt: skip
def test_bad_settings(small: DiffusionTransformer, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as caught:
        sample(small, [0], **{"guidance": 2.0, **options})
    assert "\n" not in str(caught.value)


def test_guidance_algebra(small: DiffusionTransformer) -> None:
    x, y = torch.randn(3, 1, 8, 8), torch.tensor([0, 1, 2])
    with torch.no_grad():
        plain = guided_prediction(small, y, null_class=10)(x, 0.3)
        null = guided_prediction(small, torch.full_like(y, 10), null_class=10)(x, 0.3)
        guided = guided_prediction(small, y, null_class=10, scale=2.5)(x, 0.3)
        zero = guided_prediction(small, y, null_class=10, scale=0.0)(x, 0.3)
    assert (plain - null).abs().max() > 1e-3
    torch.testing.assert_close(guided, null + 2.5 * (plain - null), rtol=0, atol=1e-5)
    torch.testing.assert_close(zero, null, rtol=0, atol=1e-5)


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
    assert live_tensors(40) == live_tensors(4)


def test_bf16_and_compile_are_near_eager_fp32(small: DiffusionTransformer) -> None:
    eager = sample(small, range(4), num_steps=4)
    compiled = sample(small, range(4), num_steps=4, compile=True)
    torch.testing.assert_close(compiled, eager, rtol=0, atol=1e-4)
    half = sample(small, range(4), num_steps=4, precision="bf16")
    assert 0 < (half - eager).abs().max() < 0.05 * eager.abs().max()


def test_files_resume_by_seed(small: DiffusionTransformer, tmp_path: Path) -> None:
    config, source = SamplerConfig("euler", 3), {"run": "test"}

    def run(num: int, batch: int) -> int:
        return sample_to_folder(small, tmp_path / "out", num, config=config, source=source,
                                batch_size=batch, device="cpu", progress=False)  # fmt: skip

    assert run(10, 4) == 10
    whole = read_samples(tmp_path / "out")
    (tmp_path / "out" / "seeds_00000004-00000007.safetensors").unlink()
    assert finished_seeds(tmp_path / "out") == {0, 1, 2, 3, 8, 9}
    assert run(12, 3) == 6
    again = read_samples(tmp_path / "out")
    assert again["seeds"].tolist() == list(range(12))
    assert torch.equal(again["labels"][:10], whole["labels"])
    torch.testing.assert_close(again["images"][:10], whole["images"], rtol=0, atol=1e-5)
    assert run(12, 5) == 0
    with pytest.raises(ConfigError, match="another sampler"):
        sample_to_folder(small, tmp_path / "out", 12, config=SamplerConfig("heun", 3), source=source)


def test_a_diverged_model_is_named_by_its_seeds() -> None:
    model = build_model("SiT-Nano/2", depth=1)
    with torch.no_grad():
        model.final_layer.linear.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match=r"seeds \[5, 6\]"):
        sample(model, [5, 6], num_steps=2)
