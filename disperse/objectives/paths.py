"""Interpolants ``x_t = α(t) x₁ + σ(t) x₀`` between noise x₀ (t = 0) and data x₁ (t = 1), and what follows.

Source: SiT (Ma et al. 2024); the time runs as in its published code.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Coefficient = Callable[[Tensor], Tensor]

BETA_MAX, BETA_MIN = 20.0, 0.1  # of the variance-preserving path: β(t) runs between them


@dataclass(frozen=True)
class Path:
    """Coefficients of an interpolant as functions of t.

    Attributes:
        alpha, sigma: weights of data and noise.
        alpha_dot, sigma_dot: their time derivatives.
        drift: ``α̇/α``.
        diffusion: ``d = (α̇/α) σ² − σ σ̇``, the factor from score to velocity.
        singular: whether ``sigma_dot`` diverges at t = 1, so that times stop short of it.
    """

    alpha: Coefficient
    sigma: Coefficient
    alpha_dot: Coefficient
    sigma_dot: Coefficient
    drift: Coefficient
    diffusion: Coefficient
    singular: bool = False

    def interpolate(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """``x_t = α x + σ ε``; t has the shape of x or broadcasts against it."""
        return self.alpha(t) * x + self.sigma(t) * eps

    def velocity(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """``v = α̇ x + σ̇ ε``, the time derivative of ``interpolate``."""
        return self.alpha_dot(t) * x + self.sigma_dot(t) * eps

    def velocity_from_score(self, score: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """``v = (α̇/α) x_t + d · score``."""
        return self.drift(t) * x_t + self.diffusion(t) * score

    def velocity_from_noise(self, eps: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """``v = (α̇/α) x_t − (d/σ) ε``."""
        return self.drift(t) * x_t - self.diffusion(t) / self.sigma(t) * eps

    def score_from_velocity(self, v: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """``score = ((α/α̇) v − x_t) / (σ² − (α/α̇) σ̇ σ)``."""
        ratio, sigma = self.alpha(t) / self.alpha_dot(t), self.sigma(t)
        return (ratio * v - x_t) / (sigma**2 - ratio * self.sigma_dot(t) * sigma)

    def data_from_velocity(self, v: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """``x = (σ v − σ̇ x_t) / (σ α̇ − σ̇ α)``: where the path would end."""
        sigma, sigma_dot = self.sigma(t), self.sigma_dot(t)
        return (sigma * v - sigma_dot * x_t) / (sigma * self.alpha_dot(t) - sigma_dot * self.alpha(t))


def _linear() -> Path:
    return Path(
        alpha=lambda t: t,
        sigma=lambda t: 1 - t,
        alpha_dot=torch.ones_like,
        sigma_dot=lambda t: -torch.ones_like(t),
        drift=lambda t: 1 / t,
        diffusion=lambda t: (1 - t) ** 2 / t + (1 - t),
    )


def _gvp() -> Path:
    half = math.pi / 2

    def drift(t: Tensor) -> Tensor:
        return half / torch.tan(t * half)

    def diffusion(t: Tensor) -> Tensor:
        cos = torch.cos(t * half)
        return drift(t) * cos**2 + half * cos * torch.sin(t * half)

    return Path(
        alpha=lambda t: torch.sin(t * half),
        sigma=lambda t: torch.cos(t * half),
        alpha_dot=lambda t: half * torch.cos(t * half),
        sigma_dot=lambda t: -half * torch.sin(t * half),
        drift=drift,
        diffusion=diffusion,
    )


def _vp() -> Path:
    def log_alpha(t: Tensor) -> Tensor:
        return -0.25 * (1 - t) ** 2 * (BETA_MAX - BETA_MIN) - 0.5 * (1 - t) * BETA_MIN

    def drift(t: Tensor) -> Tensor:
        return 0.5 * (1 - t) * (BETA_MAX - BETA_MIN) + 0.5 * BETA_MIN

    def alpha(t: Tensor) -> Tensor:
        return torch.exp(log_alpha(t))

    def sigma(t: Tensor) -> Tensor:
        return torch.sqrt(-torch.expm1(2 * log_alpha(t)))

    return Path(
        alpha=alpha,
        sigma=sigma,
        alpha_dot=lambda t: alpha(t) * drift(t),
        sigma_dot=lambda t: -torch.exp(2 * log_alpha(t)) * drift(t) / sigma(t),
        drift=drift,
        diffusion=drift,  # half of β(t), since α² + σ² = 1
        singular=True,
    )


PATHS = {"linear": _linear(), "gvp": _gvp(), "vp": _vp()}
