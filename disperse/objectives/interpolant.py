"""Flow matching on the linear interpolant with velocity prediction (SiT).

``x_t = t x + (1 − t) ε`` with t = 0 noise and t = 1 data; the network learns ``v = x − ε``.

Source: SiT (Ma et al. 2024), linear path, velocity prediction, unweighted.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from ..rng import normal, uniform


@dataclass(frozen=True)
class Draws:
    """The randomness of one batch.

    Attributes:
        t (Tensor): times, shape (b,), in [0, 1).
        eps (Tensor): noise, shape (b, c, h, w).
        dropped (Tensor): whose label is replaced by the null class, shape (b,), bool.
    """

    t: Tensor
    eps: Tensor
    dropped: Tensor

    def to(self, device: torch.device) -> "Draws":
        """The same on another device."""
        return Draws(self.t.to(device), self.eps.to(device), self.dropped.to(device))


@dataclass(frozen=True)
class ForwardPass:
    """One pass that carries gradients, for losses and regularisers to read.

    Attributes:
        x, x_t, eps (Tensor): data, network input and noise, shape (b, c, h, w).
        t (Tensor): times as the network got them, shape (b,).
        y (Tensor): labels as the network got them (after label drop), shape (b,).
        prediction (Tensor): network output, shape (b, c, h, w).
        losses (Tensor): one diffusion loss per sample, shape (b,).
        features: block index → that block's output, shape (b, n, d).
    """

    x: Tensor
    x_t: Tensor
    eps: Tensor
    t: Tensor
    y: Tensor
    prediction: Tensor
    losses: Tensor
    features: dict[int, Tensor]


class FlowMatching:
    """The SiT objective.

    Args:
        num_classes: index of the null class.
        label_drop: probability in [0, 1] that a label is replaced by the null class.

    Raises:
        ConfigError: label_drop is out of range.
    """

    def __init__(self, num_classes: int, *, label_drop: float = 0.1):
        number = isinstance(label_drop, (int, float)) and not isinstance(label_drop, bool)
        if not number or not 0 <= label_drop <= 1:
            raise ConfigError(f"label_drop = {label_drop!r}: expected a number from 0 to 1")
        self.num_classes = num_classes
        self.label_drop = label_drop

    def draw(self, shape: tuple[int, ...], *key: str | int) -> Draws:
        """Times, noise and dropped labels for a batch of shape (b, c, h, w); keyed, on the CPU."""
        batch = shape[:1]
        return Draws(
            t=uniform(batch, "t", *key),
            eps=normal(shape, "eps", *key),
            dropped=uniform(batch, "label drop", *key) < self.label_drop,
        )

    def __call__(
        self, model: Callable[..., Any], x: Tensor, y: Tensor, draws: Draws, *, taps: tuple[int, ...] = ()
    ) -> ForwardPass:
        """Losses ``ℓ_i = mean_chw (model(x_t, t, y) − (x − ε))²`` and the tapped features.

        Raises:
            ConfigError: x is not of a float dtype, or noise or prediction have another shape.
        """
        if not x.is_floating_point():
            raise ConfigError(f"x: expected a float dtype, got {x.dtype}; convert to the data range, [−1, 1]")
        _check_shape("draws.eps", draws.eps, x)
        y = torch.where(draws.dropped, self.num_classes, y)
        x_t = interpolate(x, draws.eps, draws.t)
        output = model(x_t, draws.t, y, taps=taps)
        prediction, features = (output.prediction, output.features) if taps else (output, {})
        _check_shape("prediction", prediction, x)
        losses = (prediction.float() - (x - draws.eps)).square().flatten(1).mean(dim=1)
        return ForwardPass(x, x_t, draws.eps, draws.t, y, prediction, losses, features)


def _check_shape(name: str, value: Tensor, x: Tensor) -> None:
    if value.shape != x.shape:  # would be broadcast, or fail far from here
        raise ConfigError(f"{name}: expected shape {tuple(x.shape)}, that of x, got {tuple(value.shape)}")


def interpolate(x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
    """``x_t = t x + (1 − t) ε``; t of shape (b,) against x of shape (b, ...)."""
    t = t.view(-1, *[1] * (x.ndim - 1))
    return t * x + (1 - t) * eps


def noise_level(t: Tensor) -> Tensor:
    """Noise level in [0, 1], 1 = pure noise: ``1 − t`` in the convention of SiT."""
    return 1 - t


def time_of_noise_level(level: Tensor) -> Tensor:
    """Inverse of ``noise_level``."""
    return 1 - level
