"""The batches of an ensemble: data, times and noise of every member, stacked on a leading axis.

``keyed`` draws are those of ``train``, member by member on the CPU: for comparison, and slow.

``device`` draws are made on the device, ``CHUNK`` steps of a member at a time, so that nothing waits for the
CPU. One generator is seeded anew for each member, chunk and purpose, by the SHA-256 of ("ensemble-1",
purpose, seed, chunk): a member's numbers depend on its own seed alone, whoever trains beside it. Their laws
are those of ``train``, by the same code; the numbers are PyTorch's for that kind of device. The order of the
data is that of ``train``. PyTorch's generator for the CPU keeps 32 bits of its seed: CPU runs are rehearsals.
"""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from ..data import ImageSet, batch_indices, load_data
from ..data.batches import indices_of_steps
from ..data.sets import flipped, mirrored
from ..errors import ConfigError
from ..objectives import Draws, Objective, View
from ..rng import drawn_by
from ..spec import RunSpec

T = TypeVar("T")
CHUNK = 50  # steps whose draws are made at a time; part of the engine's numbers


@dataclass(frozen=True)
class Batch:
    """One step of every member.

    Attributes:
        x (Tensor): data, shape (members, b, c, h, w).
        y (Tensor): labels, shape (members, b).
        draws: times, noise and dropped labels, (members, b, ...) each.
        seconds: of a view and its members (first, past the last), the draws of the second view.
    """

    x: Tensor
    y: Tensor
    draws: Draws
    seconds: dict[tuple[View, int, int], Draws]


class Source:
    """Where batches come from.

    Args:
        specs: of the members.
        objective: of all of them.
        views: (view, first, past the last) of members that need a second view.
        device: where batches go.

    Raises:
        ConfigError: the data are no images in memory.
    """

    def __init__(
        self,
        specs: list[RunSpec],
        objective: Objective,
        views: list[tuple[View, int, int]],
        device: torch.device,
    ):
        self.specs, self.objective, self.views, self.device = specs, objective, views, device
        self.sets: dict[str, ImageSet] = {}
        for name in dict.fromkeys(spec.data for spec in specs):
            found = load_data(name)
            if not isinstance(found, ImageSet):
                raise ConfigError(
                    f"data = {name}: an ensemble trains on images; latents go to `disperse train`"
                )
            self.sets[name] = found

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the noise of one batch, (b, c, h, w)."""
        return (self.specs[0].batch_size, *next(iter(self.sets.values())).shape)

    def batch(self, step: int) -> Batch:
        """The batch of every member at a step."""
        raise NotImplementedError


class KeyedSource(Source):
    """The draws of ``train`` for each member."""

    def batch(self, step: int) -> Batch:
        """See ``Source``."""
        pixels, draws = [], []
        for spec in self.specs:
            data = self.sets[spec.data]
            index = batch_indices(len(data), spec.batch_size, spec.seed, step)
            draws.append(self.objective.draw(self.shape, spec.seed, step))
            pixels.append(data.batch(index, spec.seed, step, flip=spec.flip))
        x, y = (torch.stack(parts).to(self.device) for parts in zip(*pixels, strict=True))
        seconds = {
            (view, first, last): _stacked(
                [
                    self.objective.second_view(draws[row], view, self.specs[row].seed, step)
                    for row in range(first, last)
                ]
            ).to(self.device)
            for view, first, last in self.views
        }
        return Batch(x, y, _stacked(draws).to(self.device), seconds)


class DeviceSource(Source):
    """Draws made on the device, a chunk of steps at a time; see the module."""

    def __init__(self, *arguments: object):
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.generator = torch.Generator(self.device)
        self.images = torch.cat([data.images for data in self.sets.values()]).to(self.device)
        self.labels = torch.cat([data.labels for data in self.sets.values()]).to(self.device)
        self.first: dict[str, int] = {}  # row of each set in those
        for name in self.sets:
            self.first[name] = sum(len(self.sets[before]) for before in self.first)
        self.chunk = -1

    def batch(self, step: int) -> Batch:
        """See ``Source``."""
        chunk, position = divmod(step, CHUNK)
        if chunk != self.chunk:
            self._draw(chunk)
        rows = slice(position * self.shape[0], (position + 1) * self.shape[0])
        index = self.index[:, rows]
        x = ImageSet(self.images, self.labels).read(index)
        if self.flips is not None:
            x = mirrored(x.flatten(0, 1), self.flips[:, rows].flatten()).unflatten(0, index.shape)
        seconds = {key: _part(draws, rows) for key, draws in self.seconds.items()}
        return Batch(x, self.labels[index], _part(self.draws, rows), seconds)

    def _draw(self, chunk: int) -> None:
        """Draws of a chunk, once for each seed: members that share it share them, as single runs do."""
        self.chunk = chunk
        b, *image = self.shape
        whole, seeds = (CHUNK * b, *image), [spec.seed for spec in self.specs]

        @functools.cache
        def index(data: str, seed: int) -> Tensor:
            rows = indices_of_steps(len(self.sets[data]), b, seed, chunk * CHUNK, CHUNK)
            return rows.flatten() + self.first[data]

        @functools.cache
        def first(seed: int) -> Draws:
            return self._keyed("first", seed, lambda: self.objective.draw(whole))

        @functools.cache
        def mirror(seed: int) -> Tensor:
            return self._keyed("flip", seed, lambda: flipped(whole[0]))

        @functools.cache
        def second(seed: int, view: View) -> Draws:
            return self._keyed("second", seed, lambda: self.objective.second_view(first(seed), view))

        self.index = torch.stack([index(spec.data, spec.seed) for spec in self.specs]).to(self.device)
        self.draws = _stacked([first(seed) for seed in seeds])
        flip = self.specs[0].flip
        self.flips = torch.stack([mirror(seed) for seed in seeds]) if flip else None
        self.seconds = {
            (view, start, stop): _stacked([second(seed, view) for seed in seeds[start:stop]])
            for view, start, stop in self.views
        }

    def _keyed(self, purpose: str, seed: int, draw: Callable[[], T]) -> T:
        text = f"ensemble-1\x1f{purpose}\x1f{seed}\x1f{self.chunk}"
        words = hashlib.sha256(text.encode()).digest()[:8]
        self.generator.manual_seed(int.from_bytes(words, "little") >> 1)
        with drawn_by(self.generator):
            return draw()


def source(
    draws: str,
    specs: list[RunSpec],
    objective: Objective,
    views: list[tuple[View, int, int]],
    device: torch.device,
) -> Source:
    """The source of that name, ``"keyed"`` or ``"device"``."""
    return (DeviceSource if draws == "device" else KeyedSource)(specs, objective, views, device)


def _stacked(draws: list[Draws]) -> Draws:
    second = [draw.r for draw in draws if draw.r is not None]
    t, eps, dropped = (torch.stack([getattr(d, name) for d in draws]) for name in ("t", "eps", "dropped"))
    return Draws(t, eps, dropped, torch.stack(second) if second else None)


def _part(draws: Draws, rows: slice) -> Draws:
    r = None if draws.r is None else draws.r[:, rows]
    return Draws(draws.t[:, rows], draws.eps[:, rows], draws.dropped[:, rows], r)
