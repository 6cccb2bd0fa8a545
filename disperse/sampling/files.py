"""Samples on disk: shards of safetensors written as they come, one batch in memory, resumed by seed."""

import functools
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from .. import atomic
from ..errors import ConfigError, StorageError, check_count
from ..models import DiffusionTransformer
from .config import SamplerConfig
from .sampler import check_labels, prepare, sample_batch


def shard_path(folder: Path, first: int, last: int) -> Path:
    """File of the samples with seeds ``first`` to ``last``."""
    return folder / f"seeds_{first:08d}-{last:08d}.safetensors"


def finished_seeds(folder: Path) -> set[int]:
    """Seeds whose samples are on disk."""
    done: set[int] = set()
    for path in folder.glob("seeds_*.safetensors"):
        first, _, last = path.stem.removeprefix("seeds_").partition("-")
        done.update(range(int(first), int(last) + 1))
    return done


def sample_to_folder(
    model: DiffusionTransformer,
    folder: Path,
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
    ``samples.json`` records weights and sampler; a folder made with others is refused.

    Returns:
        How many images were made now.

    Raises:
        ConfigError: the folder holds samples of other weights or settings, or one is out of range.
        LockedError: another process samples into the folder.
    """
    check_count("num", num, 0)
    check_count("batch_size", batch_size, 1)
    check_labels(label, [0], model.config.num_classes)
    network = prepare(model, config, device)
    with atomic.locked(folder / "lock"):
        _claim(folder, {"source": source, "sampler": asdict(config), "label": label})
        done = finished_seeds(folder)
        missing = [seed for seed in range(num) if seed not in done]
        with tqdm(total=num, initial=num - len(missing), unit="img", disable=not progress) as bar:
            for seeds in _consecutive(missing, batch_size):
                y = check_labels(label, seeds, model.config.num_classes)
                images = sample_batch(network, seeds, y, config=config)
                shard = {"images": images, "labels": y, "seeds": torch.tensor(seeds)}
                path = shard_path(folder, seeds[0], seeds[-1])
                atomic.write_file(path, functools.partial(save_file, shard))
                bar.update(len(seeds))
    return len(missing)


def _claim(folder: Path, facts: dict[str, Any]) -> None:
    """Record what the folder holds, or check that it holds the same."""
    record = folder / "samples.json"
    facts = json.loads(atomic.canonical_json(facts))  # as they come back: tuples are lists
    if record.exists():
        try:
            known = json.loads(record.read_text(encoding="utf-8"))
        except ValueError as error:
            raise StorageError(f"{record}: not JSON ({error}); delete the folder to sample again") from None
        changed = [key for key in facts if known.get(key) != facts[key]]
        if changed:
            raise ConfigError(
                f"{folder}: holds samples with another {', '.join(changed)}; choose another --out"
            )
    else:
        atomic.write_json(record, facts)


def read_samples(folder: Path) -> dict[str, Tensor]:
    """All samples of a folder, ordered by seed: ``images``, ``labels``, ``seeds``.

    Raises:
        StorageError: there are none, or a shard is damaged.
    """
    shards = [_read_shard(path) for path in sorted(folder.glob("seeds_*.safetensors"))]
    if not shards:
        raise StorageError(f"{folder}: no samples; make some with `disperse sample`")
    return {key: torch.cat([shard[key] for shard in shards]) for key in ("images", "labels", "seeds")}


def _read_shard(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise StorageError(f"{path}: cannot be read ({error}); delete it and sample again") from None


def _consecutive(seeds: list[int], longest: int) -> Iterator[list[int]]:
    run: list[int] = []
    for seed in seeds:
        if run and (seed != run[-1] + 1 or len(run) == longest):
            yield run
            run = []
        run.append(seed)
    if run:
        yield run
