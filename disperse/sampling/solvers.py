"""Solvers of ``dx/dt = v(x, t)``, one function each; the state is all that they keep."""

from collections.abc import Callable, Sequence

from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]
OnStep = Callable[[int, Tensor], None]


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


SOLVERS = {"euler": euler, "heun": heun}
VELOCITIES_PER_STEP = {"euler": 1, "heun": 2}


def nfe(solver: str, num_steps: int) -> int:
    """Velocity evaluations of a whole trajectory (guidance doubles each network batch, not this)."""
    return VELOCITIES_PER_STEP[solver] * num_steps


def uniform_times(num_steps: int) -> list[float]:
    """Grid 0 = t_0 < … < t_n = 1 with equal steps."""
    return [step / num_steps for step in range(num_steps + 1)]
