"""Weights of the samples in the means of pairs."""

import pytest
import torch

from disperse.errors import ConfigError
from disperse.losses import VARIANTS, DispersiveLoss
from disperse.rng import normal, uniform

from ..reference.contrastive_loops import weighted_infonce_l2

FUNCTIONS = [record.dispersive for record in VARIANTS.values()]
DIAGONALS = ["keep", "mask"]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("diagonal", DIAGONALS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(16, 40), (2, 128, 64), (4, 33, 7), (256, 30)])
def test_weights_of_one_are_the_plain_loss_bit_for_bit(function, diagonal, dtype, shape) -> None:
    plain, ones = (normal(shape, "w").to(dtype).requires_grad_() for _ in range(2))
    a = function(plain, diagonal=diagonal)
    b = function(ones, diagonal=diagonal, weights=torch.ones(shape[:-1], dtype=dtype))
    assert torch.equal(a, b)
    assert torch.equal(*(torch.autograd.grad(v.sum(), z)[0] for v, z in ((a, plain), (b, ones))))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("diagonal", DIAGONALS)
def test_a_weight_of_two_is_the_row_twice(function, diagonal) -> None:
    """Kept, the copies are pairs of each other; masked, w_i² counts no pair of one row, so only w = 1 and 0."""
    z = normal((6, 5), "rows").double()
    weights = torch.tensor([1.0, 2.0, 1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    if diagonal == "mask":
        weights[1] = 1
    rows = torch.repeat_interleave(torch.arange(6), weights.long())
    torch.testing.assert_close(
        function(z, diagonal=diagonal, weights=weights), function(z[rows], diagonal=diagonal)
    )


@pytest.mark.parametrize("diagonal", DIAGONALS)
def test_the_weighted_l2_loss_equals_a_loop(diagonal: str) -> None:
    z, w = normal((6, 5), "z").double(), uniform((6,), "w").double()
    expected = weighted_infonce_l2(z.numpy(), w.tolist(), tau=0.3, diagonal=diagonal)
    assert VARIANTS["infonce-l2"].dispersive(
        z, tau=0.3, diagonal=diagonal, weights=w
    ).item() == pytest.approx(expected)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_gradients_under_weights(function) -> None:
    w = uniform((5,), "w").double() + 0.1
    assert torch.autograd.gradcheck(
        lambda z: function(z, weights=w), normal((5, 3), "z").double().requires_grad_()
    )


def test_the_scale_of_weights_does_not_matter_and_groups_take_their_own() -> None:
    z, w = normal((8, 5), "z").double(), uniform((8,), "w").double()
    loss = DispersiveLoss(local_batch=4)
    torch.testing.assert_close(loss(z, w), loss(z, 10 * w))
    torch.testing.assert_close(
        loss(z, w), (DispersiveLoss()(z[:4], w[:4]) + DispersiveLoss()(z[4:], w[4:])) / 2
    )
    for bad in (w[:4], w[:, None]):
        with pytest.raises(ConfigError, match=r"weights: expected one per sample, \(8,\)"):
            loss(z, bad)
