"""What changes during training: weights, their averages and the optimisers; and how it is stored."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .. import models
from ..errors import CheckpointError
from ..models.checkpoints import check_tensors
from ..objectives import build_objective
from ..objectives.base import Network
from ..regularizers import Regularizer, build_regularizer
from ..spec import RunSpec
from . import checkpoint as checkpoints
from . import ema


@dataclass
class TrainState:
    """Model, regularisers, averages and optimisers after ``step`` updates.

    Attributes:
        averages: of the weights, name → state; an objective's teacher is one of them.
        own: the optimisers that regularisers bring, number of the regulariser → optimiser.
    """

    spec: RunSpec
    model: models.DiffusionTransformer
    regularizers: list[Regularizer]
    averages: dict[str, dict[str, Tensor]]
    optimizer: torch.optim.Optimizer
    own: dict[int, torch.optim.Optimizer] = field(default_factory=dict)
    step: int = 0
    elapsed_s: float = 0.0

    @classmethod
    def initial(cls, spec: RunSpec, device: torch.device) -> "TrainState":
        """State before the first step: a pure function of the spec."""
        config = models.config_of(spec)
        model = models.from_config(config, seed=spec.seed, device=device, objective=spec.objective)
        regularizers = [
            build_regularizer(term, config.depth, config.hidden_size, seed=spec.seed).to(device)
            for term in spec.regularizers
        ]
        settings = spec.optimizer
        optimizer = torch.optim.AdamW(
            list(_optimised(model, regularizers).values()),
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )
        teacher = build_objective(spec.objective, config.num_classes).teacher
        averages = {
            name: {key: value.detach().clone() for key, value in model.state_dict().items()}
            for name in dict.fromkeys((*spec.ema, *([] if teacher is None else [f"constant-{teacher:g}"])))
        }
        found = {number: term.own_optimizer() for number, term in enumerate(regularizers)}
        own = {number: each for number, each in found.items() if each is not None}
        return cls(spec, model, regularizers, averages, optimizer, own)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.model.parameters()).device

    @property
    def heads(self) -> list[nn.Parameter]:
        """Parameters of regularisers that the network's optimiser moves."""
        return [value for name, value in self.optimised.items() if name.startswith("regularizer.")]

    @property
    def optimised(self) -> dict[str, nn.Parameter]:
        """Name → parameter of what the network's optimiser moves: the network's own, then the heads'."""
        return _optimised(self.model, self.regularizers)

    def teacher(self, decay: float) -> Network:
        """The network with its averaged weights of that decay, without gradients."""
        average = self.averages[f"constant-{decay:g}"]

        @torch.no_grad()
        def network(*args: Any, **options: Any) -> Any:
            return functional_call(self.model, average, args, options)

        return network

    def update_averages(self) -> None:
        """Move every average towards the weights; the frozen position table stays."""
        weights = _trainable(self.model)
        for name, average in self.averages.items():
            ema.update((average[key] for key in weights), weights.values(), ema.decay(name, self.step))

    def to_checkpoint(self) -> checkpoints.Checkpoint:
        """Everything that the next step depends on."""
        tensors = {
            "model": self.model.state_dict(),
            "optimizer": checkpoints.flatten_optimizer(self.optimizer, list(self.optimised)),
            **{f"ema.{name}": average for name, average in self.averages.items()},
        }
        for number, term in enumerate(self.regularizers):
            if weights := term.state_dict():
                tensors[f"regularizer.{number}"] = weights
            own = self.own.get(number)
            if own is not None and own.state:  # none before its first step
                name = f"regularizer.{number}.optimizer"
                tensors[name] = checkpoints.flatten_optimizer(own, _own_names(term))
        progress = {"seen_images": self.step * self.spec.batch_size, "elapsed_s": round(self.elapsed_s, 3)}
        return checkpoints.Checkpoint(self.step, self.spec.fingerprint, tensors, progress)

    def restore(self, saved: checkpoints.Checkpoint) -> None:
        """Continue from a checkpoint; the same bits as if training had never stopped.

        Raises:
            CheckpointError: names what doesn't fit; nothing is changed.
        """
        own, terms = self.model.state_dict(), dict(enumerate(self.regularizers))
        expected = {"model": own, **{f"ema.{name}": own for name in self.averages}}
        expected["optimizer"] = checkpoints.expected_optimizer(self.optimised)
        expected |= {f"regularizer.{n}": term.state_dict() for n, term in terms.items() if term.state_dict()}
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
        checkpoints.restore_optimizer(self.optimizer, list(self.optimised), saved.tensors["optimizer"])
        for n, term in terms.items():
            if f"regularizer.{n}" in expected:
                term.load_state_dict(saved.tensors[f"regularizer.{n}"])
        for n, each in self.own.items():  # before its first step an optimiser has no state
            state = saved.tensors.get(f"regularizer.{n}.optimizer", {})
            checkpoints.restore_optimizer(each, _own_names(terms[n]), state)
        self.step = saved.step
        self.elapsed_s = float(elapsed_s)


def _trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def _optimised(model: nn.Module, regularizers: list[Regularizer]) -> dict[str, nn.Parameter]:
    found = _trainable(model)
    for number, term in enumerate(regularizers):
        own = {id(parameter) for parameter in term.own_parameters()}
        found |= {
            f"regularizer.{number}.{name}": value
            for name, value in _trainable(term).items()
            if id(value) not in own
        }
    return found


def _own_names(term: Regularizer) -> list[str]:
    """Names of the parameters that a regulariser's own optimiser moves, in its order."""
    names = {id(value): name for name, value in term.named_parameters()}
    return [names[id(value)] for value in term.own_parameters()]


def load_strictly(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Copy weights into a model after checking every name, shape, dtype and value.

    Raises:
        CheckpointError: names the first tensor that doesn't fit; the model is unchanged.
    """
    check_tensors("weights", tensors, model.state_dict())
    model.load_state_dict(tensors)
