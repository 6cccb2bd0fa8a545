"""MeanFlow: the average velocity u between two times, so that one step goes from noise to data.

``z_t = (1 − t) x + t ε`` with t = 0 data and t = 1 noise, ``v = ε − x``; the network learns
``u(z_t, r, t) = v − (t − r) du/dt``, the total derivative taken along the path.

Source: MeanFlow (Geng et al. 2025) and its authors' code.
"""

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..losses.distances import at_least_float32
from ..rng import normal
from ..spec import MeanFlowSpec
from .base import ForwardPass, Losses, Network, Objective, Times, check_shape, per_sample

STEP = 5e-3  # of the finite difference: its error is about STEP² + rounding/STEP


class MeanFlow(Objective):
    """The MeanFlow objective.

    Args:
        spec: guidance, times and weighting.
        num_classes: index of the null class.
        label_drop: probability in [0, 1] that a label is replaced by the null class.
    """

    def __init__(self, spec: MeanFlowSpec, num_classes: int, *, label_drop: float = 0.1):
        super().__init__(num_classes, label_drop=label_drop)
        self.spec = spec

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
        return t, torch.where(self.apart(n), torch.minimum(first, second), t)

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

    def losses(self, model: Network, forward: ForwardPass) -> Losses:
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
        target = self.guided_velocity(model, forward)
        rows = self.apart(len(target)).nonzero().flatten().to(target.device)
        if len(rows):
            z, y, t, v = forward.x_t[rows], forward.y[rows], forward.draws.t[rows], target[rows]
            assert forward.draws.r is not None
            r = forward.draws.r[rows]
            slope = self.derivative(model, z, t, r, y, v)
            target[rows] = v - per_sample(t - r, v) * slope
        return target

    @torch.no_grad()
    def guided_velocity(self, model: Network, forward: ForwardPass) -> Tensor:
        """``v_g = ω v + (1 − ω − κ) u(z, t, t | ∅) + κ u(z, t, t | y)``, float32.

        Samples with a dropped label, and those outside the interval, keep ``v = ε − x``. ω = 1 and κ = 0
        is no guidance and calls no network.
        """
        omega, kappa = self.spec.omega, self.spec.kappa
        z, t = forward.x_t, forward.draws.t
        v = (forward.draws.eps - forward.x).float()
        if omega == 1 and kappa == 0:
            return v
        guided = omega * v
        null = torch.full_like(forward.labels, self.num_classes)
        for weight, labels in ((1 - omega - kappa, null), (kappa, forward.labels)):
            if weight != 0:
                guided = guided + weight * model(z, t, labels, r=t).float()
        low, high = self.spec.interval
        keep = forward.draws.dropped | (t < low) | (t > high)
        return torch.where(per_sample(keep, v), v, guided)

    def derivative(self, model: Network, z: Tensor, t: Tensor, r: Tensor, y: Tensor, v: Tensor) -> Tensor:
        """``du/dt`` along (v, 1, 0) in (z, t, r): exact in forward mode, or a central difference."""

        def u(z: Tensor, t: Tensor) -> Tensor:
            return at_least_float32(model(z, t, y, r=r))

        v = v.to(z.dtype)
        if self.spec.derivative == "difference":
            return (u(z + STEP * v, t + STEP) - u(z - STEP * v, t - STEP)) / (2 * STEP)
        with sdpa_kernel(SDPBackend.MATH):  # the fused kernels have no forward-mode derivative
            return torch.func.jvp(u, (z, t), (v, torch.ones_like(t)))[1]
