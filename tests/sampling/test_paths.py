"""Solvers by order, cost and direction; guidance bit for bit."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from disperse.errors import ConfigError
from disperse.models import DiffusionTransformer
from disperse.sampling import SOLVERS, SamplerConfig, guided_prediction, heun, sample, uniform_times

MEAN, STD = -0.4, 0.3
START = torch.linspace(-3, 3, 13, dtype=torch.float64)
STEPS = (16, 32, 64, 128, 256)


def velocity(x: Tensor, t: float) -> Tensor:
    """``E[x₁ − x₀ | x_t = x]`` for x₁ ~ N(MEAN, STD²): slope Cov(x₁ − x₀, x_t)/Var(x_t)."""
    slope = (t * STD**2 - (1 - t)) / (t**2 * STD**2 + (1 - t) ** 2)
    return MEAN + slope * (x - t * MEAN)


def order(solve: Callable[[int], Tensor], exact: Tensor) -> float:
    """Slope of log error against log step, by least squares."""
    errors = [(solve(n) - exact).abs().max().item() for n in STEPS]
    return float(np.polyfit(-np.log(STEPS), np.log(errors), 1)[0])


@pytest.mark.parametrize(("name", "expected"), [("euler", 1), ("heun", 2)])
@pytest.mark.parametrize("direction", ["to data", "to noise"])
def test_order_in_both_directions(name: str, expected: int, direction: str) -> None:
    ends = START, MEAN + STD * START
    start, exact = ends if direction == "to data" else ends[::-1]

    def solve(n: int) -> Tensor:
        times = uniform_times(n)
        return SOLVERS[name](velocity, start, times if direction == "to data" else times[::-1])

    assert order(solve, exact) == pytest.approx(expected, abs=0.08)


@pytest.mark.parametrize("mistake", ["the old state", "the old time"])
def test_a_heun_that_reads_something_old_has_order_one(mistake: str) -> None:
    def broken(n: int) -> Tensor:
        x, times = START, uniform_times(n)
        for t, t_next in zip(times[:-1], times[1:], strict=True):
            first = velocity(x, t)
            ahead = x + (t_next - t) * first
            second = velocity(x, t_next) if mistake == "the old state" else velocity(ahead, t)
            x = x + (t_next - t) / 2 * (first + second)
        return x

    assert order(broken, MEAN + STD * START) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", ["euler", "heun"])
def test_velocities_counted_and_steps_reported(name: str) -> None:
    calls: list[float] = []
    steps: list[tuple[int, Tensor]] = []

    def counted(x: Tensor, t: float) -> Tensor:
        calls.append(t)
        return velocity(x, t)

    end = SOLVERS[name](counted, START, uniform_times(7), lambda step, x: steps.append((step, x)))
    assert len(calls) == SamplerConfig(name, 7).nfe
    assert [step for step, _ in steps] == list(range(7))
    assert torch.equal(steps[-1][1], end)
    assert min(calls) == 0
    assert max(calls) <= 1


def test_one_step_by_hand() -> None:
    x = torch.tensor([2.0])
    assert SOLVERS["euler"](lambda x, t: x + t, x, [0.0, 0.5]).item() == 2 + 0.5 * 2
    assert heun(lambda x, t: x + t, x, [0.0, 0.5]).item() == 2 + 0.25 * (2 + 3.5)
    assert uniform_times(4) == [0, 0.25, 0.5, 0.75, 1]


def test_dopri5_reports_states_on_its_grid() -> None:
    states: list[tuple[int, Tensor]] = []
    times = uniform_times(4)
    end = SOLVERS["dopri5"](velocity, START, times, lambda step, x: states.append((step, x)))
    assert [step for step, _ in states] == [0, 1, 2, 3]
    assert torch.equal(states[-1][1], end)
    for step, state in states:
        exact = times[step + 1] * MEAN + math.hypot(times[step + 1] * STD, 1 - times[step + 1]) * START
        torch.testing.assert_close(state, exact, rtol=0, atol=5e-3)


def test_the_start_is_not_overwritten() -> None:
    for solver in SOLVERS.values():
        x = START.clone()
        solver(velocity, x, uniform_times(3))
        assert torch.equal(x, START)


def test_guidance_one_is_the_plain_model_bit_for_bit(small: DiffusionTransformer) -> None:
    x, y = torch.linspace(-1, 1, 192).view(3, 1, 8, 8), torch.tensor([0, 4, 10])
    plain = small(x, torch.full((3,), 0.3), y)
    assert torch.equal(guided_prediction(small, y, null_class=10, scale=1.0)(x, 0.3), plain)
    assert torch.equal(guided_prediction(small, y, null_class=10, scale=1)(x, 0.3), plain)
    batches: list[int] = []
    handle = small.register_forward_pre_hook(lambda _, args: batches.append(len(args[0])))
    try:
        sample(small, range(3), solver="euler", num_steps=2, guidance=1.0)
        sample(small, range(3), solver="euler", num_steps=2, guidance=2.0)
    finally:
        handle.remove()
    assert batches == [3, 3, 6, 6]  # one call a step; guidance doubles the rows


def test_guided_channels() -> None:
    def model(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return x * (1 + y[:, None, None, None])

    x, y = torch.ones(1, 4, 2, 2), torch.tensor([1])
    for channels, expected in [(None, [5.0] * 4), (3, [5.0, 5, 5, 2]), (1, [5.0, 2, 2, 2]), (4, [5.0] * 4)]:
        field = guided_prediction(model, y, null_class=0, scale=4.0, guided_channels=channels)
        assert field(x, 0.5)[0, :, 0, 0].tolist() == expected

    def with_variance(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return torch.cat([model(x, t, y)] * 2, dim=1)

    field = guided_prediction(with_variance, y, null_class=0, scale=4.0)
    assert field(x, 0.5)[0, :, 0, 0].tolist() == [5.0] * 4 + [2] * 4  # the variance is not guided
    for bad in (0, -1, "3", True, 1.0):
        with pytest.raises(ConfigError, match="guided_channels = "):
            guided_prediction(model, y, null_class=0, scale=4.0, guided_channels=bad)


def test_time_reaches_the_model_as_it_is() -> None:
    times: list[list[float]] = []

    def model(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        times.append(t.tolist())
        return torch.zeros_like(x)

    heun(guided_prediction(model, torch.zeros(2).long(), null_class=1), torch.zeros(2, 1), uniform_times(2))
    assert times == [[0.0, 0.0], [0.5, 0.5], [0.5, 0.5], [1.0, 1.0]]
    assert math.isclose(sum(map(sum, times)), 4.0)


def test_guidance_is_mixed_in_float32() -> None:
    """In bfloat16, 100 + 0.01·(100.5 − 100) would round back to 100."""

    def model(x: Tensor, t: Tensor, y: Tensor) -> Tensor:
        return torch.where(y == 1, 100.5, 100.0).bfloat16()[:, None].expand_as(x)

    field = guided_prediction(model, torch.ones(1).long(), null_class=0, scale=0.01)
    assert field(torch.zeros(1, 1), 0.5).item() == pytest.approx(100.005)
