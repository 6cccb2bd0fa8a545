"""DiT's diffusion: check values of the published code, the bound by a float64 loop, tables and times."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from disperse.errors import ConfigError
from disperse.objectives import DiTSpec, Draws, GaussianDiffusion
from disperse.objectives.diffusion import (
    ddim_times,
    discretised_log_likelihood,
    gaussian_kl,
    linear_betas,
    respaced_times,
    schedule,
)
from disperse.rng import normal

OBJECTIVE = GaussianDiffusion(DiTSpec(), 10, label_drop=0.0)
X = torch.linspace(-1, 1, 1024).view(4, 4, 8, 8)
EPS = torch.sin(torch.arange(1024.0)).view(4, 4, 8, 8)
T = torch.tensor([0, 1, 500, 999])


def network(x: Tensor, t: Tensor, y: Tensor, *, taps: tuple[int, ...] = ()) -> Tensor:
    return torch.cat([0.5 * x, 0.1 * torch.cos(x)], dim=1)


def forward() -> object:
    draws = Draws(T, EPS, torch.zeros(4, dtype=torch.bool))
    return OBJECTIVE.forward(network, X, torch.zeros(4).long(), draws)


def test_losses_equal_the_published_check_values() -> None:
    losses = OBJECTIVE.losses(network, forward())
    assert losses.parts["mse"].tolist() == pytest.approx(
        [0.6437424, 0.5144882, 0.1363297, 0.1255727], rel=1e-6
    )
    # In float64 the last is 0.0018486787: the published figure carries float32 rounding, hence abs.
    published = [2.094406, 0.3475564, 0.001084184, 0.001848614]
    assert losses.parts["vb"].tolist() == pytest.approx(published, rel=1e-5, abs=1e-7)
    torch.testing.assert_close(losses.losses, losses.parts["mse"] + losses.parts["vb"])


def test_tables_equal_the_published_check_values() -> None:
    full, respaced = schedule(), schedule(respaced_times(250))
    assert full.alphas_cumprod[0] == pytest.approx(0.9999, rel=1e-12)
    assert full.alphas_cumprod[499] == pytest.approx(0.07858724288, rel=1e-9)
    assert full.alphas_cumprod[999] == pytest.approx(4.035829765e-5, rel=1e-9)
    assert respaced.betas[1] == pytest.approx(5.990655644756e-4, rel=1e-12)
    assert respaced.betas[-1] == pytest.approx(0.07751934499235, rel=1e-12)
    np.testing.assert_allclose(full.betas, linear_betas(), rtol=1e-9)
    assert full.posterior_variance[0] == 0
    assert (
        full.posterior_log_variance[0]
        == full.posterior_log_variance[1]
        == math.log(full.posterior_variance[1])
    )


def test_times_kept() -> None:
    assert respaced_times(250)[[0, 1, -1]].tolist() == [0, 4, 999]
    assert respaced_times(1000).tolist() == list(range(1000))
    assert respaced_times(1).tolist() == [0]
    assert ddim_times(10).tolist() == list(range(0, 1000, 100))
    assert len(ddim_times(250)) == 250
    for times in (respaced_times, ddim_times):
        for bad in (0, 1001, "10", True):
            with pytest.raises(ConfigError, match=r"num_steps = .*from 1 to 1000"):
                times(bad)
    with pytest.raises(ConfigError, match=r"num_steps = 300: .* try 334"):
        ddim_times(300)


def test_the_bound_equals_a_float64_loop() -> None:
    """KL of two Gaussians per pixel, and at t = 0 the exact-bin likelihood with the published cdf."""
    got = OBJECTIVE.losses(network, forward()).parts["vb"]
    betas = [1e-4 + (0.02 - 1e-4) * i / 999 for i in range(1000)]
    cumulative = np.cumprod([1 - b for b in betas])

    def cdf(u: float) -> float:
        return 0.5 * (1 + math.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))

    for row, t in enumerate(T.tolist()):
        now, before = cumulative[t], cumulative[t - 1] if t else 1.0
        variance = betas[t] * (1 - before) / (1 - now)
        clipped = variance if t else betas[1] * (1 - cumulative[0]) / (1 - cumulative[1])
        total = 0.0
        for index in np.ndindex(4, 8, 8):
            x, eps = X[row][index].item(), EPS[row][index].item()
            x_t = math.sqrt(now) * x + math.sqrt(1 - now) * eps
            out, v = 0.5 * x_t, 0.1 * math.cos(x_t)
            share = (v + 1) / 2
            log_variance = share * math.log(betas[t]) + (1 - share) * math.log(clipped)
            a, b = (
                betas[t] * math.sqrt(before) / (1 - now),
                (1 - before) * math.sqrt(1 - betas[t]) / (1 - now),
            )
            data = (x_t - math.sqrt(1 - now) * out) / math.sqrt(now)
            mean, true = a * data + b * x_t, a * x + b * x_t
            if t == 0:
                scale = math.exp(-0.5 * log_variance)
                upper, lower = cdf(scale * (x - mean + 1 / 255)), cdf(scale * (x - mean - 1 / 255))
                p = upper if x < -0.999 else 1 - lower if x > 0.999 else upper - lower
                total -= math.log(max(p, 1e-12))
            else:
                total += 0.5 * (
                    log_variance - math.log(clipped) - 1 + clipped / math.exp(log_variance)
                    + (true - mean) ** 2 / math.exp(log_variance)
                )  # fmt: skip
        assert got[row].item() == pytest.approx(total / 256 / math.log(2), rel=2e-4)


def test_the_bound_teaches_the_variance_only() -> None:
    out = network(X, T, T).requires_grad_()
    draws = Draws(T, EPS, torch.zeros(4, dtype=torch.bool))
    passed = OBJECTIVE.forward(lambda *_, **__: out, X, torch.zeros(4).long(), draws)
    losses = OBJECTIVE.losses(network, passed)
    (grad,) = torch.autograd.grad(losses.parts["vb"].sum(), out, retain_graph=True)
    assert not grad[:, :4].any()
    assert grad[:, 4:].abs().sum() > 0
    (grad,) = torch.autograd.grad(losses.parts["mse"].sum(), out)
    assert grad[:, :4].abs().sum() > 0
    assert not grad[:, 4:].any()


def test_a_half_precision_prediction_is_compared_in_float32() -> None:
    half, single = (
        OBJECTIVE.forward(
            lambda *args, dtype=dtype, **_: network(*args).bfloat16().to(dtype),
            X, torch.zeros(4).long(), Draws(T, EPS, torch.zeros(4, dtype=torch.bool)),
        )
        for dtype in (torch.bfloat16, torch.float32)
    )  # fmt: skip
    assert torch.equal(OBJECTIVE.losses(network, half).losses, OBJECTIVE.losses(network, single).losses)


def test_kl_and_likelihood_by_hand() -> None:
    zero, one = torch.zeros(1), torch.ones(1)
    assert gaussian_kl(zero, zero, zero, zero).item() == 0
    assert gaussian_kl(one, zero, zero, zero).item() == pytest.approx(0.5)
    assert gaussian_kl(zero, zero, zero, one).item() == pytest.approx(0.5 * (1 - 1 + math.exp(-1)))
    bins = torch.arange(256) / 255 * 2 - 1
    p = discretised_log_likelihood(bins, torch.tensor(0.1), torch.tensor(math.log(0.3))).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-4)  # the bins cover the line
    assert bins[p.argmax()].item() == pytest.approx(0.1, abs=0.01)


def test_times_and_levels() -> None:
    t, r = OBJECTIVE.times(50_000, "", 0)
    assert r is None
    assert t.dtype == torch.int64
    assert (t.min(), t.max()) == (0, 999)
    assert t.double().mean().item() == pytest.approx(499.5, abs=5)
    every = torch.arange(1000)
    level = OBJECTIVE.noise_level(every)
    assert (level.diff() > 0).all()
    assert level[0].item() == pytest.approx(0.01, abs=1e-4)
    assert level[999].item() == pytest.approx(1, abs=1e-4)
    assert torch.equal(OBJECTIVE.time_of_noise_level(level), every)


def test_a_network_without_variance_is_refused() -> None:
    draws = Draws(T, EPS, torch.zeros(4, dtype=torch.bool))
    passed = OBJECTIVE.forward(lambda x, *_, **__: x, X, torch.zeros(4).long(), draws)
    with pytest.raises(ConfigError, match=r"prediction: expected shape \(4, 8, 8, 8\)"):
        OBJECTIVE.losses(network, passed)


def test_the_input_has_unit_variance_where_data_has() -> None:
    x, eps = normal((5, 1, 100, 100), "x"), normal((5, 1, 100, 100), "eps")
    x_t = OBJECTIVE.corrupt(x, eps, torch.tensor([0, 10, 100, 500, 999]))
    torch.testing.assert_close(x_t.flatten(1).std(dim=1), torch.ones(5), rtol=0.05, atol=0)
