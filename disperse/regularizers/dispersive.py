"""The dispersive term: the representations of a batch repel each other.

Source: *Diffuse and Disperse* (Wang & He, arXiv 2506.09027).
"""

from typing import Literal

import torch
from torch import Tensor

from ..losses import VARIANTS, Bounds, DispersiveLoss, bounds
from ..losses.variants import unknown_share
from ..models import config_of
from ..objectives import ForwardPass
from ..spec import RunSpec
from .base import Regularizer, RegularizerOutput, mean_over_blocks, regularizer
from .pairs import VariantTermSpec

# Weight of a sample in the pair means, by its noise level.
TIME_WEIGHTS = {"clean": lambda level: 1 - level, "noisy": lambda level: level}


class DispersiveSpec(VariantTermSpec):
    """A dispersive term: ``lam`` times the mean over ``blocks`` of the loss of that block's output.

    Attributes:
        scale: as of every term, or ``"rms"``: distances divided by the mean squared length of a group's rows.
        diagonal: the pairs i = j, kept or masked.
        time_weight: weight w of a sample in the pair means, by its noise level: 1, ``1 − level``
            (``"clean"``) or ``level`` (``"noisy"``).
    """

    kind: Literal["dispersive"] = "dispersive"
    scale: Literal["dim", "none", "rms"] = "dim"  # type: ignore[assignment]
    diagonal: Literal["keep", "mask"] = "keep"
    time_weight: Literal["none", "clean", "noisy"] = "none"


def term_bounds(spec: RunSpec) -> dict[int, Bounds]:
    """Floor and ceiling of each dispersive term of a run, by its number; from the specification alone."""
    config, found = config_of(spec), {}
    for number, term in enumerate(spec.regularizers):
        if isinstance(term, DispersiveSpec):
            width = config.hidden_size * (config.num_tokens if term.tokens == "flatten" else 1)
            options = {"tau": term.tau, "eps": term.eps, **dict(term.options)}
            found[number] = bounds(
                term.variant, term.local_batch or spec.batch_size, width,
                diagonal=term.diagonal, scale=term.scale, **options,
            )  # fmt: skip
    return found


@regularizer
class DispersiveRegularizer(Regularizer):
    """Mean over blocks of a ``DispersiveLoss`` of each block's output."""

    Spec = DispersiveSpec
    spec: DispersiveSpec

    def __init__(self, spec: DispersiveSpec, depth: int, width: int = 0):
        super().__init__(spec, depth, width)
        self.loss = DispersiveLoss(**spec.loss_options, diagonal=spec.diagonal)

    def forward(
        self, first: ForwardPass, second: ForwardPass | None = None, target: Tensor | None = None
    ) -> RegularizerOutput:
        """Read the features of ``blocks`` from the pass that carries gradients."""
        weights = None
        if self.spec.time_weight != "none":
            weights = TIME_WEIGHTS[self.spec.time_weight](first.level)
        return mean_over_blocks([self.loss(first.features[b], weights) for b in self.blocks], "dispersive")

    def diagnostics(self, first: ForwardPass) -> dict[str, Tensor]:
        """``off_diagonal_weight`` as in ``DispersionReport``, averaged over blocks, all samples alike.

        Nothing, where the variant doesn't say.
        """
        if VARIANTS[self.spec.variant].alive is unknown_share:
            return {}
        shares = [self.loss.off_diagonal_weight(first.features[block]) for block in self.blocks]
        return {"off_diagonal_weight": torch.stack(shares).mean()}
