"""How features lie: lengths, distances, angles and directions, each with how it misleads.

Every function takes features (b, ...), b ≥ 2, reads them as (b, d) in float64 and raises what ``rows_of``
does. Everything here is of the batch at hand, so numbers compare only at the same b and on the same images.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import ConfigError, NonFiniteError
from ..losses import DispersiveLoss
from ..losses.distances import cosine_similarities, squared_distances
from ..losses.groups import check_tensor

LARGEST = 1e30  # of all entries: CKA multiplies eight of them, and float64 ends at 1e308


@dataclass(frozen=True)
class Geometry:
    """What ``geometry`` measures; each attribute is the function of its name, which says how it misleads.

    Attributes:
        rms: root mean square of the entries, ≥ 0; ``‖z‖/√d`` of a typical row.
        squared_distance: ``E_{i≠j} ‖z_i − z_j‖²/d``, what the ℓ2 losses see.
        relative_distance: that over the mean of ``‖z‖²/d``.
        uniformity: in [−4b/(b − 1), 0], lower is more uniform.
        mean_cosine: of raw rows, in [−1, 1].
        effective_rank, participation_ratio: number of directions.
        alive: share of a loss's weight on pairs i ≠ j of its groups, in [0, 1].
    """

    rms: float
    squared_distance: float
    relative_distance: float
    uniformity: float
    mean_cosine: float
    effective_rank: float
    participation_ratio: float
    alive: float


def geometry(z: Tensor, loss: DispersiveLoss | None = None) -> Geometry:
    """Every measure of features (b, ...), b ≥ 2; each misleads as the function of its name says.

    Args:
        z (Tensor): (b, ...), any float dtype.
        loss: as of ``alive``, in groups of its ``local_batch``; InfoNCE ℓ2 with τ = 0.5 and all rows in one
            group by default.

    Raises:
        ConfigError: as ``rows_of``; or fewer rows than a group has.
        NonFiniteError: NaN or infinity.
    """
    rows = rows_of(z)
    return Geometry(
        rms=rms(rows),
        squared_distance=squared_distance(rows),
        relative_distance=relative_distance(rows),
        uniformity=uniformity(rows),
        mean_cosine=mean_cosine(rows),
        effective_rank=effective_rank(rows),
        participation_ratio=participation_ratio(rows),
        alive=alive(z, loss),
    )


def rows_of(z: Tensor) -> Tensor:
    """Features (b, ...) as (b, d), float64 on the CPU, since MPS has none.

    Raises:
        ConfigError: no tensor, fewer than two rows or one column, or an entry beyond ±``LARGEST``.
        NonFiniteError: NaN or infinity.
    """
    return _checked(z).flatten(1)


def _checked(z: Tensor) -> Tensor:
    """Features (b, ...) in float64 on the CPU; raises what ``rows_of`` does."""
    check_tensor("features", z)
    if z.ndim < 2 or len(z) < 2 or z.numel() == 0:
        cure = "; of one number per row pass features[:, None]" if z.ndim == 1 else ""
        raise ConfigError(
            f"features: expected at least two rows of at least one number, got shape {tuple(z.shape)}{cure}"
        )
    z = z.detach().cpu().double()
    largest = z.abs().max().item()  # NaN if there is one
    if not math.isfinite(largest):
        raise NonFiniteError("features hold NaN or infinity; their geometry is undefined")
    if largest > LARGEST:
        raise ConfigError(
            f"features: expected entries up to {LARGEST:g}, whose products float64 holds, got {largest:.2g}; "
            "divide them by a constant"
        )
    return z


def rms(z: Tensor) -> float:
    """Root mean square of the entries, ≥ 0; ``‖z‖/√d`` of a typical row.

    How it misleads: a later block that normalises its input doesn't see it; and an offset that all rows share
    is part of every length.
    """
    return rows_of(z).square().mean().sqrt().item()


def squared_distance(z: Tensor) -> float:
    """``E_{i≠j} ‖z_i − z_j‖²/d`` ≥ 0: twice the variance, averaged over dimensions.

    How it misleads: longer features are farther apart. A network that multiplies all features by ten has
    dispersed nothing, and this grows a hundredfold.
    """
    z = rows_of(z)
    b, d = z.shape
    return (squared_distances(z).sum() / (b * (b - 1) * d)).item()


def relative_distance(z: Tensor) -> float:
    """``E_{i≠j} ‖z_i − z_j‖² / E_i ‖z_i‖²``, from 0 (all alike) to 2b/(b − 1) (their mean is 0).

    How it misleads: an offset that all rows share lowers it, though later layers may not look at it; and it
    is at its highest wherever the mean is 0, on a single line as well as in all directions.
    """
    z = rows_of(z)
    norm = z.square().mean().item()
    return squared_distance(z) / norm if norm else 0.0


def uniformity(z: Tensor, *, t: float = 2.0) -> float:
    """``log E_{i≠j} exp(−t ‖u_i − u_j‖²)`` of the directions ``u = z/‖z‖``; lower is better.

    From −2t b/(b − 1), the corners of a regular simplex (−4t for two opposite rows), to 0. Points spread
    evenly over a sphere of many dimensions have −2t.

    How it misleads: a shared offset makes all directions alike, and then it says that nothing is spread;
    centre the features if that isn't meant. In many dimensions random features are near −2t already.

    Source: Wang & Isola 2020.
    """
    squares = 2 - 2 * cosines(z)
    return (torch.logsumexp(-t * squares, 0) - torch.tensor(float(len(squares))).log()).item()


def mean_cosine(z: Tensor) -> float:
    """Mean over pairs i ≠ j of the raw cosine, from −1/(b − 1) to 1.

    How it misleads: one offset that all rows share brings it near 1, however spread the rest is. And it is
    near 0 for rows and their opposites on a single line as well as for all directions.
    """
    return cosines(z).mean().item()


def cosines(z: Tensor, *, centred: bool = False) -> Tensor:
    """Cosines of all pairs i < j, shape (b(b−1)/2,): for histograms; of features minus their mean if asked.

    How they mislead: raw, they may all be near 1 because of one shared offset. Centred, their mean is about
    −1/(b − 1) whatever the features are; only the width of the histogram says anything.
    """
    return cosines_of_rows(rows_of(z), centred=centred)


def cosines_of_rows(rows: Tensor, *, centred: bool = False) -> Tensor:
    """``cosines`` of rows (b, d) in the precision that they have."""
    found = cosine_similarities(rows - rows.mean(dim=0) if centred else rows)
    above = torch.ones_like(found, dtype=torch.bool).triu(1)
    return found[above]


def spectrum(z: Tensor) -> Tensor:
    """Eigenvalues of the centred Gram matrix, shape (b,), ≥ 0, ascending: variance by direction, times b."""
    z = rows_of(z)
    centred = z - z.mean(dim=0)
    return torch.linalg.eigvalsh(centred @ centred.mT).clamp_min(0)


def effective_rank(z: Tensor) -> float:
    """``exp H(p)``, ``p_k = σ_k/Σσ`` over singular values of centred features.

    From 1 (a line; a point counts as one) to min(b − 1, d).

    How it misleads: it can't exceed b − 1, so at small b it is b that one sees. And it counts directions of
    noise as it counts those of meaning: pure noise has the highest rank of all.

    Source: Roy & Vetterli 2007; RankMe (Garrido et al. 2023), there without centring.
    """
    return torch.special.entr(_shares(spectrum(z).sqrt())).sum().exp().item()


def participation_ratio(z: Tensor) -> float:
    """``(Σλ)²/Σλ²`` over eigenvalues of the centred Gram matrix.

    From 1 (a line; a point counts as one) to min(b − 1, d). Lower than ``effective_rank``: squares weigh the
    largest directions more, so that a tail of many small ones hardly counts.

    How it misleads: as ``effective_rank``; and one outlier row brings it near 1.
    """
    return 1 / _shares(spectrum(z)).square().sum().item()


def alive(z: Tensor, loss: DispersiveLoss | None = None) -> float:
    """Share of a loss's weight on pairs i ≠ j, in [0, 1], averaged over its groups of rows: what can move.

    Pairs i = j have no gradient. Rows beyond the last whole group are left out.

    How it misleads: it says how satisfied *one* loss is, not how good features are, and in a small group the
    pairs i = j weigh more: of Gaussian features of variance 1 and τ = 0.5, InfoNCE ℓ2 has .22 in groups of 16
    rows and .82 in one of 256. A run is measured by the group that it is trained with.

    Args:
        z (Tensor): (b, ...), read as the loss reads it: with ``tokens="mean"`` their mean.
        loss: in groups of its ``local_batch``; InfoNCE ℓ2 with τ = 0.5 of all rows by default.

    Raises:
        ConfigError: fewer rows than a group has.
    """
    loss = loss or DispersiveLoss("infonce-l2")
    z = _checked(z)  # not yet flat: the loss may read tokens in another way
    whole = len(z) - len(z) % (loss.local_batch or 1)
    if not whole:
        raise ConfigError(
            f"{len(z)} rows: expected at least local_batch = {loss.local_batch}, a whole group of the loss"
        )
    return loss.report(z[:whole]).off_diagonal_weight


def _shares(values: Tensor) -> Tensor:
    """Values ≥ 0, ascending, over their sum; all on the last where all are 0, so that a point counts as 1."""
    total = values.sum()
    return values / total if total > 0 else torch.eye(len(values), dtype=values.dtype)[-1]
