"""Many runs trained as one: weights of all members stacked, one forward and one backward pass a step.

A member is a run of its own: seed, regularisers, learning rate and part of the data are its own; the shape of
its network, objective, batch and averages are those of all. Member m of M has the loss of ``train``,
``E[diffusion loss] + Σ λ · regulariser``, and the sum over members is differentiated at once: no gradient
goes from one to another. The network is one call for all; a regulariser is one for members that share
its settings but λ. AdamW and the averages work entry by entry, on stacked tensors as on others.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap

from ..device import autocast
from ..models import config_of
from ..models.stacked import StackedNetwork
from ..objectives import Draws, ForwardPass, stacked_objective
from ..regularizers import Regularizer, block_indices
from ..spec import RunSpec
from . import ema
from .ensemble_draws import Source, source
from .ensemble_members import Group, check_members, kind, runs_of, stack_order, views_of
from .trainer import check_fit, learning_rate


class Ensemble:
    """Members of one stack after ``step`` updates.

    Args:
        specs: of the members, in any order; ``specs`` afterwards is the order of the stack.
        device: where everything lies.
        draws: ``"device"`` (engine ``"ensemble-1"``) or ``"keyed"`` (engine ``"single"``, to rounding).

    Attributes:
        parameters: trained weights, (members, ...) each; ``averages`` the same by name of the average.
        first_bad (Tensor): step of a member's first loss or gradient that wasn't finite, or −1; (members,).

    Raises:
        ConfigError: members that can't be stacked, another engine than that of the draws, or as ``train``.
    """

    def __init__(self, specs: list[RunSpec], device: torch.device, *, draws: str = "device"):
        check_members(specs, draws)
        self.specs = specs = sorted(specs, key=stack_order)
        self.device, self.step, first = device, 0, specs[0]
        config = config_of(first)
        self.network = StackedNetwork(config, first.objective, device)
        self.objective = stacked_objective(
            first.objective, config.num_classes, first.batch_size, label_drop=first.label_drop
        )
        self.groups = [Group(rows, members, config.depth, device) for rows, members in runs_of(specs, kind)]
        self.views = [
            (view, rows[0], rows[1])
            for rows, members in runs_of(specs, lambda spec: repr(views_of(spec)))
            for view in views_of(members[0])
        ]
        self.taps = tuple(
            sorted(
                {*block_indices("quarter", config.depth)}
                | {block for group in self.groups for term in group.terms for block in term.blocks}
            )
        )
        self.source: Source = source(draws, specs, self.objective, self.views, device)
        for spec in specs:
            check_fit(spec, self.source.sets[spec.data], config)
        self.parameters = {
            name: value.requires_grad_()
            for name, value in self.network.initial([spec.seed for spec in specs], device).items()
        }
        self.averages = {
            name: {key: value.detach().clone() for key, value in self.parameters.items()}
            for name in first.ema
        }
        self.rates = runs_of(specs, lambda spec: repr(spec.optimizer.lr))
        self.optimizer: torch.optim.Optimizer | None = None
        self.first_bad = torch.full((len(specs),), -1, dtype=torch.int64, device=device)
        self.rows: list[tuple[int, dict[str, Tensor]]] = []

    def train(self, until: int, *, enough: Callable[[], bool] = lambda: False) -> None:
        """Go on to step ``until``, or until ``enough()``, which is asked before each step."""
        while self.step < until and not enough():
            self.update()

    def update(self) -> None:
        """One step of every member; nothing here waits for the device."""
        spec, step = self.specs[0], self.step
        batch = self.source.batch(step)
        with autocast(self.device, spec.precision):
            first = self._forward(self.parameters, batch.x, batch.y, batch.draws, losses=True)
            seconds = {}
            for key, draws in batch.seconds.items():
                rows = slice(*key[1:])
                weights = {name: value[rows] for name, value in self.parameters.items()}
                seconds[key] = self._forward(weights, batch.x[rows], batch.y[rows], draws)
        diffusion = first["losses"][""].mean(dim=1)
        terms = [self._terms(group, first, seconds) for group in self.groups]
        parts = []
        for group, values in zip(self.groups, terms, strict=True):
            own = diffusion[group.first : group.last]
            parts.append(own + (group.lam(step) * values).sum(dim=0) if len(values) else own)
        loss = torch.cat(parts)
        for value in self.parameters.values():
            value.grad = None
        loss.sum().backward()
        norm = self._gradient_norm()
        bad = ~torch.isfinite(loss.detach() + norm)
        self.first_bad = torch.where(bad & (self.first_bad < 0), step, self.first_bad)
        self._step_optimizer()
        self.step += 1
        for name, average in self.averages.items():
            now = [value.detach() for value in self.parameters.values()]
            ema.update(average.values(), now, ema.decay(name, self.step))
        if self.step % spec.log_interval == 0:
            self._log(loss, diffusion, norm, terms, first)

    def weights(self, row: int, name: str = "raw") -> dict[str, Tensor]:
        """Weights of one member, ``"raw"`` or of an average, as of a run's checkpoint, on the CPU."""
        stack = self.parameters if name == "raw" else self.averages[name]
        own = {key: value[row].detach().cpu() for key, value in stack.items()}
        return {**{key: value.cpu() for key, value in self.network.frozen.items()}, **own}

    def log(self, row: int) -> list[dict[str, float]]:
        """Lines of one member as in ``metrics.jsonl``, but for diagnostics of its terms."""
        kept = [*self.rows[0][1]] if self.rows else []
        others = {f"regularizer_{n}" for n in range(len(self.specs[row].regularizers), len(kept))}
        return [
            {"step": step} | {name: values[name][row].item() for name in kept if name not in others}
            for step, values in self.rows
        ]

    def _forward(
        self, weights: dict[str, Tensor], x: Tensor, y: Tensor, draws: Draws, *, losses: bool = False
    ) -> dict[str, Any]:
        """The pass of some members, with or without its losses; members first in every tensor."""
        second = () if draws.r is None else (draws.r,)

        def member(weights: dict[str, Tensor], x: Tensor, y: Tensor, *drawn: Tensor) -> dict[str, Any]:
            network = self.network.member(weights)
            forward = self.objective.forward(network, x, y, Draws(*drawn), taps=self.taps)
            found = self.objective.losses(network.plain, forward) if losses else None
            return {
                "losses": {} if found is None else {"": found.losses, **found.parts},
                "features": forward.features,
                "level": forward.level,
                "rest": (forward.x, forward.x_t, forward.y, forward.labels, forward.prediction, drawn),
            }

        return vmap(member)(weights, x, y, draws.t, draws.eps, draws.dropped, *second)

    def _terms(self, group: Group, first: dict[str, Any], seconds: dict[Any, dict[str, Any]]) -> Tensor:
        """Values of a group's terms, shape (terms, members)."""
        values = []
        for term in group.terms:
            again = None
            for (view, start, stop), passed in seconds.items():
                if view == term.view and start <= group.first and group.last <= stop:
                    again = _rows(passed, group.first - start, group.last - start)
            values.append(_value(term, _rows(first, group.first, group.last), again))
        return torch.stack(values) if values else torch.empty(0, group.last - group.first)

    def _gradient_norm(self) -> Tensor:
        """Length of each member's gradient, shape (members,)."""
        gradients = [value.grad for value in self.parameters.values() if value.grad is not None]
        norms = [torch.linalg.vector_norm(grad.flatten(1), dim=1) for grad in gradients]
        return torch.linalg.vector_norm(torch.stack(norms), dim=0)

    def _step_optimizer(self) -> None:
        """AdamW; members of one learning rate are rows of the stack, a view of weights and gradients."""
        if self.optimizer is None:
            settings = self.specs[0].optimizer
            self.views_of = [
                [value.detach()[slice(*rows)] for value in self.parameters.values()] for rows, _ in self.rates
            ]
            self.optimizer = torch.optim.AdamW(
                [{"params": views} for views in self.views_of],
                lr=settings.lr,
                betas=(settings.beta1, settings.beta2),
                weight_decay=settings.weight_decay,
                fused=self.device.type in ("cpu", "cuda"),
            )
        for (rows, members), views, options in zip(
            self.rates, self.views_of, self.optimizer.param_groups, strict=True
        ):
            options["lr"] = learning_rate(members[0], self.step)
            for view, value in zip(views, self.parameters.values(), strict=True):
                view.grad = None if value.grad is None else value.grad[slice(*rows)]
        self.optimizer.step()

    def _log(
        self, loss: Tensor, diffusion: Tensor, norm: Tensor, terms: list[Tensor], first: dict[str, Any]
    ) -> None:
        probe = first["features"][block_indices("quarter", self.network.config.depth)[0]]
        values = {
            "loss": loss,
            "diffusion": diffusion,
            "grad_norm": norm,
            "feature_rms": probe.float().square().flatten(1).mean(dim=1).sqrt(),
            **{name: part.mean(dim=1) for name, part in first["losses"].items() if name},
        }
        for number in range(max(len(group.terms) for group in self.groups)):
            column = torch.full_like(diffusion, torch.nan)
            for group, found in zip(self.groups, terms, strict=True):
                if number < len(group.terms):
                    column[group.first : group.last] = found[number].detach()
            values[f"regularizer_{number}"] = column
        self.rows.append((self.step, {name: value.detach().float() for name, value in values.items()}))


def _value(term: Regularizer, first: dict[str, Any], second: dict[str, Any] | None) -> Tensor:
    """A term's value for each of its members, shape (members,)."""

    def value(first: dict[str, Any], second: dict[str, Any] | None = None) -> Tensor:
        return term(_as_pass(first), None if second is None else _as_pass(second)).loss

    return vmap(value)(first) if second is None else vmap(value)(first, second)


def _as_pass(found: dict[str, Any]) -> ForwardPass:
    x, x_t, y, labels, prediction, draws = found["rest"]
    return ForwardPass(x, x_t, y, labels, Draws(*draws), found["level"], prediction, found["features"])


def _rows(found: Any, first: int, last: int) -> Any:
    """Those rows of every tensor in nested dicts and tuples."""
    if isinstance(found, Tensor):
        return found[first:last]
    if isinstance(found, dict):
        return {key: _rows(value, first, last) for key, value in found.items()}
    return tuple(_rows(value, first, last) for value in found)
