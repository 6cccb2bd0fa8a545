"""Stochastic interpolants (SiT): a path from noise (t = 0) to data (t = 1): velocity, noise or score.

Source: SiT (Ma et al. 2024). Flow matching is the linear path with velocity prediction, the default.
"""

from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from ..rng import uniform
from ..spec import ObjectiveSpec
from .base import (
    ForwardPass,
    Losses,
    Network,
    Objective,
    Predict,
    Times,
    Velocity,
    check_shape,
    objective,
    per_sample,
)
from .paths import PATHS

TIME_EPS = 1e-3  # distance kept from a singular end of the path
VP_TRAIN_EPS = 1e-5
LEVELS = 4096  # of the table that inverts the noise level of a curved path


SIT = """\
@inproceedings{ma2024sit,
  title = {{SiT}: Exploring Flow and Diffusion-based Generative Models with Scalable Interpolant
           Transformers},
  author = {Ma, Nanye and Goldstein, Mark and Albergo, Michael S. and Boffi, Nicholas M. and
            Vanden-Eijnden, Eric and Xie, Saining},
  booktitle = {European Conference on Computer Vision (ECCV)},
  year = {2024}
}"""


class SiTSpec(ObjectiveSpec):
    """Stochastic interpolant: path, what the network predicts, and the weight of its error.

    ``reversed_time``: the network counts from data (0) to noise (1), as in REPA; SiT counts the other way.
    """

    kind: Literal["sit"] = "sit"
    path: Literal["linear", "gvp", "vp"] = "linear"
    prediction: Literal["velocity", "noise", "score"] = "velocity"
    weighting: Literal["none", "velocity", "likelihood"] = "none"
    reversed_time: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.prediction == "velocity" and self.weighting != "none":
            raise ValueError(f'weighting = "{self.weighting}": a velocity is not weighted; expected "none"')
        if self.reversed_time and self.prediction != "velocity":
            raise ValueError("reversed_time = True: only for velocity prediction")
        return self


@objective
class Interpolant(Objective):
    """The SiT objective.

    Args:
        spec: path, prediction, weighting, and which way the time runs.
        num_classes: index of the null class.
        label_drop: probability in [0, 1] that a label is replaced by the null class.
    """

    Spec = SiTSpec
    solvers = {"heun": 25, "euler": 50, "dopri5": 1, "sde-euler": 250, "sde-heun": 125}
    cites = {"ma2024sit": SIT}
    spec: SiTSpec

    def __init__(self, spec: SiTSpec, num_classes: int, *, label_drop: float = 0.1):
        super().__init__(spec, num_classes, label_drop=label_drop)
        self.path = PATHS[spec.path]

    def interval(self, *, training: bool = False, sde_form: str | None = None) -> tuple[float, float]:
        """Times between which the path is used, as the published code has them.

        Velocity on the linear and GVP paths: [0, 1]; other predictions keep 1e-3 from both ends, VP from
        its singular end t = 1 (1e-5 in training); an SDE keeps away from t = 1, and in form ``"sbdm"``
        from t = 0 too.
        """
        if self.path.singular:
            return 0.0, 1 - (VP_TRAIN_EPS if training else TIME_EPS)
        if self.spec.prediction != "velocity":
            return TIME_EPS, 1 - TIME_EPS
        if sde_form is None:
            return 0.0, 1.0
        return (TIME_EPS if sde_form == "sbdm" else 0.0), 1 - TIME_EPS

    def own(self, t: Tensor) -> Tensor:
        """Time of the network ↔ time of the path: ``1 − t`` where the network counts the other way."""
        return 1 - t if self.spec.reversed_time else t

    def times(self, n: int, view: str, *key: str | int) -> Times:
        """Uniform on ``interval(training=True)``."""
        low, high = self.interval(training=True)
        return self.own(low + (high - low) * uniform((n,), f"{view}t", *key)), None

    def near(self, times: Times, shift: Tensor) -> Times:
        """``t + shift`` within the interval."""
        low, high = self.interval(training=True)
        return self.own((self.own(times[0]) + shift).clamp(low, high)), None

    def corrupt(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """``x_t = α x + σ ε``."""
        return self.path.interpolate(x, eps, per_sample(self.own(t), x))

    def noise_level(self, t: Tensor) -> Tensor:
        """Share of noise ``σ/(α + σ)``; on the linear path that is 1 − t."""
        t = self.own(t)
        if self.spec.path == "linear":
            return 1 - t
        sigma = self.path.sigma(t)
        return sigma / (self.path.alpha(t) + sigma)

    def time_of_noise_level(self, level: Tensor) -> Tensor:
        """Inverse of ``noise_level``; interpolated in a table on the curved paths (error < 1e-4)."""
        if self.spec.path == "linear":
            return self.own(1 - level)
        low, high = self.interval()
        grid = torch.linspace(high, low, LEVELS, dtype=torch.float64, device=level.device)
        sigma = self.path.sigma(grid)
        levels = sigma / (self.path.alpha(grid) + sigma)
        where = torch.searchsorted(levels, level.double()).clamp(1, LEVELS - 1)
        left, right = levels[where - 1], levels[where]
        share = ((level.double() - left) / (right - left)).clamp(0, 1)
        return self.own(torch.lerp(grid[where - 1], grid[where], share).to(level.dtype))

    def losses(self, model: Network, forward: ForwardPass, *, teacher: Network | None = None) -> Losses:
        """Per-sample means over chw: ``(out − v)²``, ``w (out − ε)²`` or ``w (out·σ + ε)²``.

        The weight w is 1, ``(d/σ)²`` (``"velocity"``) or ``d/σ²`` (``"likelihood"``).

        Raises:
            ConfigError: the prediction has another shape than x.
        """
        x, eps, prediction = forward.x, forward.draws.eps, forward.prediction.float()
        check_shape("prediction", forward.prediction, x.shape)
        t = per_sample(self.own(forward.draws.t), x)
        sigma = self.path.sigma(t)
        if self.spec.prediction == "velocity":
            sign = -1 if self.spec.reversed_time else 1
            error = prediction - sign * self.path.velocity(x, eps, t)
        elif self.spec.prediction == "noise":
            error = prediction - eps
        else:
            error = prediction * sigma + eps
        weight: Tensor | float = 1.0
        if self.spec.weighting == "velocity":
            weight = (self.path.diffusion(t) / sigma) ** 2
        elif self.spec.weighting == "likelihood":
            weight = self.path.diffusion(t) / sigma**2
        return Losses((weight * error.square()).flatten(1).mean(dim=1))

    def velocity(self, prediction: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """What the network predicts, as velocity dx/dt along the path's own time t (noise at 0).

        Args:
            prediction (Tensor): network output, shape (b, c, h, w).
            x_t (Tensor): its input.
            t (Tensor): times of the path, shape (b,).
        """
        t = per_sample(t, x_t)
        if self.spec.prediction == "velocity":
            return -prediction if self.spec.reversed_time else prediction
        if self.spec.prediction == "noise":
            return self.path.velocity_from_noise(prediction, x_t, t)
        return self.path.velocity_from_score(prediction, x_t, t)

    def score(self, velocity: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The score ``∇ log p_t(x_t)`` that belongs to a velocity; arguments as ``velocity``."""
        return self.path.score_from_velocity(velocity, x_t, per_sample(t, x_t))

    def network_time(self, t: float) -> float:
        """``1 − t`` where the network counts the other way."""
        return self.own(torch.tensor(t)).item()

    def velocity_field(self, predict: Predict) -> Velocity:
        """What the network predicts, as a velocity."""

        def velocity(x: Tensor, t: float) -> Tensor:
            prediction = predict(x, 1 - t if self.spec.reversed_time else t)
            return self.velocity(prediction, x, torch.full((len(x),), t, device=x.device, dtype=x.dtype))

        return velocity

    def predicted_end(self, predict: Predict, x: Tensor, t: float) -> Tensor:
        """``x₁ = (σ v − σ̇ x) / (σ α̇ − σ̇ α)``."""
        t = self.network_time(t)  # its own inverse
        v = self.velocity_field(predict)(x, t)
        return self.path.data_from_velocity(v, x, torch.full((len(x), 1, 1, 1), t, device=x.device))
