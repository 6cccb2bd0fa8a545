"""A flow that is known exactly: Gaussian data. Solvers are measured against it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import unknown
from ..objectives import Path, Velocity, uniform_times
from ..sampling.sde import SDE_SOLVERS, Diffusion, diffusion_coefficient
from ..sampling.solvers import SOLVERS


@dataclass(frozen=True)
class GaussianFlow:
    """Data N(mean, std²), each dimension alike, under an interpolant: everything in closed form.

    ``x_t ~ N(α m, α² s² + σ²)``; the flow carries quantiles to quantiles.
    """

    path: Path
    mean: float
    std: float

    def moments(self, t: float) -> tuple[float, float]:
        """Mean and standard deviation of x_t."""
        alpha, sigma = self._at(self.path.alpha, t), self._at(self.path.sigma, t)
        return alpha * self.mean, math.sqrt(alpha**2 * self.std**2 + sigma**2)

    def velocity(self, x: Tensor, t: float) -> Tensor:
        """``E[α̇ x₁ + σ̇ x₀ | x_t = x]``."""
        mean, std = self.moments(t)
        alpha, alpha_dot = self._at(self.path.alpha, t), self._at(self.path.alpha_dot, t)
        sigma, sigma_dot = self._at(self.path.sigma, t), self._at(self.path.sigma_dot, t)
        slope = (alpha_dot * alpha * self.std**2 + sigma_dot * sigma) / std**2
        return alpha_dot * self.mean + slope * (x - mean)

    def score(self, x: Tensor, t: float) -> Tensor:
        """``∇ log p_t(x) = −(x − mean_t)/std_t²``."""
        mean, std = self.moments(t)
        return (mean - x) / std**2

    def flow(self, x: Tensor, t: float, r: float) -> Tensor:
        """Where x, at time t, is at time r."""
        (mean_t, std_t), (mean_r, std_r) = self.moments(t), self.moments(r)
        return mean_r + std_r / std_t * (x - mean_t)

    @staticmethod
    def _at(coefficient: Callable[[Tensor], Tensor], t: float) -> float:
        return coefficient(torch.tensor(t, dtype=torch.float64)).item()


def ode_error(flow: GaussianFlow, solver: str, num_steps: int, low: float = 0.0, high: float = 1.0) -> float:
    """Largest error of a solver's end states, from 13 states of x_low, float64."""
    start = torch.linspace(-3, 3, 13, dtype=torch.float64)
    end = SOLVERS[solver](flow.velocity, start, uniform_times(num_steps, low, high))
    return (end - flow.flow(start, low, high)).abs().max().item()


def sde_error(
    flow: GaussianFlow, solver: str, diffusion: Diffusion, num_steps: int, low: float = 0.0, high: float = 0.9
) -> float:
    """Weak error: the larger of those of mean and standard deviation at ``high``, without sampling."""

    def drift(x: Tensor, t: float) -> Tensor:
        return flow.velocity(x, t) + diffusion(t) * flow.score(x, t)

    mean, std = propagate(solver, drift, diffusion, uniform_times(num_steps, low, high), *flow.moments(low))
    exact_mean, exact_std = flow.moments(high)
    return max(abs(mean - exact_mean), abs(std - exact_std))


def solver_errors(
    flow: GaussianFlow, solvers: Sequence[str], num_steps: Sequence[int], *, form: str = "sigma"
) -> dict[str, list[float]]:
    """Error of each solver by number of steps: ``ode_error``, of an SDE's solver ``sde_error``.

    Args:
        flow: what is solved.
        solvers: names.
        num_steps: numbers of steps, in the order of the errors.
        form: of the diffusion of SDEs, see ``diffusion_coefficient``.

    Raises:
        ConfigError: unknown solver.
    """
    diffusion, found = diffusion_coefficient(form, flow.path), {}
    for solver in solvers:
        if solver not in SOLVERS and solver not in SDE_SOLVERS:
            raise unknown("solver", solver, [*SOLVERS, *SDE_SOLVERS])
        found[solver] = [
            ode_error(flow, solver, n) if solver in SOLVERS else sde_error(flow, solver, diffusion, n)
            for n in num_steps
        ]
    return found


def propagate(
    solver: str, drift: Velocity, diffusion: Diffusion, times: Sequence[float], mean: float, std: float
) -> tuple[float, float]:
    """Mean and standard deviation after a solver's steps, exactly, where the drift is affine in x.

    A step is then ``a x + b + c z``; its coefficients are read off by calling it thrice.
    """
    variance = std**2
    for pair in zip(times[:-1], times[1:], strict=True):

        def step(x: float, z: float, pair: tuple[float, float] = pair) -> float:
            state, noise = (torch.tensor(value, dtype=torch.float64) for value in (x, z))
            return SDE_SOLVERS[solver](drift, diffusion, state, pair, lambda _: noise).item()

        b = step(0.0, 0.0)
        a, c = step(1.0, 0.0) - b, step(0.0, 1.0) - b
        mean, variance = a * mean + b, a**2 * variance + c**2
    return mean, math.sqrt(variance)


def order(error: Callable[[int], float], num_steps: Sequence[int]) -> float:
    """Order of convergence: slope of log error against log step size, by least squares."""
    errors = [error(n) for n in num_steps]
    return float(np.polyfit(-np.log(num_steps), np.log(errors), 1)[0])
