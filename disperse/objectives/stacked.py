"""Objectives under ``torch.func.vmap``, where nothing may depend on the values of a batch."""

import functools

import torch
from torch import Tensor

from ..errors import ConfigError
from ..spec import ObjectiveSpec
from .base import Draws, Objective, build_objective
from .meanflow import MeanFlow, MeanFlowSpec


class StackedMeanFlow(MeanFlow):
    """MeanFlow whose rows with r < t are known beforehand, with ``batch_size`` rows a batch.

    Where r = t by chance in such a row the derivative counts 0 times: the losses are those of ``MeanFlow``.
    """

    def __init__(self, spec: MeanFlowSpec, num_classes: int, batch_size: int, *, label_drop: float = 0.1):
        super().__init__(spec, num_classes, label_drop=label_drop)
        if spec.omega != 1 or spec.kappa != 0:
            raise ConfigError(
                f"objective.omega = {spec.omega:g}, kappa = {spec.kappa:g}: an ensemble trains MeanFlow "
                "without guidance (1 and 0); use `disperse train`"
            )
        self.batch_size = batch_size

    def apart(self, n: int) -> Tensor:
        """As in ``MeanFlow``, for n rows of whole batches."""
        return super().apart(self.batch_size).repeat(n // self.batch_size)

    def rows_apart(self, draws: Draws) -> Tensor:
        """Indices of the rows of one batch that were drawn apart."""
        return self._rows(draws.t.device)

    @functools.lru_cache(maxsize=2)  # noqa: B019 (an ensemble has one)
    def _rows(self, device: torch.device) -> Tensor:
        return super().apart(self.batch_size).nonzero().flatten().to(device)


def stacked_objective(
    spec: ObjectiveSpec, num_classes: int, batch_size: int, *, label_drop: float
) -> Objective:
    """The objective of a specification as members of an ensemble train on it.

    Args:
        spec: which, and its settings.
        num_classes: of the model; also the index of the null class.
        batch_size: of each member.
        label_drop: probability in [0, 1] that a label is replaced by the null class.

    Raises:
        ConfigError: MeanFlow with guidance.
    """
    if isinstance(spec, MeanFlowSpec):
        return StackedMeanFlow(spec, num_classes, batch_size, label_drop=label_drop)
    return build_objective(spec, num_classes, label_drop=label_drop)
