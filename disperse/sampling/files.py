"""Samples on disk: shards of safetensors written as they come, one batch in memory, resumed by seed."""

import contextlib
import functools
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from .. import atomic, distributed
from ..errors import ConfigError, StorageError, check_count
from ..models import DiffusionTransformer
from .config import SamplerConfig
from .sampler import check_labels, prepare, sample_batch

_SHARD = re.compile(r"seeds_([0-9]{8,18})-([0-9]{8,18})\.safetensors")


class DamagedSamplesWarning(UserWarning):
    """A file of samples did not match the hash beside it and is made again."""


def shard_path(folder: Path, first: int, last: int) -> Path:
    """File of the samples with seeds ``first`` to ``last``; its SHA-256 lies beside it, as ``.sha256``."""
    return folder / f"seeds_{first:08d}-{last:08d}.safetensors"


def shards(folder: Path) -> dict[Path, range]:
    """Files that bear the name of a shard, by their seeds; whether they are whole is not looked at."""
    matches = ((path, _SHARD.fullmatch(path.name)) for path in folder.iterdir()) if folder.is_dir() else ()
    found = {path: range(int(match[1]), int(match[2]) + 1) for path, match in matches if match}
    return dict(sorted(found.items(), key=lambda entry: entry[1].start))


def finished_seeds(folder: Path) -> set[int]:
    """Seeds whose samples are on disk and whole."""
    return {seed for path, seeds in shards(folder).items() if damage(path) is None for seed in seeds}


def damage(shard: Path) -> str | None:
    """What is wrong with a shard's bytes; None if they are those of its ``.sha256``."""
    beside = shard.with_suffix(".sha256")
    try:
        said = beside.read_text(encoding="utf-8").split()
        found = atomic.sha256_file(shard)
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError) as error:
        return f"cannot be read ({error})"
    if said != [found, shard.name]:
        return f"SHA-256 {found[:12]}, {beside.name} says {' '.join(said)[:12] or 'nothing'}"
    return None


def sample_to_folder(
    model: DiffusionTransformer,
    folder: str | Path,
    num: int,
    *,
    config: SamplerConfig,
    source: dict[str, Any],
    label: int | None = None,
    batch_size: int = 256,
    device: str = "auto",
    progress: bool = True,
) -> int:
    """Sample seeds 0 to ``num`` − 1 into ``folder``; seeds that are there already are not made again.

    Each shard holds ``images`` (b, c, h, w) float32, ``labels`` (b,) and ``seeds`` (b,), int64.
    ``samples.json`` records weights and sampler; a folder made with others is refused. A shard that is
    damaged is made again, with a warning. In a process group (``distributed.process_group``) the ranks
    take shards in turn; the files are those of one process.

    Returns:
        How many images were made now, on all ranks.

    Raises:
        ConfigError: the folder holds samples of other weights or settings, or one is out of range.
        LockedError: another process samples into the folder.
    """
    folder, ranks, rank = Path(folder), distributed.size(), distributed.rank()
    with distributed.together():
        check_count("num", num, 0)
        check_count("batch_size", batch_size, 1)
        check_labels(label, [0], model.config.num_classes)
        network = prepare(model, config, str(distributed.rank_device(device)))
    with contextlib.ExitStack() as stack:
        missing: list[int] = []
        with distributed.together():
            if rank == 0:
                stack.enter_context(atomic.locked(folder / "lock"))
                _claim(folder, {"source": source, "sampler": asdict(config), "label": label})
                atomic.remove_temporaries(folder)
                _remove_damaged(folder)
                done = {seed for seeds in shards(folder).values() for seed in seeds}
                missing = [seed for seed in range(num) if seed not in done]
        missing = distributed.gathered_objects(missing)[0]
        own = list(_consecutive(missing, batch_size))[rank::ranks]
        # The bar counts this rank's part; seeds that were there count once.
        count = sum(map(len, own))
        there = num - len(missing)
        bar = tqdm(total=there + count, initial=there, unit="img", disable=not progress or rank > 0)
        with distributed.together(), bar:
            for seeds in own:
                y = check_labels(label, seeds, model.config.num_classes)
                images = sample_batch(network, seeds, y, config=config)
                shard = {"images": images, "labels": y, "seeds": torch.tensor(seeds)}
                path = shard_path(folder, seeds[0], seeds[-1])
                atomic.write_file(path, functools.partial(_write_shard, path, shard))
                bar.update(len(seeds))
    return len(missing)


def _write_shard(path: Path, shard: dict[str, Tensor], temporary: Path) -> None:
    """Fill the temporary file of a shard; its hash is written before it takes its name."""
    try:
        save_file(shard, temporary)
    except SafetensorError as error:  # what a full disk gives
        raise OSError(f"{shard['images'].nbytes} bytes of images: {error}") from error
    atomic.write_text(path.with_suffix(".sha256"), f"{atomic.sha256_file(temporary)}  {path.name}\n")


def _remove_damaged(folder: Path) -> None:
    for path in shards(folder):
        problem = damage(path)
        if problem:
            warnings.warn(f"{path}: {problem}; made again", DamagedSamplesWarning, stacklevel=3)
            try:
                path.unlink()
            except OSError as error:
                raise StorageError(f"{path}: cannot be deleted ({error.strerror}); delete it") from None


def _claim(folder: Path, facts: dict[str, Any]) -> None:
    """Record what the folder holds, or check that it holds the same."""
    record = folder / "samples.json"
    facts = json.loads(atomic.canonical_json(facts))  # as they come back: tuples are lists
    if not record.exists():
        atomic.write_json(record, facts)
        return
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{record}: cannot be read ({error}); delete the folder to sample again") from None
    if not isinstance(known, dict):
        raise StorageError(f"{record}: expected an object; delete the folder to sample again")
    changed = [f"{key} ({_difference(known.get(key), facts[key])})" for key in facts
               if known.get(key) != facts[key]]  # fmt: skip
    if changed:
        raise ConfigError(f"{folder}: holds samples with another {', '.join(changed)}; choose another --out")


def _difference(there: Any, asked: Any) -> str:
    """Both values; of two objects, those of the fields that differ."""
    if not (isinstance(there, dict) and isinstance(asked, dict)):
        return f"{there} there, {asked} asked"
    names = [name for name in {**there, **asked} if there.get(name) != asked.get(name)]
    return "; ".join(f"{name}: {there.get(name)} there, {asked.get(name)} asked" for name in names)


def read_samples(folder: str | Path) -> dict[str, Tensor]:
    """All samples of a folder, ordered by seed: ``images``, ``labels``, ``seeds``.

    Raises:
        StorageError: there are none, or a shard is damaged.
    """
    read = [_read_shard(path) for path in shards(Path(folder))]
    if not read:
        raise StorageError(f"{folder}: no samples; make some with `disperse sample`")
    return {key: torch.cat([shard[key] for shard in read]) for key in ("images", "labels", "seeds")}


def _read_shard(path: Path) -> dict[str, Tensor]:
    problem = damage(path)
    try:
        if problem is None:
            return load_file(path)
    except (SafetensorError, OSError) as error:
        problem = f"cannot be read ({error})"
    raise StorageError(f"{path}: {problem}; delete it, or sample again into the folder") from None


def _consecutive(seeds: list[int], longest: int) -> Iterator[list[int]]:
    run: list[int] = []
    for seed in seeds:
        if run and (seed != run[-1] + 1 or len(run) == longest):
            yield run
            run = []
        run.append(seed)
    if run:
        yield run
