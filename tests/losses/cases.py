"""What the tests of the losses share: the variants, their options, random features."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from disperse.losses import VARIANTS

NAMES = tuple(VARIANTS)
DIAGONALS, SCALES = ("keep", "mask"), ("dim", "none")
Options = dict[str, float | str]

# Values of each variant's own option.
OWN: dict[str, list[Options]] = {
    "infonce-l2": [{"tau": 0.5}, {"tau": 1.0}, {"tau": 0.07}],
    "infonce-cosine": [{"tau": 0.5}, {"tau": 2.0}],
    "hinge": [{"eps": 1.0}, {"eps": 5.0}],
    "covariance": [{}],
}


def every_option() -> list[object]:
    """``(variant, options)`` for each variant, diagonal, scale and own option."""
    return [
        pytest.param(name, {**own, "diagonal": diagonal, "scale": scale}, id=_id(name, own, diagonal, scale))
        for name in NAMES
        for own, diagonal, scale in itertools.product(OWN[name], DIAGONALS, SCALES)
    ]


def function(name: str) -> Callable[..., Tensor]:
    """The pure function of a variant."""
    return VARIANTS[name].dispersive


def features(*shape: int, seed: int = 0, std: float = 0.6) -> Tensor:
    """Gaussian features, float64, the same for a seed."""
    generator = torch.Generator().manual_seed(seed)
    return std * torch.randn(*shape, generator=generator, dtype=torch.float64)


def value_and_gradient(name: str, z: Tensor, **options: float | str) -> tuple[Tensor, Tensor]:
    """Value and gradient of our loss, in the dtypes that they come in."""
    leaf = z.detach().clone().requires_grad_()
    value = function(name)(leaf, **options)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def _id(name: str, own: Options, diagonal: str, scale: str) -> str:
    return "-".join([name, *(f"{key}{value}" for key, value in own.items()), diagonal, scale])
