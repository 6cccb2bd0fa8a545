"""What changes during training: weights, their averages and the optimiser; and how it is stored."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .. import models
from ..errors import CheckpointError
from ..models.checkpoints import check_tensors
from ..regularizers import Regularizer, build_regularizer
from ..spec import RunSpec
from . import checkpoint as checkpoints
from . import ema


@dataclass
class TrainState:
    """Model, regularisers, averages and optimiser after ``step`` updates."""

    spec: RunSpec
    model: models.DiffusionTransformer
    regularizers: list[Regularizer]
    averages: dict[str, dict[str, Tensor]]
    optimizer: torch.optim.Optimizer
    step: int = 0
    elapsed_s: float = 0.0

    @classmethod
    def initial(cls, spec: RunSpec, device: torch.device) -> "TrainState":
        """State before the first step: a pure function of the spec."""
        config = models.config_of(spec)
        model = models.from_config(config, seed=spec.seed, device=device, objective=spec.objective)
        regularizers = [build_regularizer(term, config.depth) for term in spec.regularizers]
        settings = spec.optimizer
        optimizer = torch.optim.AdamW(
            [*_trainable(model).values(), *(p for term in regularizers for p in term.parameters())],
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )
        averages = {
            name: {key: value.detach().clone() for key, value in model.state_dict().items()}
            for name in spec.ema
        }
        return cls(spec, model, regularizers, averages, optimizer)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    def update_averages(self) -> None:
        """Move every average towards the weights; the frozen position table stays."""
        weights = _trainable(self.model)
        for name, average in self.averages.items():
            ema.update((average[key] for key in weights), weights.values(), ema.decay(name, self.step))

    def to_checkpoint(self) -> checkpoints.Checkpoint:
        """Everything that the next step depends on."""
        tensors = {
            "model": self.model.state_dict(),
            "optimizer": checkpoints.flatten_optimizer(self.optimizer, list(_trainable(self.model))),
            **{f"ema.{name}": average for name, average in self.averages.items()},
        }
        progress = {"seen_images": self.step * self.spec.batch_size, "elapsed_s": round(self.elapsed_s, 3)}
        return checkpoints.Checkpoint(self.step, self.spec.fingerprint, tensors, progress)

    def restore(self, saved: checkpoints.Checkpoint) -> None:
        """Continue from a checkpoint; the same bits as if training had never stopped.

        Raises:
            CheckpointError: names what doesn't fit; nothing is changed.
        """
        own, trainable = self.model.state_dict(), _trainable(self.model)
        expected = {"model": own, **{f"ema.{name}": own for name in self.averages}}
        expected["optimizer"] = checkpoints.expected_optimizer(trainable)
        for part, tensors in expected.items():
            if part not in saved.tensors:
                raise CheckpointError(f"step {saved.step}: the checkpoint has no {part}")
            check_tensors(part, saved.tensors[part], tensors)
        elapsed_s = saved.progress.get("elapsed_s")
        if not isinstance(elapsed_s, (int, float)):
            raise CheckpointError(f"step {saved.step}: progress has no elapsed_s")
        self.model.load_state_dict(saved.tensors["model"])
        for name, average in self.averages.items():
            for key, value in saved.tensors[f"ema.{name}"].items():
                average[key].copy_(value)
        checkpoints.restore_optimizer(self.optimizer, list(trainable), saved.tensors["optimizer"])
        self.step = saved.step
        self.elapsed_s = float(elapsed_s)


def _trainable(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def load_strictly(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy weights into a model after checking every name, shape, dtype and value.

    Raises:
        CheckpointError: names the first tensor that doesn't fit; the model is unchanged.
    """
    check_tensors("weights", tensors, model.state_dict())
    model.load_state_dict(tensors)
