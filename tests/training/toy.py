"""A regulariser with everything that one can bring: a head, a discriminator with an optimiser of its own."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from disperse.objectives import ForwardPass
from disperse.regularizers import Regularizer, RegularizerOutput, regularizer
from disperse.spec import Tagged, TermSpec


class ToySpec(Tagged, TermSpec):
    kind: Literal["toy"] = "toy"
    start: int = 2
    every: int = 2


@regularizer
class Toy(Regularizer):
    """Tokens through a head shall fool a discriminator that tells them from noise-free level 1."""

    Spec = ToySpec
    spec: ToySpec

    def __init__(self, spec: ToySpec, depth: int, width: int = 0):
        super().__init__(spec, depth, width)
        self.head = nn.Linear(width, 4)
        self.judge = nn.Linear(4, 1)

    def own_parameters(self) -> list[nn.Parameter]:
        return list(self.judge.parameters())

    def own_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.own_parameters(), lr=2e-2, betas=(0.5, 0.999))

    def score(self, first: ForwardPass) -> Tensor:
        return self.judge(self.head(first.features[self.blocks[0]]).mean(dim=1)).squeeze(1)

    def forward(
        self, first: ForwardPass, second: ForwardPass | None = None, target: Tensor | None = None
    ) -> RegularizerOutput:
        loss = F.softplus(-self.score(first)).mean()
        return RegularizerOutput(loss, {"toy": loss.detach()})

    def own_loss(self, step: int, first: ForwardPass, target: Tensor | None) -> Tensor | None:
        if step < self.spec.start or (step - self.spec.start) % self.spec.every:
            return None
        return F.softplus(self.score(first)).mean()
