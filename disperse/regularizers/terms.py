"""The dispersive, the contrastive and the alignment term, as regularisers of an objective's forward pass."""

from typing import Any

import torch
from torch import Tensor

from ..losses import ContrastiveLoss, DispersiveLoss, alignment
from ..losses.groups import grouped
from ..objectives import ForwardPass, IndependentNoise, RestrictedNoise, View
from ..spec import AlignmentSpec, ContrastiveSpec, DispersiveSpec, TermSpec
from .base import Regularizer, RegularizerOutput, block_indices

# Weight of a sample in the pair means, by its noise level.
TIME_WEIGHTS = {"clean": lambda level: 1 - level, "noisy": lambda level: level}


class DispersiveRegularizer(Regularizer):
    """Mean over blocks of a ``DispersiveLoss`` of each block's output.

    Args:
        spec: variant, options and blocks.
        depth: number of blocks of the model.
    """

    def __init__(self, spec: DispersiveSpec, depth: int):
        super().__init__(**_settings(spec, depth))
        self.time_weight = spec.time_weight
        # The trainer checks the total before each update, so the loss need not wait for the device.
        self.loss = DispersiveLoss(
            spec.variant,
            tau=spec.tau,
            eps=spec.eps,
            diagonal=spec.diagonal,
            scale=spec.scale,
            tokens=spec.tokens,
            local_batch=spec.local_batch,
            across_ranks=True,
            validate=False,
        )

    def forward(self, first: ForwardPass, second: ForwardPass | None = None) -> RegularizerOutput:
        """Read the features of ``blocks`` from the pass that carries gradients."""
        weights = None
        if self.time_weight != "none":
            weights = TIME_WEIGHTS[self.time_weight](first.level)
        return _mean([self.loss(first.features[block], weights) for block in self.blocks], "dispersive")

    def diagnostics(self, first: ForwardPass) -> dict[str, Tensor]:
        """``off_diagonal_weight`` as in ``DispersionReport``, averaged over blocks, all samples alike."""
        shares = [self.loss.off_diagonal_weight(first.features[block]) for block in self.blocks]
        return {"off_diagonal_weight": torch.stack(shares).mean()}


class ContrastiveRegularizer(Regularizer):
    """Mean over blocks of a ``ContrastiveLoss`` of each block's output in two views.

    Args:
        spec: variant, options, blocks and the noise of the second view.
        depth: number of blocks of the model.
    """

    def __init__(self, spec: ContrastiveSpec, depth: int):
        super().__init__(**_settings(spec, depth), view=_view(spec))
        self.loss = ContrastiveLoss(
            spec.variant,
            tau=spec.tau,
            eps=spec.eps,
            offdiagonal_weight=spec.offdiagonal_weight,
            candidates=spec.candidates,
            diagonal=spec.diagonal,
            scale=spec.scale,
            tokens=spec.tokens,
            local_batch=spec.local_batch,
            across_ranks=True,
            validate=False,
        )

    def forward(self, first: ForwardPass, second: ForwardPass | None) -> RegularizerOutput:
        """Read the features of ``blocks`` from both passes; both carry gradients."""
        assert second is not None
        losses = [self.loss(first.features[block], second.features[block]) for block in self.blocks]
        return _mean(losses, "contrastive")


class AlignmentRegularizer(Regularizer):
    """Mean over blocks of ``alignment`` of each block's output in two views; beside a dispersive term.

    Args:
        spec: distance, temperature, blocks and the noise of the second view.
        depth: number of blocks of the model.
    """

    def __init__(self, spec: AlignmentSpec, depth: int):
        super().__init__(**_settings(spec, depth), view=_view(spec))
        self.spec = spec

    def forward(self, first: ForwardPass, second: ForwardPass | None) -> RegularizerOutput:
        """Read the features of ``blocks`` from both passes; both carry gradients."""
        assert second is not None
        spec, losses = self.spec, []
        for block in self.blocks:
            views = (grouped(view.features[block], spec.tokens, None)[0] for view in (first, second))
            losses.append(alignment(*views, tau=spec.tau, distance=spec.distance, scale=spec.scale))
        return _mean(losses, "alignment")


def _settings(spec: TermSpec, depth: int) -> dict[str, Any]:
    """What every term takes from its specification: where, how much, and when."""
    return {
        "blocks": block_indices(spec.blocks, depth),
        "lam": spec.lam,
        "lam_schedule": spec.lam_schedule,
    }


def _view(spec: ContrastiveSpec | AlignmentSpec) -> View:
    return IndependentNoise() if spec.view == "independent" else RestrictedNoise(spec.max_dt)


def _mean(losses: list[Tensor], name: str) -> RegularizerOutput:
    loss = torch.stack(losses).mean()
    return RegularizerOutput(loss, {name: loss.detach()})
