"""The four losses in float64 on explicit differences z_i − z_j, so that autograd gives gradients.

No Gram matrix, no shift, no rescaling: it is the (b, b, d) form, for small sizes only. Constant
dimensions are left out of the covariance, as in the loops; rows of zeros are not handled.
"""

import math

import torch
from torch import Tensor


def loss(
    variant: str,
    z: Tensor,
    *,
    tau: float = 0.5,
    eps: float = 1.0,
    diagonal: str = "keep",
    scale: str = "dim",
) -> Tensor:
    """The value of one variant for z of shape (b, d), float64."""
    b, d = z.shape
    if variant == "covariance":
        return _covariance(z, diagonal, scale)
    if variant == "infonce-cosine":
        unit = z / z.norm(dim=1, keepdim=True)
        distance = -(unit[:, None] * unit[None, :]).sum(dim=2)
    else:
        distance = (z[:, None] - z[None, :]).square().sum(dim=2) / (d if scale == "dim" else 1)
    pairs = torch.ones(b, b, dtype=torch.bool)
    if diagonal == "mask":
        pairs.fill_diagonal_(False)
    kept = distance[pairs]
    if variant == "hinge":
        return (eps - kept).clamp_min(0).square().mean()
    return torch.logsumexp(-kept / tau, dim=0) - math.log(kept.numel())


def value_and_gradient(variant: str, z: Tensor, **options: float | str) -> tuple[Tensor, Tensor]:
    """Loss and gradient, float64, of features of any float dtype."""
    leaf = z.detach().double().requires_grad_()
    value = loss(variant, leaf, **options)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def _covariance(z: Tensor, diagonal: str, scale: str) -> Tensor:
    b, d = z.shape
    alive = (z != z[:1]).any(dim=0)
    if alive.sum() < (1 if diagonal == "keep" else 2):
        return 0 * z.sum() + (1 if scale == "dim" else d * d - (0 if diagonal == "keep" else d))
    z = z[:, alive]
    centred = z - z.mean(dim=0)
    standard = centred / centred.square().mean(dim=0).sqrt()
    squares = (standard.T @ standard / b).square()
    if diagonal == "mask":
        squares = squares[~torch.eye(len(squares), dtype=torch.bool)]
    all_entries = d * d if diagonal == "keep" else d * d - d
    return squares.mean() * (1 if scale == "dim" else all_entries)
