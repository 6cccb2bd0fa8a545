"""Solvers of ``dx = (v + w · score) dt + √(2w) dW``: the same marginals as the ODE for every w(t) ≥ 0.

Each step is a function of its noise, so that every image has a stream of its own. The network is called
once per drift: the score follows from the velocity.

Source: SiT (Ma et al. 2024).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..objectives import OnStep, Path, Velocity

Diffusion = Callable[[float], float]
Noise = Callable[[int], Tensor]

FORMS = ("constant", "sbdm", "sigma", "linear", "decreasing", "increasing-decreasing")
LAST_STEPS = ("mean", "euler", "tweedie", "none")


def diffusion_coefficient(form: str, path: Path, norm: float = 1.0) -> Diffusion:
    """w(t) by name: constant 1, ``"sbdm"`` d(t), ``"sigma"`` σ(t), ``"linear"`` 1 − t, ``"decreasing"``
    ¼(cos πt + 1)², ``"increasing-decreasing"`` sin² πt; times ``norm``.
    """

    def at(coefficient: Callable[[Tensor], Tensor]) -> Diffusion:
        return lambda t: norm * coefficient(torch.tensor(t, dtype=torch.float64)).item()

    forms: dict[str, Diffusion] = {
        "constant": lambda t: norm,
        "sbdm": at(path.diffusion),
        "sigma": at(path.sigma),
        "linear": lambda t: norm * (1 - t),
        "decreasing": lambda t: 0.25 * (norm * math.cos(math.pi * t) + 1) ** 2,
        "increasing-decreasing": lambda t: norm * math.sin(math.pi * t) ** 2,
    }
    return forms[form]


def euler_maruyama(
    drift: Velocity,
    diffusion: Diffusion,
    x: Tensor,
    times: Sequence[float],
    noise: Noise,
    on_step: OnStep | None = None,
) -> Tensor:
    """``x ← x + h drift(x, t) + √(2 w(t) h) z``: weak order 1, one drift per step.

    Args:
        drift: v + w · score as a function of (x, t).
        diffusion: w(t).
        x (Tensor): state at ``times[0]``.
        times: ascending grid of n + 1 points for n steps.
        noise: standard normal noise of a step, with the shape of x.
        on_step: called with (index of the step, state after it).

    Returns:
        Tensor: state at ``times[-1]``.
    """
    for step, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        h = t_next - t
        x = x + h * drift(x, t) + math.sqrt(2 * diffusion(t) * h) * noise(step)
        if on_step:
            on_step(step, x)
    return x


def stochastic_heun(
    drift: Velocity,
    diffusion: Diffusion,
    x: Tensor,
    times: Sequence[float],
    noise: Noise,
    on_step: OnStep | None = None,
) -> Tensor:
    """Noise first, then a trapezoid step of the drift from there: two drifts per step.

    ``x' = x + √(2 w(t) h) z``, ``x ← x' + h (drift(x', t) + drift(x' + h drift(x', t), t + h))/2``.
    Arguments as ``euler_maruyama``.
    """
    for step, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        h = t_next - t
        start = x + math.sqrt(2 * diffusion(t) * h) * noise(step)
        first = drift(start, t)
        second = drift(start + h * first, t_next)
        x = start + (h / 2) * (first + second)
        if on_step:
            on_step(step, x)
    return x


SDE_SOLVERS = {"sde-euler": euler_maruyama, "sde-heun": stochastic_heun}


def last_step(
    form: str, drift: Velocity, velocity: Velocity, path: Path, x: Tensor, t: float, size: float
) -> Tensor:
    """The step from ``t = 1 − size`` to the data, without noise.

    ``"mean"``: ``x + size · drift``; ``"euler"``: ``x + size · v``; ``"tweedie"``: ``E[x₁ | x_t]``, from the
    velocity; ``"none"``: x.
    """
    if form == "mean":
        return x + size * drift(x, t)
    if form == "euler":
        return x + size * velocity(x, t)
    if form == "tweedie":
        return path.data_from_velocity(velocity(x, t), x, torch.tensor(t, dtype=x.dtype, device=x.device))
    return x
