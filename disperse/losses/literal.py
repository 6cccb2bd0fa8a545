"""The table of objectives as it is printed: all pairs of rows, all entries of the covariance, nothing clever.

For reading, and to check the functions that are used against; quadratic in memory where those are not.
Features are (g, d); ``z_plus`` is the second view, whose rows are the partners of those of ``z``.

Source: paper, table of objectives. The division of ‖·‖² by d is the released code's; that of the sums over
m, n by their number of terms is ours.
"""

import torch
from torch import Tensor


def apart(a: Tensor, b: Tensor) -> Tensor:
    """``D(a_i, b_j) = ‖a_i − b_j‖²/d``, shape (g, g)."""
    return (a[:, None] - b).square().mean(dim=-1)


def opposite(a: Tensor, b: Tensor) -> Tensor:
    """``D(a_i, b_j) = −cos(a_i, b_j)``, shape (g, g)."""
    return -torch.cosine_similarity(a[:, None], b, dim=-1)


def covariance(a: Tensor, b: Tensor) -> Tensor:
    """``C = AᵀB/g`` of features standardised over the rows, shape (d, d)."""
    a, b = ((view - view.mean(dim=0)) / view.std(dim=0, correction=0) for view in (a, b))
    return a.mT @ b / len(a)


def dispersive(name: str, z: Tensor, *, tau: float = 0.5, eps: float = 1.0) -> Tensor:
    """The right column: one view, a scalar."""
    match name:
        case "infonce-l2":
            return (-apart(z, z) / tau).exp().mean().log()
        case "infonce-cosine":
            return (-opposite(z, z) / tau).exp().mean().log()
        case "hinge":
            return (eps - apart(z, z)).relu().square().mean()
        case "covariance":
            return covariance(z, z).square().mean()
    raise KeyError(name)


def contrastive(
    name: str, z: Tensor, z_plus: Tensor, *, tau: float = 0.5, eps: float = 1.0, w: float = 1.0
) -> Tensor:
    """The middle column: two views, candidates z_j from the second, a scalar."""
    same = torch.eye(len(z), dtype=torch.bool)
    match name:
        case "infonce-l2" | "infonce-cosine":
            distance = (apart if name == "infonce-l2" else opposite)(z, z_plus)
            return (distance[same] / tau + (-distance / tau).exp().sum(dim=1).log()).mean()
        case "hinge":
            distance = apart(z, z_plus)
            return distance[same].square().mean() + (eps - distance[~same]).relu().square().mean()
        case "covariance":
            entries, own = covariance(z, z_plus), torch.eye(z.shape[1], dtype=torch.bool)
            return (1 - entries[own]).square().mean() + w * entries[~own].square().mean()
    raise KeyError(name)
