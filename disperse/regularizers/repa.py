"""REPA: inner tokens, through a small head, are drawn to those of a frozen encoder of the clean image.

Source: Representation Alignment for Generation (Yu et al. 2024), arXiv 2410.06940.
"""

from typing import Literal

import torch.nn.functional as F
from pydantic import Field, field_validator
from torch import Tensor, nn

from ..errors import unknown
from ..objectives import ForwardPass
from ..spec import Tagged, TermSpec
from .base import Regularizer, RegularizerOutput, mean_over_blocks, regularizer
from .encoders import ENCODERS, frozen_encoder, on_grid

REPA = """\
@inproceedings{yu2025repa,
  title = {Representation Alignment for Generation: Training Diffusion Transformers Is Easier Than You Think},
  author = {Yu, Sihyun and Kwak, Sangkyung and Jang, Huiwon and Jeong, Jongheon and Huang, Jonathan and
            Shin, Jinwoo and Xie, Saining},
  booktitle = {International Conference on Learning Representations (ICLR)},
  year = {2025}
}"""


class RepaSpec(Tagged, TermSpec):
    """Alignment with a frozen encoder.

    Attributes:
        blocks: a third of the depth by default, the paper's block 4 of 12.
        encoder: whose tokens of the clean image are the target, see ``ENCODERS``.
        hidden: width of the head's two inner layers.
    """

    kind: Literal["repa"] = "repa"
    blocks: Literal["quarter", "last", "all"] | float | tuple[int, ...] = 1 / 3
    encoder: str = "digits-patches-views"
    hidden: int = Field(default=2048, ge=1)

    @field_validator("encoder")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ENCODERS:
            raise unknown("encoder", name, ENCODERS)
        return name


@regularizer
class Repa(Regularizer):
    """``−E[cos(P(h_n), z_n)]`` over samples and tokens n: P a head, h inner tokens, z the encoder's.

    The head is not needed for sampling; its gradients reach the network, none reaches the encoder.
    """

    Spec = RepaSpec
    cites = {"yu2025repa": REPA}
    spec: RepaSpec

    def __init__(self, spec: RepaSpec, depth: int, width: int = 0):
        super().__init__(spec, depth, width)
        self.encoder = frozen_encoder(spec.encoder)
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Linear(width, spec.hidden),
                nn.SiLU(),
                nn.Linear(spec.hidden, spec.hidden),
                nn.SiLU(),
                nn.Linear(spec.hidden, self.encoder.num_features),
            )
            for _ in self.blocks
        )

    def forward(
        self, first: ForwardPass, second: ForwardPass | None = None, target: Tensor | None = None
    ) -> RegularizerOutput:
        """Read the tokens of ``blocks`` and the encoder's, (b, n, d) each."""
        assert target is not None
        losses = []
        for head, block in zip(self.heads, self.blocks, strict=True):
            tokens = first.features[block]
            z = on_grid(target, tokens.shape[1])
            losses.append(-F.cosine_similarity(head(tokens).float(), z, dim=-1).mean())
        return mean_over_blocks(losses, "repa")
