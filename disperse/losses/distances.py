"""Pairwise products and distances of the rows of a feature matrix, without a (b, b, d) tensor.

All functions take ``(..., g, d)``: g rows that see each other; leading axes are independent groups.
Half-precision input is computed in float32, float64 stays float64.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .exchange import largest as largest_of_all
from .exchange import total


@contextlib.contextmanager
def _full_precision(device_type: str) -> Iterator[None]:
    """Neither autocast nor TF32: distances are differences of large numbers."""
    with torch.autocast(device_type=device_type, enabled=False):
        if device_type != "cuda":
            yield
            return
        matmul = torch.backends.cuda.matmul
        if hasattr(matmul, "fp32_precision"):
            # From 2.9 on, the older getter raises for whoever has set this attribute.
            allowed, matmul.fp32_precision = matmul.fp32_precision, "ieee"
            try:
                yield
            finally:
                matmul.fp32_precision = allowed
            return
        legacy = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(legacy)


class _Gram(torch.autograd.Function):
    """``(z − c)(z − c)ᵀ`` for a constant shift c; the backward pass is one product."""

    generate_vmap_rule = True  # with a setup_context of its own: what torch.func asks of a function

    @staticmethod
    def forward(z: Tensor, shift: Tensor | None) -> Tensor:
        with _full_precision(z.device.type):
            shifted = z if shift is None else z - shift
            return shifted @ shifted.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor | None], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (grad,) = grads
        z, shift = ctx.saved_tensors
        with _full_precision(z.device.type):
            shifted = z if shift is None else z - shift
            return (grad + grad.mT) @ shifted, None


def at_least_float32(z: Tensor) -> Tensor:
    """Half precision becomes float32; float32 and float64 stay as they are."""
    return z.float() if z.dtype in (torch.float16, torch.bfloat16) else z


def gram(z: Tensor) -> Tensor:
    """``G_ij = z_i · z_j``.

    Args:
        z (Tensor): shape (..., g, d), float32 or float64.

    Returns:
        Tensor: shape (..., g, g), symmetric.
    """
    return _Gram.apply(z, None)


def central_row(z: Tensor) -> Tensor:
    """The row nearest to the mean, without gradient, shape (..., 1, d).

    Distances don't change under a common shift, but their rounding does: the closer the rows lie to
    the origin, the fewer digits cancel. A row is a better origin than the mean itself, which one
    outlier pulls away from all the others.
    """
    z = z.detach()
    nearest = (z - z.mean(dim=-2, keepdim=True)).square().sum(dim=-1).argmin(dim=-1)
    index = nearest[..., None, None].expand(*z.shape[:-2], 1, z.shape[-1])
    return z.gather(-2, index)


def squared_distances(z: Tensor, share_of: int | None = None) -> Tensor:
    """``D_ij = ‖z_i − z_j‖²`` by ``G_ii + G_jj − 2 G_ij`` of the shifted rows.

    Args:
        z (Tensor): shape (..., g, d), float32 or float64.
        share_of: see ``exchange``.

    Returns:
        Tensor: shape (..., g, g), ≥ 0, the diagonal exactly 0 and without gradient.
    """
    products = _Gram.apply(z, central_row(z))
    diagonal = diagonal_mask(products)
    # Not products.diagonal(): compiled, its backward pass can silently give wrong gradients.
    norms = torch.where(diagonal, products, 0.0).sum(dim=-1)
    distances = (norms[..., :, None] + norms[..., None, :] - 2 * products).clamp_min(0)
    return total(distances, share_of).masked_fill(diagonal, 0.0)


def cosine_similarities(z: Tensor, share_of: int | None = None) -> Tensor:
    """``cos_ij = z_i · z_j / (‖z_i‖ ‖z_j‖)``; a row of zeros counts as one more direction.

    Its cosine is 0 with every other row and 1 with another row of zeros: equal rows are equal, and
    the bounds of the loss hold for any input.

    Computed as ``(‖u_i‖² + ‖u_j‖² − ‖u_i − u_j‖²) / 2`` of the unit rows u, which keeps its digits
    where rows are almost parallel and makes the diagonal exact.

    Args:
        z (Tensor): shape (..., g, d), float32 or float64.
        share_of: see ``exchange``.

    Returns:
        Tensor: shape (..., g, g), in [−1, 1] up to rounding.
    """
    # Dividing by the largest entry first: squares of 1e-20 or 1e25 leave the range of float32.
    largest = largest_of_all(z.detach().abs().amax(dim=-1, keepdim=True), share_of)
    alive = largest != 0
    scaled = z / torch.where(alive, largest, 1.0)
    norms = torch.where(alive, total(scaled.square().sum(dim=-1, keepdim=True), share_of), 1.0).sqrt()
    length = alive.to(z.dtype)
    cosines = (length + length.mT - squared_distances(scaled / norms, share_of)) / 2
    return cosines.masked_fill(~(alive | alive.mT), 1.0)


def diagonal_mask(matrix: Tensor) -> Tensor:
    """True on the diagonal of the last two axes, shape (g, g)."""
    return torch.eye(matrix.shape[-1], dtype=torch.bool, device=matrix.device)
