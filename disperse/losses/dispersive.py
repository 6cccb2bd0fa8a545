"""The four dispersive losses of *Diffuse and Disperse* (Wang & He, arXiv 2506.09027).

Each is a pure function of features ``z`` of shape (b, d), one row per sample, and returns a scalar.
More leading axes are independent groups: (k, g, d) gives k values, one per group of g rows, which is
how one device reproduces k devices with local batches of g (see ``DispersiveLoss``).

Options that all share:

diagonal
    ``"keep"`` averages over all g² pairs (i, j), the g pairs i = j among them, as the released code
    does. It bounds the loss from below: pushing rows apart for ever gains nothing.
    ``"mask"`` averages over i ≠ j only; the ℓ2 loss then has no floor.
scale
    ``"dim"`` divides squared distances by d (and the covariance sum by d²), so that a setting means
    the same at every width; ``"none"`` takes the printed formula literally. ``"rms"`` divides them by the
    mean squared length of the group's rows: the loss of rows that were divided by their common root mean
    square, which does not change when all get longer.
weights
    w ≥ 0 of each row, shape (..., g): means over pairs become ``Σ w_i w_j · / Σ w_i w_j``, means over
    rows ``Σ w_i · / Σ w_i``. w = 1 is the plain loss bit for bit.
share_of
    number of dimensions in all, where ``z`` holds one rank's share of them (see ``exchange``).

With fewer than two rows there are no pairs: the value is 0 with zero gradient, and a
``NoPairsWarning`` says so.
"""

import math
import warnings
from collections.abc import Iterable
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import ConfigError, unknown
from .distances import at_least_float32, cosine_similarities, diagonal_mask, gram, squared_distances
from .exchange import largest, total

Diagonal = Literal["keep", "mask"]
Scale = Literal["dim", "none", "rms"]
DIAGONALS, SCALES = get_args(Diagonal), get_args(Scale)


class NoPairsWarning(UserWarning):
    """A batch or group of one row has no pairs to disperse."""


def infonce_l2(
    z: Tensor,
    *,
    tau: float = 0.5,
    diagonal: Diagonal = "keep",
    scale: Scale = "dim",
    weights: Tensor | None = None,
    share_of: int | None = None,
) -> Tensor:
    """InfoNCE with squared ℓ2 distance: ``log E_{i,j}[exp(−D_ij/τ)]``, ``D_ij = ‖z_i − z_j‖²/d``.

    Args:
        z (Tensor): shape (..., g, d), any float dtype, not normalised.
        tau: temperature τ > 0. The paper uses 0.5, the released code 1.
        diagonal: keep or mask the pairs i = j.
        scale: ``"none"`` leaves out the division by d; ``"rms"`` divides by the mean of ``‖z_i‖²``.

    Returns:
        Tensor: shape (...), in [−log g, 0]; 0 iff all rows coincide. Masked: in (−∞, 0]. With
        ``"rms"``: see ``bounds``.

    Raises:
        ConfigError: z has no rows or fewer than two axes, or an option is out of range.

    Source: paper, table of objectives (InfoNCE) and Algorithm 1; the division by d: released code.
    """
    _check(z, diagonal, scale, weights, tau=tau)
    z = at_least_float32(z)
    if z.shape[-2] < 2:
        return no_pairs(z)
    return _log_mean_exp(-scaled_distances(z, scale, share_of) / tau, diagonal, weights)


def infonce_cosine(
    z: Tensor,
    *,
    tau: float = 0.5,
    diagonal: Diagonal = "keep",
    scale: Scale = "dim",
    weights: Tensor | None = None,
    share_of: int | None = None,
) -> Tensor:
    """InfoNCE with negative cosine: ``log E_{i,j}[exp(−D_ij/τ)]``, ``D_ij = −cos(z_i, z_j)``.

    Args:
        z (Tensor): shape (..., g, d), any float dtype.
        tau: temperature τ > 0.
        diagonal: keep or mask the pairs i = j.
        scale: accepted for uniformity; a cosine has no scale.

    Returns:
        Tensor: shape (...), from ``log[(e^{1/τ} + (g−1) e^{−1/((g−1)τ)})/g]`` to 1/τ.

    Source: paper, table of objectives (InfoNCE, cosine dissimilarity).
    """
    _check(z, diagonal, scale, weights, tau=tau)
    z = at_least_float32(z)
    if z.shape[-2] < 2:
        return no_pairs(z)
    return _log_mean_exp(cosine_similarities(z, share_of) / tau, diagonal, weights)


def hinge(
    z: Tensor,
    *,
    eps: float = 1.0,
    diagonal: Diagonal = "keep",
    scale: Scale = "dim",
    weights: Tensor | None = None,
    share_of: int | None = None,
) -> Tensor:
    """Hinge: ``E_{i,j}[max(0, ε − D_ij)²]``, ``D_ij = ‖z_i − z_j‖²/d``.

    Args:
        z (Tensor): shape (..., g, d), any float dtype.
        eps: margin ε > 0 on the squared distance. Not published; 1 is this library's default.
        diagonal: keep or mask the pairs i = j.
        scale: as of ``infonce_l2``.

    Returns:
        Tensor: shape (...), in [ε²/g, ε²]. Masked: in [0, ε²].

    Source: paper, table of objectives (hinge).
    """
    _check(z, diagonal, scale, weights, eps=eps)
    z = at_least_float32(z)
    if z.shape[-2] < 2:
        return no_pairs(z)
    violation = (eps - scaled_distances(z, scale, share_of)).clamp_min(0).square()
    if diagonal == "mask":
        violation = violation.masked_fill(diagonal_mask(violation), 0.0)
    if weights is not None:
        violation = violation * weights[..., :, None] * weights[..., None, :]
    count = _total_weight(z.shape[-2], diagonal, weights)
    return violation.sum(dim=(-2, -1)) / (count.to(z.dtype) if isinstance(count, Tensor) else count)


def covariance(
    z: Tensor,
    *,
    diagonal: Diagonal = "keep",
    scale: Scale = "dim",
    weights: Tensor | None = None,
    share_of: int | None = None,
) -> Tensor:
    """Covariance: ``Σ_{m,n} Cov_mn²`` of features standardised per dimension, divided by d².

    Standardised (batch mean 0, std 1), the diagonal of Cov is constant; without that the sum would
    reward collapse. ``‖ZᵀZ‖_F = ‖ZZᵀ‖_F``, so the cost is g×g and never d×d. A dimension that is
    constant over the group has no correlation and is left out; with none left the value is the
    ceiling, and the gradient 0.

    Args:
        z (Tensor): shape (..., g, d), any float dtype.
        diagonal: keep or mask the entries m = n of the covariance matrix.
        scale: ``"dim"`` is the mean over the kept entries, ``"none"`` their sum (d² times the mean,
            or d² − d if masked, where constant dimensions are left out). ``"rms"`` is as ``"dim"``:
            standardised features have no length of their own.

    Returns:
        Tensor: shape (...), in [max(1/d, 1/(g−1)), 1] for ``"dim"``, times d² for ``"none"``. Masked:
        see ``bounds``.

    Source: paper, table of objectives (covariance); the division by d² is this library's.
    """
    _check(z, diagonal, scale, weights)
    z = at_least_float32(z)
    if z.shape[-2] < 2:
        return no_pairs(z)
    standardised, alive = standardise(z, weights)
    if weights is not None:
        standardised = standardised * weights.to(z.dtype).sqrt()[..., None]
    products = total(gram(standardised) / _row_weight(z, weights)[..., None], share_of)
    squares = products.square().sum(dim=(-2, -1))
    # Counts of live dimensions; the diagonal of a standardised covariance is their number.
    count = total(alive.sum(dim=(-2, -1)).to(z.dtype), share_of)
    entries = count.square()
    width = share_of or z.shape[-1]
    all_entries = width * width
    if diagonal == "mask":
        squares, entries = (squares - count).clamp_min(0), entries - count
        all_entries -= width
    mean = torch.where(entries > 0, squares / entries.clamp_min(1), torch.ones_like(squares))
    return mean * all_entries if scale == "none" else mean


def standardise(z: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Each dimension to mean 0 and standard deviation 1 over the rows; constant ones become 0.

    Args:
        z (Tensor): shape (..., g, d), float32 or float64.
        weights (Tensor): of the rows in mean and deviation, shape (..., g); None weighs all alike.

    Returns:
        Standardised z, and which dimensions are alive (not constant), shape (..., 1, d), bool.
    """

    def mean(values: Tensor) -> Tensor:
        if weights is None:
            return values.mean(dim=-2, keepdim=True)
        return (values * weights[..., None]).sum(dim=-2, keepdim=True) / _row_weight(z, weights)[..., None]

    centred = z - mean(z)
    # Twice: the rounding of the first mean is small beside the offset, but not beside the spread.
    centred = centred - mean(centred)
    spread = centred.detach().abs().amax(dim=-2, keepdim=True)
    # A dimension whose spread is the rounding of its own mean is constant; NaN is not.
    rounding = 8 * torch.finfo(z.dtype).eps * z.detach().abs().amax(dim=-2, keepdim=True)
    alive = ~(spread <= rounding)
    scaled = torch.where(alive, centred, 0.0) / torch.where(alive, spread, 1.0)
    variance = mean(scaled.square())
    return scaled / torch.where(alive, variance, 1.0).sqrt(), alive


def _row_weight(z: Tensor, weights: Tensor | None) -> Tensor:
    """Σ w over the rows, shape (..., 1); their number without weights."""
    if weights is None:
        return torch.full((1,), float(z.shape[-2]), dtype=z.dtype, device=z.device)
    return weights.to(z.dtype).sum(dim=-1, keepdim=True)


def _total_weight(rows: int, diagonal: Diagonal, weights: Tensor | None) -> Tensor | float:
    """Σ w_i w_j over the pairs that count, shape (...), summed in float64; their number without weights."""
    if weights is None:
        return float(rows * rows if diagonal == "keep" else rows * (rows - 1))
    w = weights.double()
    total = w.sum(dim=-1).square()
    return total if diagonal == "keep" else total - w.square().sum(dim=-1)


def scaled_distances(z: Tensor, scale: Scale, share_of: int | None = None) -> Tensor:
    """``‖z_i − z_j‖²``, divided by d for ``"dim"``, by the mean of ``‖z_i‖²`` for ``"rms"``: (..., g, g)."""
    if scale == "rms":
        # Dividing by the largest entry first: squares of 1e-20 or 1e25 leave the range of float32.
        top = largest(z.detach().abs().amax(dim=(-2, -1), keepdim=True), share_of)
        z = z / torch.where(top > 0, top, 1.0)
        length = total(z.square().sum(dim=-1).mean(dim=-1), share_of)[..., None, None]
        return squared_distances(z, share_of) / torch.where(length > 0, length, 1.0)
    distances = squared_distances(z, share_of)
    return distances / (share_of or z.shape[-1]) if scale == "dim" else distances


def _log_mean_exp(logits: Tensor, diagonal: Diagonal, weights: Tensor | None) -> Tensor:
    if diagonal == "mask":
        logits = logits.masked_fill(diagonal_mask(logits), -math.inf)
    if weights is not None:
        log_weights = weights.to(logits.dtype).log()
        logits = logits + log_weights[..., :, None] + log_weights[..., None, :]
    count = _total_weight(logits.shape[-1], diagonal, weights)
    log_count = count.log().to(logits.dtype) if isinstance(count, Tensor) else math.log(count)
    logits = logits.flatten(-2)
    # The largest is taken out here, though logsumexp does so too: its gradient, exp(logits − result),
    # has no digits left where the result is -1e8.
    top = logits.detach().amax(dim=-1, keepdim=True)
    return (logits - top).logsumexp(dim=-1) - log_count + top.squeeze(-1)


def no_pairs(z: Tensor) -> Tensor:
    """0 with zero gradient for groups of one row, and one warning that says why."""
    warnings.warn(
        f"dispersive loss on features of shape {tuple(z.shape)}: one row has no pairs, so the loss "
        "and its gradient are 0; use a batch (or local_batch) of at least 2",
        NoPairsWarning,
        stacklevel=3,
    )
    return (z * 0).sum(dim=(-2, -1))


def _check(z: Tensor, diagonal: Diagonal, scale: Scale, weights: Tensor | None, **positive: float) -> None:
    check_choice("loss.diagonal", diagonal, DIAGONALS)
    check_choice("loss.scale", scale, SCALES)
    if z.ndim < 2:
        raise ConfigError(f"z: expected features of shape (b, d), got {tuple(z.shape)}")
    if not z.is_floating_point():
        raise ConfigError(f"z: expected a float dtype, got {z.dtype}; convert with z.float()")
    if z.shape[-2] == 0 or z.shape[-1] == 0:
        raise ConfigError(f"z: expected at least one row and one column, got {tuple(z.shape)}")
    if weights is not None and weights.shape != z.shape[:-1]:
        raise ConfigError(
            f"weights: expected one per row, shape {tuple(z.shape[:-1])}, got {tuple(weights.shape)}"
        )
    for name, value in positive.items():
        check_positive(f"loss.{name}", value)


def check_positive(name: str, value: object) -> float:
    """Return ``value`` as a float > 0, or raise ConfigError naming it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{name} = {value!r}: expected a number > 0, got {type(value).__name__}")
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{name} = {value}: must be > 0 and finite")
    return float(value)


def check_choice(name: str, value: object, options: Iterable[str]) -> None:
    """Raise ConfigError naming ``name`` and the nearest option, unless ``value`` is one of them."""
    options = list(options)
    if value not in options:
        raise unknown(name, value, options)
