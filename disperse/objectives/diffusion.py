"""Gaussian diffusion with learned variance (DiT): noise prediction, and a variational term for the variance.

Integer times t = 0 … T−1, T = 1000; ``x_t = √ᾱ_t x + √(1 − ᾱ_t) ε``. The network returns ε and v, and
``log σ² = f log β_t + (1 − f) log β̃_t`` with f = (v + 1)/2.

Source: DiT (Peebles & Xie 2022); Nichol & Dhariwal 2021; Ho et al. 2020.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError, check_count
from ..rng import uniform
from ..spec import ObjectiveSpec, Tagged
from .base import (
    ForwardPass,
    Losses,
    Network,
    Objective,
    Predict,
    Times,
    check_shape,
    objective,
    per_sample,
)

NUM_TIMES = 1000
BETA_START, BETA_END = 1e-4, 0.02


def linear_betas() -> np.ndarray:
    """β from 1e-4 to 0.02, shape (1000,), float64."""
    return np.linspace(BETA_START, BETA_END, NUM_TIMES, dtype=np.float64)


def respaced_times(num_steps: int) -> np.ndarray:
    """``round(i · (T − 1)/(n − 1))``, i = 0 … n − 1, shape (n,): the times kept, first and last among them.

    Raises:
        ConfigError: not 1 to T steps.
    """
    check_count("num_steps", num_steps, 1, NUM_TIMES)
    stride = (NUM_TIMES - 1) / max(num_steps - 1, 1)
    return np.array([round(i * stride) for i in range(num_steps)])


def _ddim_counts() -> dict[int, int]:
    """Number of times → the smallest stride that gives so many."""
    return {len(range(0, NUM_TIMES, stride)): stride for stride in range(NUM_TIMES, 0, -1)}


def nearest_ddim(num_steps: int) -> int:
    """The number of DDIM steps nearest to one that a whole stride may not give."""
    return min(_ddim_counts(), key=lambda count: abs(count - num_steps))


def ddim_times(num_steps: int) -> np.ndarray:
    """Every k-th time from 0, k the smallest stride that gives n of them, shape (n,).

    Raises:
        ConfigError: no whole stride gives that many; the nearest number that one gives is named.
    """
    check_count("num_steps", num_steps, 1, NUM_TIMES)
    counts = _ddim_counts()
    if num_steps not in counts:
        near = nearest_ddim(num_steps)
        raise ConfigError(f"num_steps = {num_steps}: DDIM takes every k-th of {NUM_TIMES} times; try {near}")
    return np.arange(0, NUM_TIMES, counts[num_steps])


@dataclass(frozen=True)
class Schedule:
    """Tables of a diffusion over some of its times, float64, each of shape (n,).

    Attributes:
        times: of the network, ascending.
        alphas_cumprod: ᾱ at these times.
    """

    times: np.ndarray
    alphas_cumprod: np.ndarray

    @cached_property
    def signal(self) -> np.ndarray:
        """√ᾱ, the weight of data in x_t."""
        return np.sqrt(self.alphas_cumprod)

    @cached_property
    def noise(self) -> np.ndarray:
        """√(1 − ᾱ), the weight of noise in x_t."""
        return np.sqrt(1 - self.alphas_cumprod)

    @cached_property
    def recip_signal(self) -> np.ndarray:
        """√(1/ᾱ), the weight of x_t in x̂₀."""
        return np.sqrt(1 / self.alphas_cumprod)

    @cached_property
    def recip_noise(self) -> np.ndarray:
        """√(1/ᾱ − 1), the weight of −ε in x̂₀."""
        return np.sqrt(1 / self.alphas_cumprod - 1)

    @cached_property
    def previous(self) -> np.ndarray:
        """ᾱ one step less noisy; 1 before the first."""
        return np.append(1.0, self.alphas_cumprod[:-1])

    @cached_property
    def betas(self) -> np.ndarray:
        """``β = 1 − ᾱ_t/ᾱ_{t−1}`` of the kept times."""
        return 1 - self.alphas_cumprod / self.previous

    @cached_property
    def log_betas(self) -> np.ndarray:
        """log β, the largest variance."""
        return np.log(self.betas)

    @cached_property
    def posterior_variance(self) -> np.ndarray:
        """``β̃ = β (1 − ᾱ_{t−1})/(1 − ᾱ_t)``; 0 at the first."""
        return self.betas * (1 - self.previous) / (1 - self.alphas_cumprod)

    @cached_property
    def posterior_log_variance(self) -> np.ndarray:
        """``log β̃``, the first replaced by the second (it would be −∞)."""
        if len(self.times) < 2:
            return np.log(self.betas)
        return np.log(np.append(self.posterior_variance[1], self.posterior_variance[1:]))

    @cached_property
    def posterior_mean_of_data(self) -> np.ndarray:
        """Weight of x₀ in the mean of q(x_{t−1} | x_t, x₀)."""
        return self.betas * np.sqrt(self.previous) / (1 - self.alphas_cumprod)

    @cached_property
    def posterior_mean_of_input(self) -> np.ndarray:
        """Weight of x_t in the mean of q(x_{t−1} | x_t, x₀)."""
        return (1 - self.previous) * np.sqrt(1 - self.betas) / (1 - self.alphas_cumprod)

    @cached_property
    def _on_device(self) -> dict[tuple[str, torch.device], Tensor]:
        return {}

    def at(self, name: str, index: Tensor, like: Tensor) -> Tensor:
        """Entries of the table ``name``, float32, to stand against ``like`` of shape (b, ...)."""
        key = name, index.device
        if key not in self._on_device:  # copied to the device once, not once a step
            self._on_device[key] = torch.from_numpy(getattr(self, name)).float().to(index.device)
        return per_sample(self._on_device[key][index], like)


def schedule(times: np.ndarray | None = None) -> Schedule:
    """The published schedule, or what is left of it at ``times``."""
    full = np.cumprod(1 - linear_betas())
    times = np.arange(NUM_TIMES) if times is None else times
    return Schedule(times, full[times])


@dataclass(frozen=True)
class Reverse:
    """p(x_{t−1} | x_t) as the network says it: mean, log variance and implied data, each (b, c, h, w)."""

    mean: Tensor
    log_variance: Tensor
    data: Tensor


def reverse(table: Schedule, prediction: Tensor, x_t: Tensor, index: Tensor) -> Reverse:
    """The network's Gaussian for the step before; x̂₀ is not clipped.

    Args:
        table: schedule that ``index`` counts in.
        prediction (Tensor): (b, 2c, h, w), ε and v.
        x_t (Tensor): input, (b, c, h, w).
        index (Tensor): position of each time in the schedule, (b,), int64.
    """
    eps, v = prediction.chunk(2, dim=1)
    low, high = (table.at(name, index, x_t) for name in ("posterior_log_variance", "log_betas"))
    share = (v + 1) / 2
    data = data_from_noise(table, eps, x_t, index)
    mean = posterior_mean(table, data, x_t, index)
    return Reverse(mean, share * high + (1 - share) * low, data)


def data_from_noise(table: Schedule, eps: Tensor, x_t: Tensor, index: Tensor) -> Tensor:
    """``x̂₀ = √(1/ᾱ) x_t − √(1/ᾱ − 1) ε``."""
    return table.at("recip_signal", index, x_t) * x_t - table.at("recip_noise", index, x_t) * eps


def posterior_mean(table: Schedule, x: Tensor, x_t: Tensor, index: Tensor) -> Tensor:
    """Mean of q(x_{t−1} | x_t, x₀)."""
    of_data = table.at("posterior_mean_of_data", index, x_t)
    return of_data * x + table.at("posterior_mean_of_input", index, x_t) * x_t


def gaussian_kl(mean1: Tensor, log_variance1: Tensor, mean2: Tensor, log_variance2: Tensor) -> Tensor:
    """KL(N₁ ‖ N₂) of diagonal Gaussians, elementwise, in nats."""
    return 0.5 * (
        log_variance2
        - log_variance1
        - 1
        + torch.exp(log_variance1 - log_variance2)
        + (mean1 - mean2) ** 2 * torch.exp(-log_variance2)
    )


def discretised_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """log-probability of the bin of width 2/255 around x, the outermost bins open; elementwise, in nats.

    The normal distribution function is ``½ (1 + tanh(√(2/π) (u + 0.044715 u³)))``, as published.
    """
    inverse = torch.exp(-log_scale)

    def cdf(u: Tensor) -> Tensor:
        return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3)))

    upper = cdf(inverse * (x - mean + 1 / 255))
    lower = cdf(inverse * (x - mean - 1 / 255))
    inside = (upper - lower).clamp_min(1e-12).log()
    below, above = upper.clamp_min(1e-12).log(), (1 - lower).clamp_min(1e-12).log()
    return torch.where(x < -0.999, below, torch.where(x > 0.999, above, inside))


DIT = """\
@inproceedings{peebles2023dit,
  title = {Scalable Diffusion Models with Transformers},
  author = {Peebles, William and Xie, Saining},
  booktitle = {IEEE/CVF International Conference on Computer Vision (ICCV)},
  year = {2023}
}"""
DDPM = """\
@inproceedings{ho2020ddpm,
  title = {Denoising Diffusion Probabilistic Models},
  author = {Ho, Jonathan and Jain, Ajay and Abbeel, Pieter},
  booktitle = {Advances in Neural Information Processing Systems (NeurIPS)},
  year = {2020}
}"""
IMPROVED = """\
@inproceedings{nichol2021improved,
  title = {Improved Denoising Diffusion Probabilistic Models},
  author = {Nichol, Alexander Quinn and Dhariwal, Prafulla},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2021}
}"""


class DiTSpec(Tagged, ObjectiveSpec):
    """Gaussian diffusion with learned variance; nothing to choose."""

    kind: Literal["dit"] = "dit"
    backbone: ClassVar[str] = "DiT"
    network: ClassVar[dict[str, Any]] = {"keep_sigma": True}


@objective
class GaussianDiffusion(Objective):
    """The DiT objective: ``MSE(ε) + VLB``, the latter teaching the variance only.

    Args:
        spec: nothing to choose.
        num_classes: index of the null class.
        label_drop: probability in [0, 1] that a label is replaced by the null class.
    """

    Spec = DiTSpec
    solvers = {"ddim": 50, "ddpm": 250}
    cites = {"peebles2023dit": DIT, "ho2020ddpm": DDPM, "nichol2021improved": IMPROVED}

    def __init__(self, spec: DiTSpec, num_classes: int, *, label_drop: float = 0.1):
        super().__init__(spec, num_classes, label_drop=label_drop)
        self.schedule = schedule()

    def times(self, n: int, view: str, *key: str | int) -> Times:
        """Uniform integers 0 to T − 1."""
        return (uniform((n,), f"{view}t", *key).double() * NUM_TIMES).long(), None

    def near(self, times: Times, shift: Tensor) -> Times:
        """``t + T · shift``, rounded, within 0 to T − 1."""
        return (times[0] + (shift * NUM_TIMES).round().long()).clamp(0, NUM_TIMES - 1), None

    def corrupt(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """``x_t = √ᾱ_t x + √(1 − ᾱ_t) ε``."""
        return self.schedule.at("signal", t, x) * x + self.schedule.at("noise", t, x) * eps

    def noise_level(self, t: Tensor) -> Tensor:
        """``√(1 − ᾱ_t)``."""
        return self.schedule.at("noise", t, t)

    def time_of_noise_level(self, level: Tensor) -> Tensor:
        """The time whose noise level is nearest."""
        levels = torch.from_numpy(self.schedule.noise).float().to(level.device)
        return (levels[None] - level[:, None]).abs().argmin(dim=1)

    def losses(self, model: Network, forward: ForwardPass, *, teacher: Network | None = None) -> Losses:
        """Per sample, means over chw: ``(ε̂ − ε)²`` plus the variational bound's term in bits per dimension.

        The term is ``KL(q(x_{t−1}|x_t, x₀) ‖ p)``, at t = 0 the discretised likelihood of x₀; ε̂ enters it
        detached.

        Raises:
            ConfigError: the prediction is not (b, 2c, h, w).
        """
        x, x_t, eps, t = forward.x, forward.x_t, forward.draws.eps, forward.draws.t
        b, c, *size = x.shape
        check_shape("prediction", forward.prediction, torch.Size((b, 2 * c, *size)))
        noise, v = forward.prediction.float().chunk(2, dim=1)
        mse = (noise - eps).square().flatten(1).mean(dim=1)
        variational = self.variational(torch.cat([noise.detach(), v], dim=1), x, x_t, t)
        return Losses(mse + variational, {"mse": mse, "vb": variational})

    def variational(self, prediction: Tensor, x: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Term of the variational bound, shape (b,), in bits per dimension."""
        table = self.schedule
        own = reverse(table, prediction, x_t, t)
        true = posterior_mean(table, x, x_t, t), table.at("posterior_log_variance", t, x)
        kl = gaussian_kl(*true, own.mean, own.log_variance)
        decoder = -discretised_log_likelihood(x, own.mean, 0.5 * own.log_variance)
        terms = torch.where(per_sample(t == 0, x), decoder, kl)
        return terms.flatten(1).mean(dim=1) / math.log(2)

    def predicted_end(self, predict: Predict, x: Tensor, t: float) -> Tensor:
        """``(x − √(1−ᾱ) ε̂)/√ᾱ``."""
        index = torch.full((len(x),), int(t), device=x.device)
        return data_from_noise(schedule(), predict(x, int(t))[:, : x.shape[1]], x, index)
