"""Flow matching: the path, the losses by a float64 loop, the draws, and batches that would be misread."""

import numpy as np
import pytest
import torch
from torch import Tensor

from disperse.errors import ConfigError
from disperse.models import build_model
from disperse.objectives import Draws, Interpolant, SiTSpec
from disperse.rng import normal

SHAPE = (5, 2, 4, 4)
LINEAR = Interpolant(SiTSpec(), 10)
interpolate, noise_level, time_of_noise_level = LINEAR.corrupt, LINEAR.noise_level, LINEAR.time_of_noise_level


def linear_model(x: Tensor, t: Tensor, y: Tensor, *, taps: tuple[int, ...] = ()) -> Tensor:
    """A model that can be computed by hand."""
    return 2 * x + t[:, None, None, None] - 0.5 * y[:, None, None, None]


def test_end_points_and_velocity_of_the_path() -> None:
    x, eps = normal(SHAPE, "x"), normal(SHAPE, "eps")
    assert torch.equal(interpolate(x, eps, torch.zeros(5)), eps)
    assert torch.equal(interpolate(x, eps, torch.ones(5)), x)
    # The target is the time derivative of the path.
    t, h = torch.full((5,), 0.3, dtype=torch.float64), 1e-4
    slope = (interpolate(x.double(), eps.double(), t + h) - interpolate(x.double(), eps.double(), t)) / h
    torch.testing.assert_close(slope, (x - eps).double(), rtol=0, atol=1e-6)
    assert torch.equal(interpolate(torch.ones(3), torch.zeros(3), torch.tensor([0.0, 0.5, 1.0])),
                       torch.tensor([0.0, 0.5, 1.0]))  # fmt: skip


def test_losses_equal_a_float64_loop() -> None:
    x, y, objective = (
        normal(SHAPE, "x"),
        torch.tensor([0, 1, 2, 3, 4]),
        Interpolant(SiTSpec(), 9, label_drop=0.5),
    )
    draws = objective.draw(SHAPE, "loop", 0)
    assert 0 < draws.dropped.sum() < 5
    result = objective.forward(linear_model, x, y, draws)
    losses = objective.losses(linear_model, result).losses
    images, noise, times = (part.double().numpy() for part in (x, draws.eps, draws.t))
    for i in range(5):
        label = 9 if draws.dropped[i] else i
        total = 0.0
        for index in np.ndindex(SHAPE[1:]):
            a, e, t = images[i][index], noise[i][index], times[i]
            prediction = 2 * (t * a + (1 - t) * e) + t - 0.5 * label
            total += (prediction - (a - e)) ** 2
        assert losses[i].item() == pytest.approx(total / np.prod(SHAPE[1:]), rel=1e-5)
        assert result.y[i] == label
    assert torch.equal(result.labels, y)
    assert losses.shape == (5,)
    assert result.features == {}
    assert torch.equal(result.x_t, interpolate(x, draws.eps, draws.t))


def test_draws_are_a_function_of_the_key_alone() -> None:
    objective = Interpolant(SiTSpec(), 10, label_drop=0.5)
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    first = objective.draw(SHAPE, 3, 7)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.rand(5)  # a stray draw of someone else
    objective.draw(SHAPE, 3, 8)
    again = objective.draw(SHAPE, 3, 7)
    for field in ("t", "eps", "dropped"):
        assert torch.equal(getattr(first, field), getattr(again, field)), field
    for key in ((3, 8), (4, 7), (7, 3)):
        other = objective.draw(SHAPE, *key)
        assert not torch.equal(first.t, other.t)
        assert not torch.equal(first.eps, other.eps)
    # The rate moves which labels are dropped, and nothing else.
    never = Interpolant(SiTSpec(), 10, label_drop=0.0).draw(SHAPE, 3, 7)
    assert torch.equal(first.eps, never.eps)
    assert not never.dropped.any()
    assert Interpolant(SiTSpec(), 10, label_drop=1.0).draw(SHAPE, 3, 7).dropped.all()


def test_time_noise_and_drop_are_independent() -> None:
    n = 20_000
    draws = Interpolant(SiTSpec(), 10, label_drop=0.3).draw((n, 1), "independence")
    dropped = draws.dropped.float()
    assert dropped.mean().item() == pytest.approx(0.3, abs=5 * (0.21 / n) ** 0.5)
    assert draws.t.mean().item() == pytest.approx(0.5, abs=5 / (12 * n) ** 0.5)
    table = torch.corrcoef(torch.stack([draws.t, draws.eps[:, 0], dropped]))
    assert (table - torch.eye(3)).abs().max() < 5 / n**0.5


def test_noise_level_is_one_at_pure_noise() -> None:
    t = torch.linspace(0, 1, 9)
    assert noise_level(t).tolist() == (1 - t).tolist()
    assert torch.equal(time_of_noise_level(noise_level(t)), t)
    x, eps = normal((9, 3), "x"), normal((9, 3), "eps")
    x_t = interpolate(x, eps, time_of_noise_level(torch.ones(9)))
    assert torch.equal(x_t, eps)


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan"), "0.1", True])
def test_a_rate_outside_its_range_is_refused(rate: object) -> None:
    with pytest.raises(ConfigError, match="label_drop = "):
        Interpolant(SiTSpec(), 10, label_drop=rate)


@pytest.mark.parametrize("x", [torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, 1, 8, 8).long()])
def test_bytes_are_not_pixels_of_the_data_range(x: Tensor) -> None:
    objective = Interpolant(SiTSpec(), 10)
    with pytest.raises(ConfigError, match=r"x: expected a float dtype, got torch\.(uint8|int64)"):
        objective.forward(build_model("SiT-Nano/2"), x, torch.tensor([0, 1]), objective.draw((2, 1, 8, 8), 0))


def test_noise_of_another_batch_is_not_broadcast() -> None:
    objective = Interpolant(SiTSpec(), 10)
    draws = objective.draw((1, 1, 8, 8), 0)
    with pytest.raises(ConfigError, match=r"draws\.eps: expected shape \(2, 1, 8, 8\)"):
        objective.forward(build_model("SiT-Nano/2"), torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), draws)


def test_a_prediction_of_another_shape_is_not_broadcast() -> None:
    """DiT returns noise and variance: on one channel, two would be compared with one."""
    objective = Interpolant(SiTSpec(), 10)
    small = {"input_size": 8, "in_channels": 1, "hidden_size": 16, "depth": 1, "num_heads": 2}
    dit = build_model("DiT-S/2", num_classes=10, **small)
    draws = objective.draw((2, 1, 8, 8), 0)
    with pytest.raises(ConfigError, match=r"prediction: expected shape \(2, 1, 8, 8\).* got \(2, 2, 8, 8\)"):
        objective.losses(dit, objective.forward(dit, torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), draws))


def test_draws_move_together() -> None:
    draws = Draws(torch.zeros(2), torch.zeros(2, 1), torch.ones(2, dtype=torch.bool)).to(torch.device("meta"))
    assert all(part.is_meta for part in (draws.t, draws.eps, draws.dropped))
