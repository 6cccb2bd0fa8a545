"""The contrastive parent of a dispersive term, on two views of each sample."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from ..losses import ContrastiveLoss
from ..objectives import ForwardPass
from .base import Regularizer, RegularizerOutput, mean_over_blocks, regularizer
from .pairs import TwoViews, VariantTermSpec


class ContrastiveSpec(VariantTermSpec, TwoViews):
    """A contrastive term, on two views of each sample.

    Attributes:
        candidates: which rows a row is pushed from: the second view's or those of its own.
        offdiagonal_weight: w of the covariance variant.
        diagonal: the pairs i = j among the candidates; None is the variant's own choice.
    """

    kind: Literal["contrastive"] = "contrastive"
    candidates: Literal["second", "own"] = "second"
    offdiagonal_weight: float = Field(default=1.0, ge=0)
    diagonal: Literal["keep", "mask"] | None = None


@regularizer
class ContrastiveRegularizer(Regularizer):
    """Mean over blocks of a ``ContrastiveLoss`` of each block's output in two views."""

    Spec = ContrastiveSpec
    spec: ContrastiveSpec

    def __init__(self, spec: ContrastiveSpec, depth: int, width: int = 0):
        super().__init__(spec, depth, width)
        self.view = spec.noise
        self.loss = ContrastiveLoss(
            **spec.loss_options,
            offdiagonal_weight=spec.offdiagonal_weight,
            candidates=spec.candidates,
            diagonal=spec.diagonal,
        )

    def forward(
        self, first: ForwardPass, second: ForwardPass | None = None, target: Tensor | None = None
    ) -> RegularizerOutput:
        """Read the features of ``blocks`` from both passes; both carry gradients."""
        assert second is not None
        losses = [self.loss(first.features[block], second.features[block]) for block in self.blocks]
        return mean_over_blocks(losses, "contrastive")
