"""What every objective shares: the randomness of a batch, one forward pass, one loss per sample.

An objective noises a batch (``corrupt``), lets the network read it in one pass that carries gradients
(``forward``), and compares (``losses``). A regulariser reads that pass, and asks for a second one where
it needs two views.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from ..errors import ConfigError
from ..rng import normal, uniform
from ..spec import OBJECTIVE_SPECS, ObjectiveSpec, enter

Network = Callable[..., Any]
Times = tuple[Tensor, Tensor | None]
Predict = Callable[..., Tensor]  # (x, t, r=None) -> prediction; t and r are numbers for all rows
Velocity = Callable[[Tensor, float], Tensor]
OnStep = Callable[[int, Tensor], None]


@dataclass(frozen=True)
class Draws:
    """The randomness of one batch.

    Attributes:
        t (Tensor): times as the network gets them, shape (b,): floats in [0, 1], or integers (DiT).
        eps (Tensor): noise, shape (b, c, h, w).
        dropped (Tensor): whose label is replaced by the null class, shape (b,), bool.
        r (Tensor): second condition of the network, shape (b,): times r ≤ t of MeanFlow, levels of
            Shortcut; None where it has one alone.
    """

    t: Tensor
    eps: Tensor
    dropped: Tensor
    r: Tensor | None = None

    def to(self, device: torch.device) -> "Draws":
        """The same on another device."""
        r = None if self.r is None else self.r.to(device)
        return Draws(self.t.to(device), self.eps.to(device), self.dropped.to(device), r)

    def rows(self, rows: slice | Tensor) -> "Draws":
        """Those of some samples, by slice or index, such as those that one process trains on."""
        r = None if self.r is None else self.r[rows]
        return Draws(self.t[rows], self.eps[rows], self.dropped[rows], r)


@dataclass(frozen=True)
class ForwardPass:
    """One pass that carries gradients, for losses and regularisers to read.

    Attributes:
        x, x_t (Tensor): data and network input, shape (b, c, h, w).
        y (Tensor): labels as the network got them (after label drop), shape (b,).
        labels (Tensor): labels of the data, shape (b,).
        draws: times and noise.
        level (Tensor): noise level of each sample, shape (b,), in [0, 1], 1 = pure noise.
        prediction (Tensor): network output, shape (b, c', h, w).
        features: block index → that block's output, shape (b, n, d).
    """

    x: Tensor
    x_t: Tensor
    y: Tensor
    labels: Tensor
    draws: Draws
    level: Tensor
    prediction: Tensor
    features: dict[int, Tensor]


@dataclass(frozen=True)
class Losses:
    """One loss per sample, shape (b,), and parts of it worth logging, each of shape (b,) too."""

    losses: Tensor
    parts: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class IndependentNoise:
    """A second view with noise and noise level of its own."""


@dataclass(frozen=True)
class RestrictedNoise:
    """A second view with noise of its own at nearly the same level.

    Attributes:
        max_dt: largest difference of the time, as a share of its range.
    """

    max_dt: float


View = IndependentNoise | RestrictedNoise


@dataclass(frozen=True)
class Steps:
    """An objective's own way from noise to an image, one network call a step.

    Attributes:
        times: number of steps → times of the states as the network counts, noise first; errors as it likes.
        run: (predict, x, times, on_step) → image.
    """

    times: Callable[[int], list[float]]
    run: Callable[[Predict, Tensor, Sequence[float], OnStep | None], Tensor]


class Objective(ABC):
    """What a system learns; an objective is one file, entered by ``@objective``.

    Args:
        spec: its settings.
        num_classes: index of the null class.
        label_drop: probability in [0, 1] that a label is replaced by the null class.

    Attributes:
        Spec: class of its settings; says what it asks of the network.
        solvers: that fit it → default number of steps; the default solver first.
        steps: solvers of its own among them.
        cites: BibTeX key → entry of what it is built on.
        cost: forward passes' worth of a training step's work, over those of a plain step.
        teacher: decay of an average of the weights that ``losses`` gets as ``teacher``; None without one.

    Raises:
        ConfigError: label_drop is out of range.
    """

    Spec: ClassVar[type[ObjectiveSpec]]
    solvers: ClassVar[Mapping[str, int]] = {"heun": 25, "euler": 50, "dopri5": 1}
    steps: ClassVar[Mapping[str, Steps]] = {}
    cites: ClassVar[Mapping[str, str]] = {}
    cost: ClassVar[float] = 1.0
    teacher: float | None = None

    def __init__(self, spec: Any, num_classes: int, *, label_drop: float = 0.1):
        number = isinstance(label_drop, (int, float)) and not isinstance(label_drop, bool)
        if not number or not 0 <= label_drop <= 1:
            raise ConfigError(f"label_drop = {label_drop!r}: expected a number from 0 to 1")
        self.spec = spec
        self.num_classes = num_classes
        self.label_drop = label_drop

    @abstractmethod
    def times(self, n: int, view: str, *key: str | int) -> Times:
        """Times t (and r) of n samples, shape (n,), drawn from streams named by ``view`` and ``key``."""

    @abstractmethod
    def near(self, times: Times, shift: Tensor) -> Times:
        """Times moved by ``shift``, a share of the range, and kept within it."""

    @abstractmethod
    def corrupt(self, x: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Data with noise of time t, the input of the network."""

    @abstractmethod
    def noise_level(self, t: Tensor) -> Tensor:
        """Time as the network gets it → noise level in [0, 1], 1 = pure noise."""

    @abstractmethod
    def time_of_noise_level(self, level: Tensor) -> Tensor:
        """Inverse of ``noise_level``."""

    @abstractmethod
    def losses(self, model: Network, forward: ForwardPass, *, teacher: Network | None = None) -> Losses:
        """One loss per sample of a forward pass.

        Args:
            model: for targets that need the network too.
            forward: the pass that carries gradients.
            teacher: the network with averaged weights, where the objective asks for it; else None.
        """

    def second_time(self, t: Tensor) -> Tensor | None:
        """The second condition that stands for "now", where the network has one: r = t of MeanFlow."""
        return None

    @classmethod
    def cited(cls, spec: Any) -> list[str]:
        """Keys of what a specification is built on."""
        return list(cls.cites)

    def measured(self) -> "Objective":
        """The objective whose error on held-out images is measured: against data and noise alone."""
        return self

    def interval(self, *, training: bool = False, sde_form: str | None = None) -> tuple[float, float]:
        """Times of the path between which a solver goes, noise at 0 and data at 1."""
        return 0.0, 1.0

    def network_time(self, t: float) -> float:
        """Time of the path, noise at 0 and data at 1 → time as the network counts."""
        return t

    def velocity_field(self, predict: Predict) -> Velocity:
        """dx/dt of a flow from noise at t = 0 to data at t = 1, from what the network predicts.

        Raises:
            ConfigError: the objective has no velocity.
        """
        raise ConfigError(f"solver: {self.spec.kind} has no velocity; use {' or '.join(self.solvers)}")

    @abstractmethod
    def predicted_end(self, predict: Predict, x: Tensor, t: float) -> Tensor:
        """Where a state (b, c, h, w) at time t, as the network counts, is headed: data, like x."""

    def draw(self, shape: tuple[int, ...], *key: str | int) -> Draws:
        """Times, noise and dropped labels for a batch of shape (b, c, h, w); keyed, on the CPU."""
        t, r = self.times(shape[0], "", *key)
        dropped = uniform(shape[:1], "label drop", *key) < self.label_drop
        return Draws(t, normal(shape, "eps", *key), dropped, r)

    def second_view(self, draws: Draws, view: View, *key: str | int) -> Draws:
        """Draws of a second view of the same samples; the dropped labels stay."""
        shape = tuple(draws.eps.shape)
        eps = normal(shape, "second eps", *key)
        if isinstance(view, RestrictedNoise):
            shift = view.max_dt * (2 * uniform(shape[:1], "second dt", *key) - 1)
            t, r = self.near((draws.t, draws.r), shift)
        else:
            t, r = self.times(shape[0], "second ", *key)
        return replace(draws, t=t, eps=eps, r=r)

    def forward(
        self, model: Network, x: Tensor, y: Tensor, draws: Draws, *, taps: tuple[int, ...] = ()
    ) -> ForwardPass:
        """Noise the batch, drop labels, and call the network once.

        Args:
            model: network ``model(x_t, t, y, taps=...)``.
            x (Tensor): data, shape (b, c, h, w), float.
            y (Tensor): labels, shape (b,).
            draws: of this batch, on the device of x.
            taps: blocks whose output is wanted.

        Raises:
            ConfigError: x is not of a float dtype, or the noise has another shape.
        """
        if not x.is_floating_point():
            raise ConfigError(f"x: expected a float dtype, got {x.dtype}; convert to the data range, [−1, 1]")
        check_shape("draws.eps", draws.eps, x.shape)
        dropped = torch.where(draws.dropped, self.num_classes, y)
        x_t = self.corrupt(x, draws.eps, draws.t)
        second = {} if draws.r is None else {"r": draws.r}
        output = model(x_t, draws.t, dropped, taps=taps, **second)
        prediction, features = (output.prediction, output.features) if taps else (output, {})
        return ForwardPass(x, x_t, dropped, y, draws, self.noise_level(draws.t), prediction, features)


def uniform_times(num_steps: int, low: float = 0.0, high: float = 1.0) -> list[float]:
    """Grid low = t_0 < … < t_n = high with equal steps."""
    return [low + (high - low) * (step / num_steps) for step in range(num_steps + 1)]


OBJECTIVES: dict[str, type[Objective]] = {}
Entered = TypeVar("Entered", bound=type[Objective])


def objective(cls: Entered) -> Entered:
    """Enter an objective under the kind of its specification: a class decorator.

    Raises:
        ConfigError: another objective has that name.
    """
    enter(cls, OBJECTIVES, OBJECTIVE_SPECS)
    return cls


def build_objective(spec: ObjectiveSpec, num_classes: int, *, label_drop: float = 0.0) -> Objective:
    """The objective of a specification.

    Args:
        spec: which, and its settings.
        num_classes: of the model; also the index of the null class.
        label_drop: probability in [0, 1] that a label is replaced by the null class.
    """
    return OBJECTIVES[spec.kind](spec, num_classes, label_drop=label_drop)


def check_shape(name: str, value: Tensor, expected: torch.Size) -> None:
    """Refuse what would be broadcast, or fail far from here."""
    if value.shape != expected:
        raise ConfigError(f"{name}: expected shape {tuple(expected)}, that of x, got {tuple(value.shape)}")


def per_sample(t: Tensor, like: Tensor) -> Tensor:
    """(b,) → (b, 1, ...), to stand against ``like`` of shape (b, ...)."""
    return t.view(-1, *[1] * (like.ndim - 1))


def draws_at(objective: Objective, x: Tensor, level: float, *key: str | int) -> Draws:
    """One noise level for all of x (b, c, h, w), keyed noise, no label dropped; on the device of x.

    Args:
        objective: whose times they are.
        x: images.
        level: noise level in [0, 1], 1 = pure noise.
        key: of the noise, the same for every model.
    """
    t = objective.time_of_noise_level(torch.full((len(x),), level, device=x.device))
    eps = normal(tuple(x.shape), *key).to(x.device)
    kept = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    return Draws(t, eps, kept, objective.second_time(t))
