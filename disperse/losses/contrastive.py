"""The contrastive parents of the dispersive losses: two views, whose rows i are a positive pair.

Each is a pure function of ``first`` and ``second``, both (..., g, d), one row per sample and view, and
returns a value per group, shape (...). A row is drawn to its own second view and pushed from the
*candidates*:

candidates
    ``"second"``: the rows of the second view, the positive j = i among them; ``"own"``: the rows of the
    first view. The paper prints D(z_i, z_j) and leaves this open.
diagonal
    the pairs j = i among the candidates: ``"keep"`` or ``"mask"``. Kept by default in InfoNCE, where the
    positive stands in the denominator; masked in the hinge, which would push the positive pair apart.
scale, share_of
    as in ``dispersive``; there is no ``"rms"``.

Source: paper, table of objectives, contrastive column.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from ..errors import ConfigError
from .dispersive import Diagonal, check_choice, check_positive, no_pairs, scaled_distances, standardise
from .distances import at_least_float32, cosine_similarities, diagonal_mask, gram
from .exchange import total

Candidates = Literal["second", "own"]
CANDIDATES = ("second", "own")
Distance = Literal["l2", "cosine"]
DISTANCES = ("l2", "cosine")
ViewScale = Literal["dim", "none"]  # two views have no one length to divide by
VIEW_SCALES = ("dim", "none")


def alignment(
    first: Tensor, second: Tensor, *, tau: float = 0.5, distance: Distance = "l2", scale: ViewScale = "dim"
) -> Tensor:
    """``E_i[D(z_i, z_i⁺)]/τ``: the attraction of the InfoNCE losses, without the repulsion.

    ``α`` times it and a dispersive InfoNCE loss together go from a contrastive loss (α = 1) to the
    dispersive one (α = 0).

    Args:
        first, second (Tensor): two views, shape (..., g, d), any float dtype.
        tau: temperature τ > 0.
        distance: ``"l2"`` is ``‖z − z'‖²/d``, ``"cosine"`` is ``−cos``.
        scale: ``"none"`` leaves out the division by d.

    Returns:
        Tensor: shape (...); ≥ 0 for ℓ2, in [−1/τ, 1/τ] for the cosine.

    Raises:
        ConfigError: the views have another shape, or an option is out of range.
    """
    check_choice("loss.distance", distance, DISTANCES)
    check_choice("loss.scale", scale, VIEW_SCALES)
    first, second = _checked(first, second, "second", "keep", tau=tau)
    if distance == "cosine":
        return -torch.nn.functional.cosine_similarity(first, second, dim=-1).mean(dim=-1) / tau
    squared = (first - second).square().sum(dim=-1).mean(dim=-1)
    return (squared / first.shape[-1] if scale == "dim" else squared) / tau


def contrastive_infonce_l2(
    first: Tensor,
    second: Tensor,
    *,
    tau: float = 0.5,
    candidates: Candidates = "second",
    diagonal: Diagonal = "keep",
    scale: ViewScale = "dim",
    share_of: int | None = None,
) -> Tensor:
    """``E_i[D(z_i, z_i⁺)/τ + log Σ_j exp(−D(z_i, z_j)/τ)]`` with ``D = ‖z − z'‖²/d``.

    Args:
        first, second (Tensor): two views, shape (..., g, d), any float dtype.
        tau: temperature τ > 0.

    Returns:
        Tensor: shape (...); ≥ 0 with the positive among the candidates, log g where all rows coincide.

    Raises:
        ConfigError: the views have another shape, or an option is out of range.
    """
    first, second = _checked(first, second, candidates, diagonal, tau=tau)
    if first.shape[-2] < 2:
        return no_pairs(first) + (second * 0).sum(dim=(-2, -1))
    positive, distances = _distances(first, second, candidates, scale, share_of)
    return _infonce(positive, distances, tau, diagonal)


def contrastive_infonce_cosine(
    first: Tensor,
    second: Tensor,
    *,
    tau: float = 0.5,
    candidates: Candidates = "second",
    diagonal: Diagonal = "keep",
    scale: ViewScale = "dim",
    share_of: int | None = None,
) -> Tensor:
    """As ``contrastive_infonce_l2`` with ``D = −cos``; ``scale`` is accepted for uniformity."""
    first, second = _checked(first, second, candidates, diagonal, tau=tau)
    if first.shape[-2] < 2:
        return no_pairs(first) + (second * 0).sum(dim=(-2, -1))
    cosines = cosine_similarities(torch.cat([first, second], dim=-2), share_of)
    across, own = _across(cosines), _own(cosines)
    positive = torch.where(diagonal_mask(across), across, 0.0).sum(dim=-1)
    return _infonce(-positive, -(across if candidates == "second" else own), tau, diagonal)


def contrastive_hinge(
    first: Tensor,
    second: Tensor,
    *,
    eps: float = 1.0,
    candidates: Candidates = "second",
    diagonal: Diagonal = "mask",
    scale: ViewScale = "dim",
    share_of: int | None = None,
) -> Tensor:
    """``E_i[D(z_i, z_i⁺)² + E_j[max(0, ε − D(z_i, z_j))²]]``, ``D = ‖z − z'‖²/d``; E_j over the kept j.

    Args:
        first, second (Tensor): two views, shape (..., g, d), any float dtype.
        eps: margin ε > 0 on the squared distance.

    Returns:
        Tensor: shape (...), ≥ 0; ε² where all rows coincide.
    """
    first, second = _checked(first, second, candidates, diagonal, eps=eps)
    g = first.shape[-2]
    if g < 2:
        return no_pairs(first) + (second * 0).sum(dim=(-2, -1))
    positive, distances = _distances(first, second, candidates, scale, share_of)
    violation = (eps - distances).clamp_min(0).square()
    count = g * g
    if diagonal == "mask":
        violation, count = violation.masked_fill(diagonal_mask(violation), 0.0), g * (g - 1)
    return positive.square().mean(dim=-1) + violation.sum(dim=(-2, -1)) / count


def contrastive_covariance(
    first: Tensor,
    second: Tensor,
    *,
    offdiagonal_weight: float = 1.0,
    scale: ViewScale = "dim",
    share_of: int | None = None,
) -> Tensor:
    """``Σ_m (1 − Cov_mm)² + w Σ_{m≠n} Cov_mn²`` of the cross-covariance of the standardised views.

    ``Cov = Zᵀ Z⁺ / g``; its Frobenius norm is ``Σ_ij (ZZᵀ)_ij (Z⁺Z⁺ᵀ)_ij / g²``, so the cost is g×g. A
    dimension that is constant in either view is left out.

    Args:
        first, second (Tensor): two views, shape (..., g, d), any float dtype.
        offdiagonal_weight: w ≥ 0. Not published.
        scale: ``"dim"`` takes the mean over m, and over m ≠ n, instead of the sums.

    Returns:
        Tensor: shape (...), ≥ 0.

    Source: paper, table of objectives (covariance, contrastive); Barlow Twins (Zbontar et al. 2021).
    """
    check_choice("loss.scale", scale, VIEW_SCALES)
    first, second = _checked(first, second, "second", "keep")
    if not (isinstance(offdiagonal_weight, (int, float)) and offdiagonal_weight >= 0):
        raise ConfigError(f"loss.offdiagonal_weight = {offdiagonal_weight!r}: expected a number ≥ 0")
    g = first.shape[-2]
    if g < 2:
        return no_pairs(first) + (second * 0).sum(dim=(-2, -1))
    (z, alive), (z_plus, alive_plus) = standardise(first), standardise(second)
    both = (alive & alive_plus).to(z.dtype)
    z, z_plus = z * both, z_plus * both
    correlations = (z * z_plus).mean(dim=-2)
    invariance = total(((1 - correlations).square() * both.squeeze(-2)).sum(dim=-1), share_of)
    squares = (total(gram(z), share_of) * total(gram(z_plus), share_of)).sum(dim=(-2, -1)) / g**2
    redundancy = (squares - total(correlations.square().sum(dim=-1), share_of)).clamp_min(0)
    if scale == "dim":
        count = total(both.sum(dim=(-2, -1)), share_of)
        invariance = invariance / count.clamp_min(1)
        redundancy = redundancy / (count * (count - 1)).clamp_min(1)
    return invariance + offdiagonal_weight * redundancy


def _infonce(positive: Tensor, distances: Tensor, tau: float, diagonal: Diagonal) -> Tensor:
    # One sum of differences: D⁺ and the log-sum are close to each other where the loss is small.
    logits = (positive[..., :, None] - distances) / tau
    if diagonal == "mask":
        logits = logits.masked_fill(diagonal_mask(logits), -math.inf)
    return logits.logsumexp(dim=-1).mean(dim=-1)


def _distances(
    first: Tensor, second: Tensor, candidates: Candidates, scale: ViewScale, share_of: int | None
) -> tuple[Tensor, Tensor]:
    """D(z_i, z_i⁺), shape (..., g), and the distances of each row to its candidates, (..., g, g).

    The former from the differences themselves, since they are small; the latter, across views, by way of
    all 2g rows, since the shift that saves their digits is then common to both.
    """
    check_choice("loss.scale", scale, VIEW_SCALES)
    squared = total((first - second).square().sum(dim=-1), share_of)
    positive = squared / (share_of or first.shape[-1]) if scale == "dim" else squared
    if candidates == "own":
        return positive, scaled_distances(first, scale, share_of)
    across = _across(scaled_distances(torch.cat([first, second], dim=-2), scale, share_of))
    return positive, torch.where(diagonal_mask(across), positive[..., None], across)


def _across(matrix: Tensor) -> Tensor:
    g = matrix.shape[-1] // 2
    return matrix[..., :g, g:]


def _own(matrix: Tensor) -> Tensor:
    g = matrix.shape[-1] // 2
    return matrix[..., :g, :g]


def _checked(
    first: Tensor, second: Tensor, candidates: str, diagonal: str, **positive: float
) -> tuple[Tensor, Tensor]:
    check_choice("loss.candidates", candidates, CANDIDATES)
    check_choice("loss.diagonal", diagonal, ("keep", "mask"))
    for name, value in positive.items():
        check_positive(f"loss.{name}", value)
    if first.shape != second.shape or first.ndim < 2 or 0 in first.shape:
        raise ConfigError(
            f"views: expected two of one shape (b, d), got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if not (first.is_floating_point() and second.is_floating_point()):
        raise ConfigError(f"views: expected float dtypes, got {first.dtype} and {second.dtype}")
    return at_least_float32(first), at_least_float32(second)
