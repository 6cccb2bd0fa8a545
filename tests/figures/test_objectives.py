"""The pictures of the objectives: what they show is what the losses do."""

import pytest
import torch

from disperse.figures import forces_figure, scales, scales_figure
from disperse.losses import DispersiveLoss
from disperse.rng import normal


def test_heights_fall_and_only_two_losses_ask_for_length() -> None:
    measured = scales(rows=8, width=64)
    for variant in ("infonce-l2", "hinge"):
        entry = measured[variant]
        assert entry["height"] == sorted(entry["height"], reverse=True)
        assert entry["height"][0] > 0.9
        assert entry["height"][-1] == pytest.approx(0, abs=1e-6)
        # The rate is that of the height: −d height / d log std, by differences of the curve itself.
        stds = torch.tensor(entry["std"], dtype=torch.float64).log()
        rate = -torch.gradient(torch.tensor(entry["height"]).double(), spacing=(stds,))[0]
        assert (rate - torch.tensor(entry["pull"]).double()).abs().max() < 0.06
    for variant in ("infonce-cosine", "covariance"):
        assert max(map(abs, measured[variant]["pull"])) < 1e-6
        assert max(measured[variant]["height"]) - min(measured[variant]["height"]) < 1e-6
    assert len(scales_figure(measured).axes) == 2


def test_arrows_are_the_negative_gradient() -> None:
    first = normal((5, 2), "points")
    figure = forces_figure(first, first + 0.1)
    arrows = next(c for c in figure.axes[0].collections if hasattr(c, "U"))
    shown = torch.stack([torch.as_tensor(arrows.U), torch.as_tensor(arrows.V)], dim=1)
    leaf = first.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(DispersiveLoss("infonce-l2")(leaf), leaf)
    unit = -gradient / gradient.norm(dim=1).max()
    torch.testing.assert_close(shown / shown.norm(dim=1).max(), unit, rtol=1e-4, atol=1e-6)
