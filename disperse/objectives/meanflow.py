"""MeanFlow: the average velocity u between two times, so that one step goes from noise to data.

``z_t = (1 − t) x + t ε`` with t = 0 data and t = 1 noise, ``v = ε − x``; the network learns
``u(z_t, r, t) = v − (t − r) du/dt``, the total derivative taken along the path.

Source: MeanFlow (Geng et al. 2025) and its authors' code.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..losses.distances import at_least_float32
from ..rng import normal
from ..spec import ObjectiveSpec, Tagged
from .base import (
    Draws,
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

STEP = 5e-3  # of the finite difference: its error is about STEP² + rounding/STEP


MEANFLOW = """\
@article{geng2025meanflow,
  title = {Mean Flows for One-step Generative Modeling},
  author = {Geng, Zhengyang and Deng, Mingyang and Bai, Xingjian and Kolter, J. Zico and He, Kaiming},
  journal = {arXiv preprint arXiv:2505.13447},
  year = {2025}
}"""


def average_velocity_steps(
    predict: Predict, z: Tensor, times: Sequence[float], on_step: OnStep | None = None
) -> Tensor:
    """MeanFlow's sampler: ``z_r = z_t − (t − r) u(z_t, r, t)`` along descending times, 1 = noise.

    Source: MeanFlow (Geng et al. 2025).
    """
    for step, (t, r) in enumerate(zip(times[:-1], times[1:], strict=True)):
        z = z - (t - r) * predict(z, t, r)
        if on_step:
            on_step(step, z)
    return z


class MeanFlowSpec(Tagged, ObjectiveSpec):
    """Average velocity between two times.

    Attributes:
        omega, kappa: guidance of the target; the effective scale is ω/(1 − κ). 1 and 0 are none.
        interval: times between which the target is guided.
        equal_share: share of the batch with r = t.
        time_mean, time_std: of the logit-normal times.
        adaptive_power, adaptive_c: p and c of the weight ``1/(ℓ + c)^p``.
        derivative: ``"exact"`` (forward mode) or ``"difference"``, where forward mode can't go.
    """

    kind: Literal["meanflow"] = "meanflow"
    backbone: ClassVar[str] = "MF"
    network: ClassVar[dict[str, Any]] = {"second_time": True}
    omega: float = Field(default=1.0, ge=0)
    kappa: float = Field(default=0.0, ge=0, lt=1)
    interval: tuple[float, float] = (0.0, 1.0)
    equal_share: float = Field(default=0.75, ge=0, le=1)
    time_mean: float = -0.4
    time_std: float = Field(default=1.0, gt=0)
    adaptive_power: float = Field(default=1.0, ge=0)
    adaptive_c: float = Field(default=0.01, gt=0)
    derivative: Literal["exact", "difference"] = "exact"

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 <= self.interval[0] <= self.interval[1] <= 1:
            raise ValueError(f"interval = {self.interval}: expected 0 ≤ start ≤ end ≤ 1")
        return self


@objective
class MeanFlow(Objective):
    """The MeanFlow objective.

    Args:
        spec: guidance, times and weighting.
        num_classes: index of the null class.
        label_drop: probability in [0, 1] that a label is replaced by the null class.
    """

    Spec = MeanFlowSpec
    solvers = {"meanflow": 1, "heun": 25, "euler": 50, "dopri5": 1}
    steps = {"meanflow": Steps(lambda n: uniform_times(n, 1.0, 0.0), average_velocity_steps)}
    cites = {"geng2025meanflow": MEANFLOW}
    cost = 1.9  # a forward-mode derivative and a guided target on top of forward and backward
    spec: MeanFlowSpec

    def __init__(self, spec: MeanFlowSpec, num_classes: int, *, label_drop: float = 0.1):
        super().__init__(spec, num_classes, label_drop=label_drop)

    def apart(self, n: int) -> Tensor:
        """Rows of a batch whose times differ (r < t), evenly spread over it: shape (n,), bool."""
        count = torch.arange(n + 1, dtype=torch.float64) * (1 - self.spec.equal_share)
        steps = (count + 1e-9).floor()
        return steps[1:] > steps[:-1]

    def times(self, n: int, view: str, *key: str | int) -> Times:
        """``sigmoid(N(μ, s²))`` twice; t the larger, r the smaller, and r := t in a fixed share of rows."""
        spec = self.spec
        first, second = (
            torch.sigmoid(spec.time_mean + spec.time_std * normal((n,), f"{view}{name}", *key))
            for name in ("t", "r")
        )
        t = torch.maximum(first, second)
        return t, torch.where(self.apart(n).to(t.device), torch.minimum(first, second), t)

    def near(self, times: Times, shift: Tensor) -> Times:
        """Both times moved by ``shift``, within [0, 1]."""
        t, r = times
        assert r is not None
        return (t + shift).clamp(0, 1), (r + shift).clamp(0, 1)

    def corrupt(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """``z_t = (1 − t) x + t ε``."""
        t = per_sample(t, x)
        return (1 - t) * x + t * eps

    def noise_level(self, t: Tensor) -> Tensor:
        """t itself."""
        return t

    def time_of_noise_level(self, level: Tensor) -> Tensor:
        """The level itself."""
        return level

    def second_time(self, t: Tensor) -> Tensor | None:
        """r = t: the average over no time is the velocity itself."""
        return t

    def losses(self, model: Network, forward: ForwardPass, *, teacher: Network | None = None) -> Losses:
        """``ℓ / sg(ℓ + c)^p`` with ``ℓ = Σ_chw (u − target)²``, ``target = sg(v_g − (t − r) du/dt)``.

        Args:
            model: the bare network, called without gradient for guidance and derivative: neither inside
                DistributedDataParallel nor compiled.
            forward: the pass that carries gradients.

        Raises:
            ConfigError: the prediction has another shape than x.
        """
        check_shape("prediction", forward.prediction, forward.x.shape)
        error = forward.prediction.float() - self.target(model, forward)
        squared = error.square().flatten(1).sum(dim=1)
        weight = (squared.detach() + self.spec.adaptive_c) ** self.spec.adaptive_power
        return Losses(squared / weight, {"squared_error": squared / forward.x[0].numel()})

    @torch.no_grad()
    def target(self, model: Network, forward: ForwardPass) -> Tensor:
        """``v_g − (t − r) du/dt``, shape (b, c, h, w), float32; where r = t no derivative is computed."""
        target, draws = self.guided_velocity(model, forward), forward.draws
        assert draws.r is not None
        rows = self.rows_apart(draws)
        if len(rows):
            z, y, t, r, v = forward.x_t[rows], forward.y[rows], draws.t[rows], draws.r[rows], target[rows]
            target[rows] = v - per_sample(t - r, v) * self.derivative(model, z, t, r, y, v)
        return target

    def rows_apart(self, draws: Draws) -> Tensor:
        """Indices of the rows that need a derivative, those with r < t."""
        assert draws.r is not None
        return (draws.t != draws.r).nonzero().flatten()

    @torch.no_grad()
    def guided_velocity(self, model: Network, forward: ForwardPass) -> Tensor:
        """``v_g = ω v + (1 − ω − κ) u(z, t, t | ∅) + κ u(z, t, t | y)``, float32.

        Samples with a dropped label, and those outside the interval, keep ``v = ε − x``. ω = 1 and κ = 0
        is no guidance. At most one network call, on the rows that need it: where r = t, u(z, t, t | y) is
        the prediction of the pass that carries gradients.
        """
        omega, kappa, draws = self.spec.omega, self.spec.kappa, forward.draws
        v = (draws.eps - forward.x).float()
        if omega == 1 and kappa == 0:
            return v
        low, high = self.spec.interval
        guided = ~draws.dropped & (draws.t >= low) & (draws.t <= high)
        none = torch.zeros_like(guided)
        unlabelled = guided if 1 - omega - kappa != 0 else none
        labelled = guided & (draws.t != draws.r) if kappa != 0 else none
        # Rows of both calls in one: first those without label, then those with.
        rows = torch.cat([unlabelled.nonzero(), labelled.nonzero()]).flatten()
        null, count = torch.full_like(forward.labels, self.num_classes), int(unlabelled.sum())
        with_null, with_label = torch.zeros_like(v), forward.prediction.detach().float()
        if len(rows):
            y = torch.cat([null[rows[:count]], forward.labels[rows[count:]]])
            u = model(forward.x_t[rows], draws.t[rows], y, r=draws.t[rows]).float()
            with_null[rows[:count]] = u[:count]
            with_label = with_label.index_copy(0, rows[count:], u[count:])
        mixed = omega * v + (1 - omega - kappa) * with_null + kappa * with_label
        return torch.where(per_sample(guided, v), mixed, v)

    def derivative(self, model: Network, z: Tensor, t: Tensor, r: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """``du/dt`` along (v, 1, 0) in (z, t, r): exact in forward mode, or a central difference."""

        def u(z: Tensor, t: Tensor) -> Tensor:
            return at_least_float32(model(z, t, y, r=r))

        v = v.to(z.dtype)
        if self.spec.derivative == "difference":
            return (u(z + STEP * v, t + STEP) - u(z - STEP * v, t - STEP)) / (2 * STEP)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no forward-mode derivative
            return torch.func.jvp(u, (z, t), (v, torch.ones_like(t)))[1]

    def network_time(self, t: float) -> float:
        """``1 − t``: from data to noise."""
        return 1 - t

    def velocity_field(self, predict: Predict) -> Velocity:
        """u(z, t, t) is the velocity at t, from data to noise."""
        return lambda x, t: -predict(x, 1 - t, 1 - t)

    def predicted_end(self, predict: Predict, x: Tensor, t: float) -> Tensor:
        """The one step to the data, ``z − t u(z, 0, t)``."""
        return x - t * predict(x, t, 0.0)

    def measured(self) -> "MeanFlow":
        """Without guidance: a guided target would hold the network's own prediction."""
        plain = self.spec.model_copy(update={"omega": 1.0, "kappa": 0.0})
        return MeanFlow(plain, self.num_classes, label_drop=self.label_drop)

    @classmethod
    def cited(cls, spec: MeanFlowSpec) -> list[str]:
        """With guidance, its source too."""
        return [*cls.cites, *([] if math.isclose(spec.omega, 1 - spec.kappa) else ["ho2022guidance"])]
