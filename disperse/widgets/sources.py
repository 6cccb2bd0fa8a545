"""Runs whose networks can be shown: those of the store, and published networks where nothing was trained."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import StorageError
from ..experiments import find_run, home, profile, published_networks, run_folder
from ..experiments.runs import network_path
from ..models import DiffusionTransformer
from ..models.checkpoints import load_model_file
from ..spec import RunSpec
from ..training import load_weights, read_spec
from ..training.checkpoint import saved_steps


class NoNetworkError(StorageError):
    """Nothing was trained here, and no network is published."""


@dataclass(frozen=True)
class Source:
    """A run, and which of its networks there are.

    Attributes:
        path: folder of the run, or file of a published network.
        spec: of the run.
        steps: whose networks there are, the newest last.
        weights: averages that there are, and ``"raw"`` last.
    """

    path: Path
    spec: RunSpec
    steps: tuple[int, ...]
    weights: tuple[str, ...]


Sources = Mapping[str, Source]  # by the name of the run's folder


def source_of(run: Path | RunSpec) -> Source:
    """The networks of a run: of its folder, or the published one where it wasn't trained to its end here.

    Raises:
        NoNetworkError: there is none.
        StorageError: the folder can't be read.
        ConfigError: the run is of another version.
    """
    folder = run if isinstance(run, Path) else run_folder(run)
    steps = tuple(saved_steps(folder / "checkpoints"))
    if isinstance(run, RunSpec) and run.num_steps not in steps:
        for row in _published_rows():
            if (path := network_path(run, row)).exists():
                return Source(path, run, (run.num_steps,), (profile(row).weights,))
    if steps:
        spec = read_spec(folder)
        return Source(folder, spec, steps, (*spec.ema, "raw"))
    raise NoNetworkError(f"{folder}: no network; none was trained here, and none is published")


def has_network(spec: RunSpec) -> bool:
    """Whether the network at a run's end was trained here or is published."""
    try:
        return spec.num_steps in source_of(spec).steps
    except NoNetworkError:
        return False


def source_named(name: str) -> Source:
    """The same by the name of the run's folder, or a part of it; of a published network by its fingerprint.

    Raises:
        StorageError: no run has that name, or several do.
        ConfigError: the run is of another version.
    """
    try:
        return source_of(find_run(name))
    except StorageError:
        for spec in (spec for row in _published_rows() for spec in published_networks(row)):
            if spec.fingerprint == name.rpartition("-")[2]:
                return source_of(spec)
        raise


def _published_rows() -> list[str]:
    """Profiles with published networks."""
    return sorted(path.parent.name for path in (home() / "figures").glob("*/weights"))


@functools.lru_cache(maxsize=8)
def loaded(path: Path, step: int, weights: str) -> DiffusionTransformer:
    """The network of a source; the last few are kept."""
    if path.is_file():
        return load_model_file(path)
    return load_weights(path, read_spec(path), step, weights, "cpu")
