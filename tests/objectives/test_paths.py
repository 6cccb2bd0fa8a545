"""Paths against the published ones and against what must hold between their coefficients."""

from collections.abc import Callable
from pathlib import Path as FilePath

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from disperse.objectives import PATHS
from disperse.rng import normal

REFERENCE = load_file(FilePath(__file__).parents[1] / "reference" / "sit.safetensors")
PUBLISHED = {"linear": "Linear", "gvp": "GVP", "vp": "VP"}
T = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)


def relative(got: Tensor, expected: Tensor) -> float:
    return ((got - expected).abs().max() / expected.abs().max()).item()


@pytest.mark.parametrize("name", PATHS)
def test_coefficients_equal_the_published_ones(name: str) -> None:
    path = PATHS[name]
    entry = {key: REFERENCE[f"path_{PUBLISHED[name]}.{key}"] for key in ("t", "alpha", "sigma", "xt", "ut")}
    t, data, noise = entry["t"], REFERENCE["data"], REFERENCE["noise"]
    assert relative(path.alpha(t), entry["alpha"]) < 1e-6
    assert relative(path.sigma(t), entry["sigma"]) < 1e-6
    t = t.view(-1, 1, 1, 1)
    assert relative(path.interpolate(data, noise, t), entry["xt"]) < 1e-6
    assert relative(path.velocity(data, noise, t), entry["ut"]) < 1e-6


def slope(f: Callable[[Tensor], Tensor], t: Tensor, h: float = 1e-6) -> Tensor:
    return (f(t + h) - f(t - h)) / (2 * h)


@pytest.mark.parametrize("name", PATHS)
def test_derivatives_and_diffusion_by_differences(name: str) -> None:
    path = PATHS[name]
    torch.testing.assert_close(path.alpha_dot(T), slope(path.alpha, T), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(path.sigma_dot(T), slope(path.sigma, T), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(path.drift(T), slope(lambda t: path.alpha(t).log(), T), rtol=1e-6, atol=1e-8)
    alpha, sigma = path.alpha(T), path.sigma(T)
    d = slope(path.alpha, T) / alpha * sigma**2 - sigma * slope(path.sigma, T)
    torch.testing.assert_close(path.diffusion(T), d, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", PATHS)
def test_ends_are_noise_and_data(name: str) -> None:
    path, ends = PATHS[name], torch.tensor([0.0, 1.0], dtype=torch.float64)
    atol = 7e-3 if name == "vp" else 1e-15  # VP starts with e^-5 of data
    torch.testing.assert_close(path.alpha(ends), ends, rtol=0, atol=atol)
    torch.testing.assert_close(path.sigma(ends), 1 - ends, rtol=0, atol=atol)
    if name != "linear":
        torch.testing.assert_close(path.alpha(T) ** 2 + path.sigma(T) ** 2, torch.ones_like(T))


@pytest.mark.parametrize("name", PATHS)
def test_conversions_agree_on_one_path(name: str) -> None:
    """Knowing x and ε, the noise is ε, the score −ε/σ, the velocity α̇x + σ̇ε, the data x."""
    path, t = PATHS[name], T[:, None]
    x, eps = normal((19, 7), "x").double(), normal((19, 7), "eps").double()
    x_t, v = path.interpolate(x, eps, t), path.velocity(x, eps, t)
    score = -eps / path.sigma(t)
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(path.velocity_from_noise(eps, x_t, t), v, **close)
    torch.testing.assert_close(path.velocity_from_score(score, x_t, t), v, **close)
    torch.testing.assert_close(path.score_from_velocity(v, x_t, t), score, **close)
    torch.testing.assert_close(path.data_from_velocity(v, x_t, t), x, **close)
