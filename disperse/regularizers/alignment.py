"""The attraction alone, of two views of each sample: what a dispersive term leaves out."""

from typing import Literal

from torch import Tensor

from ..losses import alignment
from ..losses.groups import grouped
from ..objectives import ForwardPass
from .base import Regularizer, RegularizerOutput, mean_over_blocks, regularizer
from .pairs import PairTermSpec, TwoViews

ALIGNMENT = """\
@inproceedings{wang2020alignment,
  title = {Understanding Contrastive Representation Learning through Alignment and Uniformity on the
           Hypersphere},
  author = {Wang, Tongzhou and Isola, Phillip},
  booktitle = {International Conference on Machine Learning (ICML)},
  year = {2020}
}"""


class AlignmentSpec(PairTermSpec, TwoViews):
    """The attraction alone, ``E_i[D(z_i, z_i⁺)]/τ`` of two views: what a dispersive loss leaves out.

    Attributes:
        distance: D, squared ℓ2 or negative cosine.
    """

    kind: Literal["alignment"] = "alignment"
    distance: Literal["l2", "cosine"] = "l2"


@regularizer
class AlignmentRegularizer(Regularizer):
    """Mean over blocks of ``alignment`` of each block's output in two views; beside a dispersive term."""

    Spec = AlignmentSpec
    cites = {"wang2020alignment": ALIGNMENT}
    spec: AlignmentSpec

    def __init__(self, spec: AlignmentSpec, depth: int, width: int = 0):
        super().__init__(spec, depth, width)
        self.view = spec.noise

    def forward(
        self, first: ForwardPass, second: ForwardPass | None = None, target: Tensor | None = None
    ) -> RegularizerOutput:
        """Read the features of ``blocks`` from both passes; both carry gradients."""
        assert second is not None
        spec, losses = self.spec, []
        for block in self.blocks:
            views = (grouped(view.features[block], spec.tokens, None)[0] for view in (first, second))
            losses.append(alignment(*views, tau=spec.tau, distance=spec.distance, scale=spec.scale))
        return mean_over_blocks(losses, "alignment")
