"""The dispersive term as a regulariser of an objective's forward pass."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..errors import ConfigError, unknown
from ..losses import DispersiveLoss
from ..objectives import ForwardPass
from ..spec import DispersiveSpec


class RegularizerOutput(NamedTuple):
    """The unweighted loss (scalar), and scalars worth logging."""

    loss: Tensor
    logs: dict[str, Tensor]


def block_indices(blocks: str | tuple[int, ...], depth: int) -> tuple[int, ...]:
    """Resolve ``"quarter"``, ``"last"``, ``"all"`` or indices from 0.

    A quarter is ⌊depth/4⌋ blocks done, so index ⌊depth/4⌋ − 1 (at least 0).

    Raises:
        ConfigError: an unknown name, an index outside 0..depth−1, or none at all.
    """
    named = {"quarter": (max(depth // 4 - 1, 0),), "last": (depth - 1,), "all": tuple(range(depth))}
    if isinstance(blocks, str) and blocks not in named:
        raise unknown("regularizer.blocks", blocks, named)
    chosen = named[blocks] if isinstance(blocks, str) else blocks
    for index in chosen:
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < depth:
            raise ConfigError(f"regularizer.blocks: {index!r} is not a block; expected 0 to {depth - 1}")
    if not chosen:
        raise ConfigError("regularizer.blocks: empty; name at least one block")
    return chosen


class DispersiveRegularizer(nn.Module):
    """Mean over blocks of a ``DispersiveLoss`` of each block's output.

    Args:
        spec: variant, options and blocks; its ``lam`` is applied by the trainer.
        depth: number of blocks of the model.
    """

    def __init__(self, spec: DispersiveSpec, depth: int):
        super().__init__()
        self.lam = spec.lam
        self.blocks = block_indices(spec.blocks, depth)
        # The trainer checks the total before each update, so the loss need not wait for the device.
        self.loss = DispersiveLoss(
            spec.variant,
            tau=spec.tau,
            eps=spec.eps,
            diagonal=spec.diagonal,
            scale=spec.scale,
            tokens=spec.tokens,
            local_batch=spec.local_batch,
            validate=False,
        )

    def forward(self, forward_pass: ForwardPass) -> RegularizerOutput:
        """Read the features of ``blocks`` from the pass that carries gradients."""
        losses = torch.stack([self.loss(forward_pass.features[block]) for block in self.blocks])
        return RegularizerOutput(losses.mean(), {"dispersive": losses.mean().detach()})
