"""The terms as the paper sets them: λ = 0.5, τ = 0.5, a quarter of the depth, groups of 16 rows.

Groups of 16 are the paper's 16 devices with 16 samples each. λ of hinge and covariance, the hinge's ε and the
covariance's w are unpublished: 0.5, 1 and 1. So are the second view's candidates and the bound on the
restricted difference of t, 0.005.

Source: paper, ablation of variants.
"""

from typing import Any, Literal

from .contrastive import ContrastiveSpec
from .dispersive import DispersiveSpec

View = Literal["independent", "restricted"]
DISPERSIVE: tuple[str, ...] = ("infonce-l2", "infonce-cosine", "hinge", "covariance")
VIEWS: tuple[View, ...] = ("independent", "restricted")
SETTING: dict[str, Any] = {"lam": 0.5, "tau": 0.5, "blocks": "quarter", "local_batch": 16}


def dispersive_term(variant: str = "infonce-l2") -> DispersiveSpec:
    """The dispersive term in the paper's setting."""
    return DispersiveSpec(variant=variant, **SETTING)


def contrastive_term(variant: str, view: View) -> ContrastiveSpec:
    """The contrastive parent of a variant, in the same setting."""
    return ContrastiveSpec(variant=variant, view=view, **SETTING)
