"""torch.func: gradients and batches of the pure losses are those of autograd and of a loop."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacrev, vmap

from disperse.losses import contrastive_infonce_l2, squared_distances

from .cases import NAMES, features, function


def by_autograd(loss: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad(loss(z), z)[0]


@pytest.mark.parametrize("name", NAMES)
def test_grad(name: str) -> None:
    loss, z = function(name), features(5, 4)
    assert grad(loss)(z).equal(by_autograd(loss, z))


@pytest.mark.parametrize("name", NAMES)
def test_vmap_over_batches(name: str) -> None:
    loss, batches = function(name), torch.stack([features(5, 4) + i for i in range(3)])
    torch.testing.assert_close(vmap(loss)(batches), torch.stack([loss(z) for z in batches]))
    expected = torch.stack([by_autograd(loss, z) for z in batches])
    torch.testing.assert_close(vmap(grad(loss))(batches), expected)


def test_vmap_along_another_axis() -> None:
    batches = torch.randn(5, 3, 4, dtype=torch.float64)
    loop = torch.stack([squared_distances(batches[:, i]) for i in range(3)])
    torch.testing.assert_close(vmap(squared_distances, in_dims=1)(batches), loop)


@pytest.mark.parametrize("name", NAMES)
def test_second_derivatives(name: str) -> None:
    loss, z = function(name), features(4, 3)
    expected = torch.autograd.functional.hessian(loss, z)
    torch.testing.assert_close(jacrev(jacrev(loss))(z), expected)
    assert torch.autograd.gradgradcheck(loss, z.clone().requires_grad_())


def test_a_contrastive_loss() -> None:
    first, second = features(5, 4), features(5, 4) + 0.1
    expected = by_autograd(lambda z: contrastive_infonce_l2(z, second), first)
    assert grad(contrastive_infonce_l2)(first, second).equal(expected)
