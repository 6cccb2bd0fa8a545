"""Distances divided by the mean squared length of the rows: the loss of features of rms 1."""

import math

import pytest
import torch
from torch import Tensor

from disperse.errors import ConfigError
from disperse.losses import ContrastiveLoss, DispersiveLoss, alignment, bounds, hinge, infonce_l2
from disperse.rng import normal

FUNCTIONS = {"infonce-l2": infonce_l2, "hinge": hinge}


def rows(*shape: int) -> Tensor:
    return normal(shape, "rms").double() + 0.3


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("diagonal", ["keep", "mask"])
def test_it_is_the_loss_of_rows_divided_by_their_common_rms(name: str, diagonal: str) -> None:
    z, function = rows(3, 6, 20), FUNCTIONS[name]
    unit = z / z.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    expected = function(unit, diagonal=diagonal)
    torch.testing.assert_close(function(z, scale="rms", diagonal=diagonal), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_length_alone_gains_nothing(name: str) -> None:
    z = rows(6, 20).requires_grad_()
    function = FUNCTIONS[name]
    value = function(z, scale="rms")
    (grad,) = torch.autograd.grad(value, z)
    assert grad.abs().max() > 1e-4
    assert abs((grad * z).sum().item()) < 1e-12  # along the rows themselves
    for factor in (1e-18, 1e3, 1e18):
        small = function((factor * z).float(), scale="rms")
        assert small.item() == pytest.approx(value.item(), rel=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("diagonal", ["keep", "mask"])
def test_bounds_are_met_by_a_simplex_and_by_rows_that_coincide(name: str, diagonal: str) -> None:
    g, function = 5, FUNCTIONS[name]
    limits = bounds(name, g, g, tau=0.7, eps=3.0, diagonal=diagonal, scale="rms")
    own = {"tau": 0.7} if name == "infonce-l2" else {"eps": 3.0}
    simplex = torch.eye(g, dtype=torch.float64) - 1 / g
    same = torch.ones(g, 4, dtype=torch.float64)
    at = {
        k: function(z, scale="rms", diagonal=diagonal, **own).item()
        for k, z in (("low", simplex), ("high", same))
    }
    assert (at["low"], at["high"]) == pytest.approx((limits.floor, limits.ceiling), abs=1e-12)
    for seed in range(20):
        z = normal((g, 3), "rms bounds", seed).double()
        value = function(z, scale="rms", diagonal=diagonal, **own).item()
        assert limits.floor - 1e-12 <= value <= limits.ceiling + 1e-12


def test_rows_of_zeros_and_a_report() -> None:
    zeros = torch.zeros(4, 3, requires_grad=True)
    value = infonce_l2(zeros, scale="rms")
    (grad,) = torch.autograd.grad(value, zeros)
    assert value.item() == 0
    assert grad.eq(0).all()
    report = DispersiveLoss("infonce-l2", scale="rms").report(torch.eye(4))
    assert 0 <= report.saturation <= 1
    assert math.isfinite(report.floor)


def test_two_views_have_no_one_length() -> None:
    z = rows(4, 3)
    with pytest.raises(ConfigError, match="scale"):
        ContrastiveLoss("infonce-l2", scale="rms")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="scale"):
        alignment(z, z, scale="rms")  # type: ignore[arg-type]
