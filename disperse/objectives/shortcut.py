"""Shortcut models: one network for 1 to 128 steps, told how long its step is.

``x_t = (1 − (1 − 10⁻⁵) t) ε + t x`` with t = 0 noise and t = 1 data. The network s(x_t, t, l) has the level
``l = log₂(1/d)`` of a step of length d as second condition. At the finest level it learns the velocity, at
any other the mean of two steps of half the length by a teacher of averaged weights.

Source: Shortcut (Frans et al. 2024), arXiv 2410.12557.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ..errors import ConfigError
from ..rng import uniform
from ..spec import ObjectiveSpec, Tagged
from .base import (
    ForwardPass,
    Losses,
    Network,
    Objective,
    OnStep,
    Predict,
    Steps,
    Times,
    Velocity,
    check_shape,
    objective,
    per_sample,
    uniform_times,
)

FINEST = 7  # level of 128 steps
LEFT = 1e-5  # noise that stays at t = 1

SHORTCUT = """\
@article{frans2024shortcut,
  title = {One Step Diffusion via Shortcut Models},
  author = {Frans, Kevin and Hafner, Danijar and Levine, Sergey and Abbeel, Pieter},
  journal = {arXiv preprint arXiv:2410.12557},
  year = {2024}
}"""


def step_times(num_steps: int) -> list[float]:
    """Times from 0 to 1 of a number of steps that has a level.

    Raises:
        ConfigError: not a power of two from 1 to 128.
    """
    if num_steps not in (counts := [2**level for level in range(FINEST + 1)]):
        near = min(counts, key=lambda count: abs(count - num_steps))
        raise ConfigError(f"num_steps = {num_steps}: a shortcut takes 1, 2, 4, ... or 128 steps; try {near}")
    return uniform_times(num_steps)


def shortcut_steps(
    predict: Predict, x: Tensor, times: Sequence[float], on_step: OnStep | None = None
) -> Tensor:
    """``x ← x + d s(x, t, log₂(1/d))`` in n steps of length d = 1/n, from noise to data."""
    count = len(times) - 1
    level = float(count.bit_length() - 1)
    for step, t in enumerate(times[:-1]):
        x = x + predict(x, t, level) / count
        if on_step:
            on_step(step, x)
    return x


class ShortcutSpec(Tagged, ObjectiveSpec):
    """Shortcut model.

    Attributes:
        bootstrap_share: share of the batch that learns from two steps of half the length; 0 is flow matching.
        guidance: scale of the guidance that the targets of the longest such step but one are given, the level
            of 64 steps; 1 is none, 1.5 the authors'.
        clip: bound on the absolute value of states and targets on the way; 4 for latents, None for pixels.
        decay: of the teacher's average.
    """

    kind: Literal["shortcut"] = "shortcut"
    network: ClassVar[dict[str, Any]] = {"step_level": True}
    bootstrap_share: float = Field(default=0.25, ge=0, le=1)
    guidance: float = Field(default=1.0, ge=0)
    clip: float | None = Field(default=None, gt=0)
    decay: float = Field(default=0.999, gt=0, lt=1)


@objective
class Shortcut(Objective):
    """The Shortcut objective."""

    Spec = ShortcutSpec
    solvers = {"shortcut": 4, "heun": 25, "euler": 50, "dopri5": 1}
    steps = {"shortcut": Steps(step_times, shortcut_steps)}
    cites = {"frans2024shortcut": SHORTCUT}
    cost = 1.2  # two calls without gradient for a quarter of the rows
    spec: ShortcutSpec

    def __init__(self, spec: ShortcutSpec, num_classes: int, *, label_drop: float = 0.1):
        super().__init__(spec, num_classes, label_drop=label_drop)
        self.teacher = spec.decay

    def apart(self, n: int) -> Tensor:
        """Rows of a batch that learn from two half steps, evenly spread over it: shape (n,), bool."""
        count = ((torch.arange(n + 1, dtype=torch.float64) * self.spec.bootstrap_share) + 1e-9).floor()
        return count[1:] > count[:-1]

    def times(self, n: int, view: str, *key: str | int) -> Times:
        """t = k d, k uniform on 0 … 1/d − 1; the level is 7, of ``apart`` rows uniform on 0 … 6."""
        coarse = (uniform((n,), f"{view}level", *key) * FINEST).floor().clamp(max=FINEST - 1)
        level = torch.where(self.apart(n), coarse, float(FINEST))
        count = 2**level
        t = (uniform((n,), f"{view}t", *key) * count).floor().minimum(count - 1) / count
        return t, level

    def near(self, times: Times, shift: Tensor) -> Times:
        """t moved by ``shift`` within [0, 1 − d]; the level stays."""
        t, level = times
        assert level is not None
        return torch.minimum((t + shift).clamp(min=0), 1 - 2**-level), level

    def corrupt(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """``x_t = (1 − (1 − 10⁻⁵) t) ε + t x``."""
        t = per_sample(t, x)
        return (1 - (1 - LEFT) * t) * eps + t * x

    def noise_level(self, t: Tensor) -> Tensor:
        """``1 − t``."""
        return 1 - t

    def time_of_noise_level(self, level: Tensor) -> Tensor:
        """``1 − level``."""
        return 1 - level

    def second_time(self, t: Tensor) -> Tensor | None:
        """The finest level: its prediction is the velocity."""
        return torch.full_like(t, FINEST)

    def losses(self, model: Network, forward: ForwardPass, *, teacher: Network | None = None) -> Losses:
        """Per-sample means over chw of ``(s − target)²``: the velocity, or the mean of two half steps.

        Args:
            model: takes the half steps where there is no teacher.
            forward: the pass that carries gradients.
            teacher: the network with averaged weights.

        Raises:
            ConfigError: the prediction has another shape than x.
        """
        check_shape("prediction", forward.prediction, forward.x.shape)
        target, draws = (forward.x - (1 - LEFT) * forward.draws.eps).float(), forward.draws
        assert draws.r is not None
        rows = (draws.r < FINEST).nonzero().flatten()
        if len(rows):
            state = forward.x_t[rows], draws.t[rows], draws.r[rows], forward.y[rows]
            target[rows] = self.two_half_steps(teacher or model, *state).float()
        error = (forward.prediction.float() - target).square().flatten(1).mean(dim=1)
        return Losses(error, {"squared_error": error})

    @torch.no_grad()
    def two_half_steps(self, network: Network, x: Tensor, t: Tensor, level: Tensor, y: Tensor) -> Tensor:
        """``(b₁ + b₂)/2``, ``b₁ = s(x, t, l + 1)``, ``b₂ = s(x + d b₁/2, t + d/2, l + 1)``, of a step d.

        Args:
            network: s.
            x (Tensor): states, shape (b, c, h, w).
            t, level (Tensor): times and levels l of the whole step, shape (b,).
            y (Tensor): labels, the null class among them.
        """
        half = 2.0 ** -(level + 1)
        first = self._guided(network, x, t, level + 1, y)
        middle = self._clipped(x + per_sample(half, x) * first)
        second = self._guided(network, middle, t + half, level + 1, y)
        return self._clipped((first + second) / 2)

    def _guided(self, network: Network, x: Tensor, t: Tensor, level: Tensor, y: Tensor) -> Tensor:
        """The network's prediction, guided at the finest level where there is a label."""
        found = network(x, t, y, r=level)
        rows = ((level == FINEST) & (y != self.num_classes)).nonzero().flatten()
        if self.spec.guidance == 1 or not len(rows):
            return found
        null = torch.full_like(y[rows], self.num_classes)
        without = network(x[rows], t[rows], null, r=level[rows])
        mixed = without + self.spec.guidance * (found[rows] - without)
        return found.index_copy(0, rows, mixed)

    def _clipped(self, x: Tensor) -> Tensor:
        return x if self.spec.clip is None else x.clamp(-self.spec.clip, self.spec.clip)

    def velocity_field(self, predict: Predict) -> Velocity:
        """The prediction at the finest level."""
        return lambda x, t: predict(x, t, float(FINEST))

    def predicted_end(self, predict: Predict, x: Tensor, t: float) -> Tensor:
        """``x + (1 − t) v``."""
        return x + (1 - t) * predict(x, t, float(FINEST))
