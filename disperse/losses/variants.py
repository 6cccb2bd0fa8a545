"""One record a variant of the loss: all that the library knows of it, so that a new one is one file.

>>> from disperse.losses import Variant, variant
>>> variant(Variant("log-det", log_det, option="beta", default=1.0, bounds=my_bounds, alive=my_share))
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import ConfigError
from .contrastive import (
    contrastive_covariance,
    contrastive_hinge,
    contrastive_infonce_cosine,
    contrastive_infonce_l2,
)
from .dispersive import Diagonal, Scale, check_choice, covariance, hinge, infonce_cosine, infonce_l2


@dataclass(frozen=True)
class Bounds:
    """Smallest and largest value that a variant can take; ``-inf`` where it has no floor."""

    floor: float
    ceiling: float


def no_bounds(rows: int, width: int, option: float, keep: bool, scale: Scale) -> Bounds:
    """Of a variant of which none are known."""
    return Bounds(-math.inf, math.inf)


def unknown_share(kept: Tensor, masked: Tensor, rows: int, width: int, scale: Scale) -> Tensor:
    """Of a variant that doesn't say how much of it is alive: NaN."""
    return torch.full_like(kept, math.nan)


@dataclass(frozen=True)
class Variant:
    """A loss by name.

    Attributes:
        name: of it.
        dispersive: function of features (..., g, d) with the options that all share (see ``dispersive``).
        option, default: name and default of the positive option of its own, if it has one.
        bounds: (rows ≥ 2, width, value of the option, pairs i = j kept, scale) → floor and ceiling.
        alive: (value kept, value masked, rows ≥ 2, width, scale) → share of the summed terms that belongs to
            pairs i ≠ j, in [0, 1], like the value.
        contrastive: function of two views, if it has a parent.
        contrastive_option: option of the parent's own, where it is another.
        picks_candidates: whether the parent has the options ``candidates`` and ``diagonal``.
        cites: BibTeX key → entry of what it is made from.
    """

    name: str
    dispersive: Callable[..., Tensor]
    option: str | None = None
    default: float = 1.0
    bounds: Callable[[int, int, float, bool, Scale], Bounds] = no_bounds
    alive: Callable[[Tensor, Tensor, int, int, Scale], Tensor] = unknown_share
    contrastive: Callable[..., Tensor] | None = None
    contrastive_option: str | None = None
    picks_candidates: bool = True
    cites: Mapping[str, str] = field(default_factory=dict)


VARIANTS: dict[str, Variant] = {}


def variant(record: Variant) -> Variant:
    """Enter a variant; the same function again, as of a notebook's cell, replaces it.

    Raises:
        ConfigError: another has that name.
    """
    there = VARIANTS.get(record.name)
    if there is not None and there.dispersive.__qualname__ != record.dispersive.__qualname__:
        raise ConfigError(
            f"variant = {record.name!r}: taken by {there.dispersive.__qualname__}; choose another"
        )
    VARIANTS[record.name] = record
    return record


def bounds(
    variant: str,
    rows: int,
    width: int,
    *,
    diagonal: Diagonal = "keep",
    scale: Scale = "dim",
    **options: float,
) -> Bounds:
    """Floor and ceiling of a variant for ``rows`` samples of ``width`` dimensions.

    With the diagonal kept, g rows: ℓ2 ``[−log g, 0]``; cosine
    ``[log((e^{1/τ} + (g−1) e^{−1/((g−1)τ)})/g), 1/τ]``; hinge ``[ε²/g, ε²]``; covariance
    ``[max(1/d, 1/(g−1)), 1]``. The cosine floor is a regular simplex, which needs d ≥ g − 1. With
    ``scale = "rms"`` the mean of D over pairs is at most 2, and a simplex is the floor of ℓ2 and hinge too:
    D = ``2g/(g−1)`` for every pair i ≠ j.

    Args:
        variant: name of it.
        rows, width: g and d.
        diagonal, scale: as of the losses.
        options: of the variants, by name; those of others are left aside.
    """
    check_choice("loss.variant", variant, VARIANTS)
    if rows < 2:
        return Bounds(0.0, 0.0)
    record = VARIANTS[variant]
    own = options.get(record.option or "", record.default)
    return record.bounds(rows, width, own, diagonal == "keep", scale)


def _apart(rows: int, scale: Scale) -> float:
    """D of a pair at the floor of ℓ2 and hinge."""
    return 2 * rows / (rows - 1) if scale == "rms" else math.inf


def _l2_bounds(rows: int, width: int, tau: float, keep: bool, scale: Scale) -> Bounds:
    apart = _apart(rows, scale)
    kept = math.log1p((rows - 1) * math.exp(-apart / tau)) - math.log(rows)
    return Bounds(kept if keep else -apart / tau, 0.0)


def _cosine_bounds(rows: int, width: int, tau: float, keep: bool, scale: Scale) -> Bounds:
    least = -1 / ((rows - 1) * tau)
    # log((e^{1/τ} + (g−1) e^least)/g), written so that a small τ does not overflow.
    kept = 1 / tau + math.log1p((rows - 1) * math.exp(least - 1 / tau)) - math.log(rows)
    return Bounds(kept if keep else least, 1 / tau)


def _hinge_bounds(rows: int, width: int, eps: float, keep: bool, scale: Scale) -> Bounds:
    left = max(eps - _apart(rows, scale), 0.0) ** 2
    return Bounds((eps**2 + (rows - 1) * left) / rows if keep else left, eps**2)


def _covariance_bounds(rows: int, width: int, option: float, keep: bool, scale: Scale) -> Bounds:
    smallest, most, entries = max(width, width**2 / (rows - 1)), float(width**2), width**2
    if not keep:
        smallest, most, entries = smallest - width, most - width, width**2 - width
    if scale == "none":
        return Bounds(smallest, most)
    return Bounds(smallest / entries, most / entries) if entries > 0 else Bounds(1.0, 1.0)


def _infonce_alive(kept: Tensor, masked: Tensor, rows: int, width: int, scale: Scale) -> Tensor:
    return (masked - kept).exp() * ((rows - 1) / rows)


def _hinge_alive(kept: Tensor, masked: Tensor, rows: int, width: int, scale: Scale) -> Tensor:
    return torch.where(kept > 0, masked / kept * ((rows - 1) / rows), 0.0)


def _covariance_alive(kept: Tensor, masked: Tensor, rows: int, width: int, scale: Scale) -> Tensor:
    return torch.where(kept > 0, masked / kept * (1 if scale == "none" else (width - 1) / width), 0.0)


CPC = {
    "oord2018cpc": """\
@article{oord2018cpc,
  title = {Representation Learning with Contrastive Predictive Coding},
  author = {van den Oord, Aaron and Li, Yazhe and Vinyals, Oriol},
  journal = {arXiv preprint arXiv:1807.03748},
  year = {2018}
}"""
}
MARGIN = {
    "hadsell2006dimensionality": """\
@inproceedings{hadsell2006dimensionality,
  title = {Dimensionality Reduction by Learning an Invariant Mapping},
  author = {Hadsell, Raia and Chopra, Sumit and LeCun, Yann},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition (CVPR)},
  year = {2006}
}"""
}
BARLOW = {
    "zbontar2021barlow": """\
@inproceedings{zbontar2021barlow,
  title = {Barlow Twins: Self-Supervised Learning via Redundancy Reduction},
  author = {Zbontar, Jure and Jing, Li and Misra, Ishan and LeCun, Yann and Deny, St{\\'e}phane},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2021}
}"""
}

variant(
    Variant(
        "infonce-l2", infonce_l2, "tau", 0.5, _l2_bounds, _infonce_alive, contrastive_infonce_l2, cites=CPC
    )
)
variant(Variant("infonce-cosine", infonce_cosine, "tau", 0.5, _cosine_bounds, _infonce_alive,
                contrastive_infonce_cosine, cites=CPC))  # fmt: skip
variant(Variant("hinge", hinge, "eps", 1.0, _hinge_bounds, _hinge_alive, contrastive_hinge, cites=MARGIN))
variant(Variant("covariance", covariance, None, 1.0, _covariance_bounds, _covariance_alive,
                contrastive_covariance, "offdiagonal_weight", False, BARLOW))  # fmt: skip
