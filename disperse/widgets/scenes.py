"""Samples for a gallery: made run by run, kept while there is room, and interruptible."""

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data import ImageSet, load_data
from ..errors import ConfigError, DisperseError
from ..models import config_of
from ..sampling import Trajectory, trajectory
from ..spec import RunSpec
from .settings import GallerySettings
from .sources import Sources, loaded

FRAMES = 13  # of a trajectory: as many as one can tell apart
ROOM = 64 * 2**20  # bytes of kept trajectories
ROWS = 4096  # training images that are compared at once
OnProgress = Callable[[float], None]


class Cancelled(DisperseError):
    """Whoever asked for samples no longer wants them."""


@dataclass(frozen=True)
class Scene:
    """What a gallery shows.

    Attributes:
        settings: that made it.
        specs: of the runs, left and right.
        ways: trajectory of each, on the same noise.
        labels (Tensor): classes asked for, shape (n,).
    """

    settings: GallerySettings
    specs: tuple[RunSpec, ...]
    ways: tuple[Trajectory, ...]
    labels: Tensor

    @property
    def num_frames(self) -> int:
        """Of each way."""
        return len(self.ways[0].states)

    def images(self, frame: int = -1, *, ends: bool = False) -> tuple[Tensor, ...]:
        """Of each run the states x_t of a frame, or the images that they are headed for: (n, c, h, w)."""
        return tuple((way.ends if ends else way.states)[frame] for way in self.ways)


class Scenes:
    """Makes scenes and keeps the trajectories that were used last, at most ``room`` bytes of them.

    Args:
        runs: that can be asked for.
        room: in bytes.
    """

    def __init__(self, runs: Sources, room: int = ROOM):
        self.runs, self.room = runs, room
        self.kept: OrderedDict[GallerySettings, Trajectory] = OrderedDict()
        self.lock = threading.Lock()

    def at_hand(self, settings: GallerySettings) -> Scene | None:
        """The scene, if nothing of it has to be sampled or read; None otherwise."""
        with self.lock:
            own = [settings.alone(run) for run in settings.runs]
            if not all(each in self.kept for each in own):
                return None
            for each in own:
                self.kept.move_to_end(each)
            return self._scene(settings, [self.kept[each] for each in own])

    def make(self, settings: GallerySettings, on_progress: OnProgress = lambda share: None) -> Scene:
        """The scene, sampled as far as it isn't kept.

        Args:
            settings: what is wanted.
            on_progress: called with the share that is done; may raise ``Cancelled`` to stop.

        Raises:
            StorageError, CheckpointError: a run or its checkpoint is missing.
            ConfigError: settings that don't fit the model.
        """
        for run in settings.runs:
            if run not in self.runs:
                raise ConfigError(f"settings.runs: {run!r} is none of {', '.join(self.runs)}")
        if len({self.runs[run].spec.objective.kind for run in settings.runs}) > 1:
            raise ConfigError("runs: expected two of one system, since they share a sampler")
        ways: list[Trajectory] = []
        for number, run in enumerate(settings.runs):

            def progress(share: float, number: int = number) -> None:
                on_progress((number + share) / len(settings.runs))

            ways.append(self._way(settings.alone(run), progress))
        return self._scene(settings, ways)

    def _scene(self, settings: GallerySettings, ways: list[Trajectory]) -> Scene:
        specs = tuple(self.runs[run].spec for run in settings.runs)
        return Scene(settings, specs, tuple(ways), _labels(settings, specs[0]))

    def _way(self, settings: GallerySettings, on_progress: OnProgress) -> Trajectory:
        with self.lock:
            if settings in self.kept:
                self.kept.move_to_end(settings)
                return self.kept[settings]
        source = self.runs[settings.runs[0]]
        calls = settings.sampler.num_steps + FRAMES - 1

        def told(step: int, _: Tensor) -> None:
            on_progress(min((step + 1) / calls, 1.0))

        way = trajectory(
            loaded(source.path, settings.step, settings.weights), settings.seeds,
            _labels(settings, source.spec), settings.sampler, num_frames=FRAMES, on_step=told,
        )  # fmt: skip
        with self.lock:
            self.kept[settings] = way
            while len(self.kept) > 1 and sum(map(_size, self.kept.values())) > self.room:
                self.kept.popitem(last=False)
        return way


def _labels(settings: GallerySettings, spec: RunSpec) -> Tensor:
    seeds = torch.tensor(settings.seeds)
    return (
        seeds % config_of(spec).num_classes
        if settings.label is None
        else torch.full_like(seeds, settings.label)
    )


def _size(way: Trajectory) -> int:
    return way.states.nbytes + way.ends.nbytes


@functools.lru_cache(maxsize=2)
def training_images(data: str) -> ImageSet:
    """That a run learned from, in the range of samples.

    Raises:
        ConfigError: latents, which are no images.
    """
    found = load_data(data, "train")
    if not isinstance(found, ImageSet):
        raise ConfigError(f"{data}: latents have no nearest images; decode them first")
    return found


def nearest_training_images(image: Tensor, data: str, num: int = 5) -> tuple[Tensor, Tensor, list[float]]:
    """The training images that are nearest to a sample in pixels.

    Args:
        image (Tensor): shape (c, h, w), in [−1, 1].
        data: that the run was trained on.
        num: how many.

    Returns:
        Images (num, c, h, w), labels (num,), and root mean square differences of the pixels, nearest first.
    """
    found = training_images(data)
    parts = [  # a large set is bytes: never all of it as floats
        (found.read(slice(start, start + ROWS)) - image.clamp(-1, 1)).flatten(1).square().mean(1).sqrt()
        for start in range(0, len(found), ROWS)
    ]
    difference = torch.cat(parts)
    order = difference.argsort(stable=True)[:num]
    return found.read(order), found.labels[order], difference[order].tolist()
