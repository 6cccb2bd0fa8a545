"""Latents of large images: moments computed once by an autoencoder, mapped from files, drawn at each step.

A folder ``imagenet256-latents`` in ``$DISPERSE_DATA`` holds ``moments.npy`` and ``flipped.npy``, float16 of
shape (n, 8, 32, 32): mean and standard deviation of each image and of its mirror image; ``labels.npy``,
integers of shape (n,); and ``record.json`` with their SHA-256. ``python -m disperse.data.write_latents``
makes it. Of ImageNet the two files are 21 GB each; they stay on the disk but for the rows of a batch.
"""

import functools
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import atomic
from ..errors import DataError, unknown
from ..folders import data_cache, data_home
from ..rng import normal
from .sets import ImageSet, flipped
from .vae import SCALE

LATENT_SETS = {"imagenet256-latents": 1_281_167}  # images of the train split
FILES = ("moments.npy", "flipped.npy", "labels.npy")
_ROWS = 4096  # looked at together


@dataclass(frozen=True)
class LatentSet:
    """Moments of latents on the disk, with the labels in memory; read as ``ImageSet`` is.

    Attributes:
        moments: (n, 2c, h, w), half precision: mean, then standard deviation.
        mirrored: the same of the mirror images; a latent cannot be mirrored itself.
        labels (Tensor): shape (n,), int64.
        sha256: of the content.
        rows: which of the moments are of this set, one per label; None: all.
    """

    moments: np.ndarray
    mirrored: np.ndarray
    labels: Tensor
    sha256: str = ""
    rows: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """(c, h, w) of one latent."""
        channels, height, width = self.moments.shape[1:]
        return channels // 2, height, width

    def batch(
        self, index: Tensor, *key: str | int, flip: bool = False, rows: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Latents ``0.18215 (mean + std · ε)``, shape (b, c, h, w), float32, and labels (b,) of one step.

        Arguments as ``ImageSet.batch``. Each row has its own stream of ε: whoever wants a part of the batch
        draws no more than that.
        """
        eps = [normal(self.shape, "latent", *key, row) for row in range(len(index))[rows]]
        chosen = index[rows].numpy()
        if self.rows is not None:
            chosen = self.rows[chosen]
        moments = np.array(self.moments[chosen])
        if flip:
            which = flipped(len(index), *key)[rows].numpy()
            moments[which] = self.mirrored[chosen[which]]
        mean, std = torch.from_numpy(moments).float().chunk(2, dim=1)
        return SCALE * (mean + std * torch.stack(eps)), self.labels[index[rows]]

    def take(self, index: Tensor) -> "LatentSet":
        """Those latents alone; nothing is copied but labels."""
        rows = index.numpy() if self.rows is None else self.rows[index.numpy()]
        return replace(self, labels=self.labels[index], rows=rows)

    def few(self, most: int) -> ImageSet:
        """At most so many latents, spread evenly over the set, drawn once and for ever."""
        count = min(most, len(self))
        index = torch.arange(count) * len(self) // max(count, 1)
        return ImageSet(*self.batch(index, "few"), self.sha256)


@functools.lru_cache(maxsize=2)
def latent_set(name: str, split: str = "train") -> LatentSet:
    """Latents of the train split; there is no other.

    Every byte is hashed once; then a file of the same size and time of change is taken for the same.

    Raises:
        DataError: missing, damaged, of another form, or holding values that cannot be: names file and row.
        ConfigError: another split.
    """
    if split != "train":
        raise unknown("split", split, ("train",))
    folder = data_home() / name
    record = _read_record(folder, name)
    arrays = {file: _map(folder / file) for file in FILES}
    labels = arrays["labels.npy"]
    for file in FILES[:2]:
        shape, dtype = arrays[file].shape, arrays[file].dtype
        if len(shape) != 4 or shape[1] % 2 or shape[0] != len(labels) or dtype != np.float16:
            raise DataError(
                f"{folder / file}: {dtype} {shape}, expected float16 ({len(labels)}, 2c, h, w), as many as "
                "labels.npy has"
            )
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0:
        raise DataError(f"{folder / 'labels.npy'}: expected integers ≥ 0 of shape (n,), at least one")
    _verify(folder, name, record, arrays)
    content = atomic.digest({file: record[file] for file in FILES}, 64)
    return LatentSet(arrays[FILES[0]], arrays[FILES[1]], torch.from_numpy(labels.astype(np.int64)), content)


def _read_record(folder: Path, name: str) -> dict[str, Any]:
    path = folder / "record.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(record[file], str) for file in FILES):
            raise ValueError("no SHA-256 of each file")
    except FileNotFoundError:
        raise DataError(
            f"data = {name}: not in {folder.parent} (set DISPERSE_DATA, or --data-path, to another); make it "
            f"with python -m disperse.data.write_latents --images FOLDER --out {folder}"
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: not the record of latents ({error}); make them again") from None
    return record


def _map(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error}); make it again") from None


def _verify(folder: Path, name: str, record: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Hash and look at every value, unless these very files were before."""
    facts = {file: [os.stat(folder / file).st_size, os.stat(folder / file).st_mtime_ns] for file in FILES}
    seal = data_cache() / f"{name}-{atomic.digest([str(folder), facts, record])}.verified"
    if seal.exists():
        return
    for file in FILES:
        found = atomic.sha256_file(folder / file)
        if found != record[file]:
            raise DataError(
                f"{folder / file}: SHA-256 {found[:12]}, record.json says {record[file][:12]}; make it again"
            )
    for file in FILES[:2]:
        moments = arrays[file]
        for start in range(0, len(moments), _ROWS):
            part = moments[start : start + _ROWS]
            std = part[:, part.shape[1] // 2 :]
            good = np.isfinite(part).all(axis=(1, 2, 3)) & (std >= 0).all(axis=(1, 2, 3))
            if not good.all():
                row = start + int(np.flatnonzero(~good)[0])
                raise DataError(f"{folder / file}: row {row} holds NaN, infinity or a negative deviation")
    atomic.write_text(seal, "")
