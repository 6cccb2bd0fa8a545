"""Solvers of ``dx/dt = v(x, t)``, one function each; the state is all that they keep."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..objectives import OnStep, Velocity

ATOL, RTOL = 1e-6, 1e-3  # of dopri5, as published


def euler(velocity: Velocity, x: Tensor, times: Sequence[float], on_step: OnStep | None = None) -> Tensor:
    """Euler's method, order 1: ``x ← x + h v(x, t)``; one velocity per step.

    Args:
        velocity: v(x, t), with the shape of x.
        x (Tensor): state at ``times[0]``.
        times: grid of n + 1 points for n steps, in either direction.
        on_step: called with (index of the step, state after it).

    Returns:
        Tensor: state at ``times[-1]``.
    """
    for step, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        x = x + (t_next - t) * velocity(x, t)
        if on_step:
            on_step(step, x)
    return x


def heun(velocity: Velocity, x: Tensor, times: Sequence[float], on_step: OnStep | None = None) -> Tensor:
    """Heun's method (explicit trapezoid), order 2: two velocities per step.

    ``k₁ = v(x, t)``, ``k₂ = v(x + h k₁, t + h)``, ``x ← x + h (k₁ + k₂)/2``. Arguments as ``euler``.
    """
    for step, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        h = t_next - t
        first = velocity(x, t)
        second = velocity(x + h * first, t_next)
        x = x + (h / 2) * (first + second)
        if on_step:
            on_step(step, x)
    return x


def dopri5(velocity: Velocity, x: Tensor, times: Sequence[float], on_step: OnStep | None = None) -> Tensor:
    """Dormand and Prince's adaptive method of order 5 (torchdiffeq), step by step between grid points.

    The step size follows the error over the whole batch, so an image depends a little on its batch.
    Arguments as ``euler``; the grid only says where ``on_step`` wants states (they are kept if it does).
    """
    from torchdiffeq import odeint  # needed only here

    points = list(times) if on_step else [times[0], times[-1]]
    grid = torch.tensor(points, dtype=x.dtype, device=x.device)
    states = odeint(
        lambda t, state: velocity(state, float(t)), x, grid, method="dopri5", atol=ATOL, rtol=RTOL
    )
    if on_step:
        for step, state in enumerate(states[1:]):
            on_step(step, state)
    return states[-1]


SOLVERS = {"euler": euler, "heun": heun, "dopri5": dopri5}
