"""The runs of a notebook: what is published or done here is used, what is missing is trained."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data import pictures
from ..device import resolve_device
from ..errors import unknown
from ..evaluation import Protocol
from ..folders import home
from ..models import DiffusionTransformer
from ..models.checkpoints import load_model_file, save_model
from ..sampling import sample
from ..spec import RunSpec
from ..store import (
    Evaluations,
    Record,
    at_every_step,
    published,
    record_key,
    records,
    run_folder,
    select,
)
from ..training import load_model, train
from .profiles import Profile, profile
from .runner import Job, complete_jobs

if TYPE_CHECKING:
    import pandas as pd

SOURCES = ("both", "published", "runs")
Wanted = RunSpec | tuple[RunSpec, Sequence[Protocol]]


def seeds_of(profile_name: str, num_seeds: int = 0) -> tuple[int, ...]:
    """Training seeds 0 to ``num_seeds`` − 1; with 0, all that are published, or seed 0 where none is."""
    if num_seeds:
        return tuple(range(num_seeds))
    return tuple(sorted({record["seed"] for record in published(profile_name)})) or (0,)


def evaluations(
    runs: Iterable[Wanted], profile_name: str, *, source: str = "both"
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Two tables with a row per evaluation of these runs: what counts, and what this machine adds to look at.

    ``final`` marks a run's end; see ``results.table`` for the other columns.

    Args:
        runs: specifications; of ``(spec, protocols)`` the end is evaluated under these protocols, instead of
            every milestone and the end under the profile's.
        profile_name: whose protocol evaluates, and whose published results count.
        source: ``"published"``: the first table holds the published results, and of a setting and length that
            isn't there at all, the first seed, trained here; the second is empty. ``"both"``: the same, and
            the second holds what this machine has finished of these runs. ``"runs"``: the first holds this
            machine's runs alone, all seeds trained; the second is empty.

    Returns:
        Both with the same columns.

    Raises:
        ConfigError: unknown source.
        RunFailedError: a run failed.
    """
    from ..results import table  # pandas is of the notebooks' extra, and no training needs it

    runs = list(runs)
    found = records_of(runs, profile_name, source=source)
    jobs = jobs_of(runs, profile(profile_name))
    here = records_here(runs, profile_name) if source == "both" else []
    ends = {(spec.fingerprint, spec.num_steps) for spec, _ in jobs}
    whole = table([*found, *here])
    if whole.empty:
        return whole, whole
    whole["final"] = [key in ends for key in zip(whole.fingerprint, whole.step, strict=True)]
    first = len(whole) - len(here)
    return whole[:first], whole[first:].reset_index(drop=True)


def records_of(runs: Iterable[Wanted], profile_name: str, *, source: str = "published") -> list[Record]:
    """The records of the first table, for the long tables of blocks and levels."""
    if source not in SOURCES:
        raise unknown("source", source, SOURCES)
    row, pool = profile(profile_name), published(profile_name) if source != "runs" else []
    wanted = {_key(*job): job for job in jobs_of(runs, row)}
    lacking = lacking_of(wanted.values(), pool, every=source == "runs")
    complete_jobs(lacking)
    trained, there = {_key(*job) for job in lacking}, _by_run(pool)
    found: list[Record] = []
    for key, job in wanted.items():
        found += records(*job) if key in trained else _published(there, *job)
    return _once(found)


def records_here(runs: Iterable[Wanted], profile_name: str) -> list[Record]:
    """The records of the second table with ``"both"``: what this machine has finished beside the first."""
    jobs = jobs_of(runs, profile(profile_name))
    first = {_key(*job) for job in lacking_of(jobs, published(profile_name))}
    return _once(record for job in jobs if _key(*job) not in first for record in records(*job))


def jobs_of(runs: Iterable[Wanted], row: Profile) -> list[Job]:
    """Each run with its evaluations."""
    return [_job(each, row) for each in runs]


def lacking_of(jobs: Iterable[Job], pool: list[Record], *, every: bool = False) -> list[Job]:
    """Of each setting and length that no seed of is in the pool, the first; with ``every`` all jobs."""
    settings: dict[tuple[str, int, Evaluations], list[Job]] = {}
    for spec, how in jobs:
        settings.setdefault((spec.replace(seed=0).fingerprint, spec.num_steps, how), []).append((spec, how))
    there, lacking = _by_run(pool), []
    for same in settings.values():
        if every:
            lacking += same
        elif not any(_published(there, *job) for job in same):
            lacking += same[:1]
    return lacking


def network(spec: RunSpec, profile_name: str, *, device: str = "auto") -> DiffusionTransformer:
    """The trained network of a run, with the weights that the profile samples: published, or trained here.

    A few small networks of the published runs are committed, in half precision, so that pictures can be drawn
    where nothing was trained. Of any other run the one on this machine is taken, and trained if need be.

    Args:
        spec: of the run; its end is meant.
        profile_name: whose published networks count, and which average of the weights.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``...

    Raises:
        CheckpointError: a published file is damaged.
        RunFailedError: training failed.
    """
    path = network_path(spec, profile_name)
    if path.exists():
        return load_model_file(path).to(resolve_device(device))
    train(spec, run_folder(spec))
    weights = profile(profile_name).weights
    return load_model(run_folder(spec), step=spec.num_steps, weights=weights, device=device)


def samples_of(
    spec: RunSpec, profile_name: str, count: int, *, guidance: float = 1.0, progress: bool = True
) -> tuple[Tensor, Tensor]:
    """What the network of a run draws: sample i has seed i, and is asked for class i modulo their number.

    Args:
        spec: of the run.
        profile_name: whose sampler draws; see ``network``.
        count: of samples.
        guidance: of the sampler; 1 is none.
        progress: show a bar.

    Returns:
        Pictures (count, c, h, w) in [−1, 1], of latents what they decode to; and the classes asked for.

    Raises:
        CheckpointError, RunFailedError: as ``network``.
        ConfigError, DataError: the autoencoder of latents is not there, or cannot be loaded.
    """
    model, how = network(spec, profile_name), profile(profile_name).protocol_of(spec.objective.kind)
    asked = torch.arange(count) % model.config.num_classes
    config = how.sampler.replace(guidance=guidance)
    images = sample(model, range(count), asked, config, batch_size=125, progress=progress)
    return pictures(images, spec.data), asked


def network_path(spec: RunSpec, profile_name: str) -> Path:
    """Where the published network of a run lies."""
    return network_folder(profile_name) / _network_file(spec.fingerprint, spec.num_steps)


def network_folder(profile_name: str) -> Path:
    """Where the published networks of a profile lie."""
    return home() / "figures" / profile_name / "weights"


def _network_file(fingerprint: str, step: int) -> str:
    return f"{fingerprint}-{step}.safetensors"


def published_networks(profile_name: str) -> list[RunSpec]:
    """The runs whose networks are published, as their published results describe them.

    Raises:
        StorageError: the published results were edited.
    """
    found = {}
    for record in published(profile_name):
        values = {**record["spec"], "name": record["name"], "num_steps": record["step"]}
        if (network_folder(profile_name) / _network_file(record["fingerprint"], record["step"])).exists():
            found[record["fingerprint"], record["step"]] = RunSpec.parse(values)
    return list(found.values())


def publish_network(spec: RunSpec, profile_name: str) -> Path:
    """Add a run's network to the published ones, in half precision.

    Raises:
        CheckpointError: it isn't trained to its end on this machine.
    """
    weights, path = profile(profile_name).weights, network_path(spec, profile_name)
    model = load_model(run_folder(spec), step=spec.num_steps, weights=weights)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(model.half(), path, run=spec.run_id, step=spec.num_steps, weights=weights)
    return path


def _job(each: Wanted, row: Profile) -> Job:
    if isinstance(each, tuple):
        spec, protocols = each
        return spec, tuple((spec.num_steps, protocol) for protocol in protocols)
    return each, at_every_step(each, row.protocol_of(each.objective.kind))


def _key(spec: RunSpec, how: Evaluations) -> tuple[str, int, Evaluations]:
    return spec.fingerprint, spec.num_steps, how


def _once(found: Iterable[Record]) -> list[Record]:
    return list({record_key(record): record for record in found}.values())


def _by_run(pool: list[Record]) -> dict[str, list[Record]]:
    """Fingerprint → records."""
    found: dict[str, list[Record]] = {}
    for record in pool:
        found.setdefault(record["fingerprint"], []).append(record)
    return found


def _published(there: dict[str, list[Record]], spec: RunSpec, how: Evaluations) -> list[Record]:
    """Published records of a run, if all are there."""
    found: list[Record] = []
    for step, protocol in how:
        found += select(
            there.get(spec.fingerprint, []), spec.replace(num_steps=step, milestones=()), protocol
        )
    return found if len(found) == len(how) else []
