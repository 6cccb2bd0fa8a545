"""What is added to an objective: one interface, so that any term combines with any objective."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError, unknown
from ..objectives import ForwardPass, View
from ..rng import normal
from ..spec import TERM_SPECS, TermSpec, enter


class RegularizerOutput(NamedTuple):
    """The unweighted loss (scalar), and scalars worth logging."""

    loss: Tensor
    logs: dict[str, Tensor]


class Encoder(Protocol):
    """A frozen network whose features of the clean images are a target.

    Attributes:
        key: name and digest of its weights; what is kept on disk is kept under it.
    """

    key: str

    def __call__(self, images: Tensor) -> Tensor:
        """Images (b, c, h, w) in [−1, 1] → features (b, n, d), float32."""


class Regularizer(nn.Module):
    """A term of the loss that reads inner features; a regulariser is one file, entered by ``@regularizer``.

    A module: the trainer moves it, optimises its parameters with the network's, averages their gradients over
    ranks, checks and saves them.

    Args:
        spec: its settings.
        depth, width: number of blocks of the network, and length of a token.

    Attributes:
        Spec: class of its settings.
        cites: BibTeX key → entry of what it is built on.
        spec: its settings.
        blocks: whose output it reads.
        view: the second view that it needs, or None. The trainer makes one more forward pass for it.
        encoder: whose features of the clean image it gets as ``target``, or None. The trainer computes them
            once per image and keeps them on disk.
    """

    Spec: ClassVar[type[TermSpec]]
    cites: ClassVar[Mapping[str, str]] = {}
    view: View | None = None
    encoder: Encoder | None = None

    def __init__(self, spec: Any, depth: int, width: int = 0):
        super().__init__()
        self.spec = spec
        self.blocks = block_indices(spec.blocks, depth)
        self.lam = spec.lam

    def weight(self, step: int) -> float:
        """λ at a step: constant, or times the factor of the schedule (linear between its knots)."""
        if not self.spec.lam_schedule:
            return self.lam
        steps, factors = zip(*self.spec.lam_schedule, strict=True)
        return self.lam * float(np.interp(step, steps, factors))

    def diagnostics(self, first: ForwardPass) -> dict[str, Tensor]:
        """Scalars that cost too much for every step, name → tensor on the device; for logged steps."""
        return {}

    @abstractmethod
    def forward(
        self, first: ForwardPass, second: ForwardPass | None = None, target: Tensor | None = None
    ) -> RegularizerOutput:
        """Read the pass that carries gradients, that of the second view, and the encoder's target."""

    def own_parameters(self) -> list[nn.Parameter]:
        """Parameters that ``own_optimizer`` moves; the loss of ``forward`` never does."""
        return []

    def own_optimizer(self) -> torch.optim.Optimizer | None:
        """An optimiser of its own, of ``own_parameters``; None without any."""
        return None

    def own_loss(self, step: int, first: ForwardPass, target: Tensor | None) -> Tensor | None:
        """The loss that its own optimiser lowers after the network's update; None at steps without one."""
        return None

    @torch.no_grad()
    def initialize(self, seed: int) -> None:
        """Its weights as a pure function of the seed: N(0, 1/inputs), biases 0."""
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                parameter.zero_()
            else:
                draws = normal(parameter.shape, "init regularizer", self.spec.kind, seed, name)
                parameter.copy_(draws * parameter[0].numel() ** -0.5)


REGULARIZERS: dict[str, type[Regularizer]] = {}
Entered = TypeVar("Entered", bound=type[Regularizer])


def regularizer(cls: Entered) -> Entered:
    """Enter a regulariser under the kind of its specification: a class decorator.

    Raises:
        ConfigError: another regulariser has that name.
    """
    enter(cls, REGULARIZERS, TERM_SPECS)
    return cls


def build_regularizer(spec: TermSpec, depth: int, width: int = 0, *, seed: int = 0) -> Regularizer:
    """The regulariser of a specification, for a network of ``depth`` blocks and tokens of length ``width``.

    Its parameters, if it has any, are a pure function of the seed.
    """
    term = REGULARIZERS[spec.kind](spec, depth, width)
    term.initialize(seed)
    return term


def mean_over_blocks(losses: list[Tensor], name: str) -> RegularizerOutput:
    """The mean of the losses of several blocks."""
    loss = torch.stack(losses).mean()
    return RegularizerOutput(loss, {name: loss.detach()})


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
