"""What is added to an objective: one interface, so that any term combines with any objective."""

from abc import abstractmethod
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from ..errors import ConfigError, unknown
from ..objectives import ForwardPass, View


class RegularizerOutput(NamedTuple):
    """The unweighted loss (scalar), and scalars worth logging."""

    loss: Tensor
    logs: dict[str, Tensor]


class Regularizer(nn.Module):
    """A term of the loss that reads inner features; a module, so that heads are saved and optimised with it.

    Attributes:
        blocks: whose output it reads.
        view: the second view that it needs, or None. The trainer makes one more forward pass for it.
        lam: λ.
        lam_schedule: (step, factor) knots on λ; empty for a constant.
    """

    def __init__(
        self,
        *,
        blocks: tuple[int, ...],
        lam: float,
        lam_schedule: tuple[tuple[int, float], ...] = (),
        view: View | None = None,
    ):
        super().__init__()
        self.blocks = blocks
        self.lam = lam
        self.lam_schedule = lam_schedule
        self.view = view

    def weight(self, step: int) -> float:
        """λ at a step: constant, or times the factor of the schedule (linear between its knots)."""
        if not self.lam_schedule:
            return self.lam
        steps, factors = zip(*self.lam_schedule, strict=True)
        return self.lam * float(np.interp(step, steps, factors))

    def diagnostics(self, first: ForwardPass) -> dict[str, Tensor]:
        """Scalars that cost too much for every step, name → tensor on the device; for logged steps."""
        return {}

    @abstractmethod
    def forward(self, first: ForwardPass, second: ForwardPass | None) -> RegularizerOutput:
        """Read the pass that carries the objective's gradients, and that of the second view if asked for."""


def block_indices(blocks: str | float | tuple[int, ...], depth: int) -> tuple[int, ...]:
    """Resolve ``"quarter"``, ``"last"``, ``"all"``, a fraction of the depth, or indices from 0.

    A fraction f is ⌊f · depth⌋ blocks done, so index ⌊f · depth⌋ − 1 (at least 0); a quarter is ¼.

    Raises:
        ConfigError: an unknown name, an index outside 0..depth−1, one that stands twice, or none at all.
    """
    if isinstance(blocks, float):
        if not 0 < blocks <= 1:
            raise ConfigError(f"regularizer.blocks = {blocks}: expected a fraction above 0 and at most 1")
        return (max(int(blocks * depth + 1e-9) - 1, 0),)  # .29 · 100 is 28.999…
    named = {"quarter": (max(depth // 4 - 1, 0),), "last": (depth - 1,), "all": tuple(range(depth))}
    if isinstance(blocks, str) and blocks not in named:
        raise unknown("regularizer.blocks", blocks, named)
    chosen = named[blocks] if isinstance(blocks, str) else blocks
    for index in chosen:
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < depth:
            raise ConfigError(f"regularizer.blocks: {index!r} is not a block; expected 0 to {depth - 1}")
    if not chosen or len(set(chosen)) < len(chosen):
        raise ConfigError(f"regularizer.blocks = {chosen}: name at least one block, each once")
    return chosen
