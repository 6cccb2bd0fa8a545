"""Fashion-MNIST: 70,000 grey pictures of clothing, 28×28, 10 classes, from its authors' IDX files.

An IDX file is 0, 0, 8 (for uint8) and the number of dimensions, a byte each; every dimension as four bytes,
the highest first; then the values, the last dimension fastest. Four such files, gzip each, lie in a folder
``fashion-mnist`` (or ``fashion``) of ``$DISPERSE_DATA``, or where Debian's package ``dataset-fashion-mnist``
puts them. "held-out" is the authors' test split.

The SHA-256 are of what the files unfold to: Debian's lack the name and time that the authors' begin with.

Source: H. Xiao, K. Rasul and R. Vollgraf, Fashion-MNIST, 2017, arXiv:1708.07747.
"""

import functools
import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .. import atomic
from ..errors import DataError, unknown
from ..folders import data_home
from .sets import SPLITS, ImageSet

_NAMES = dict(zip(SPLITS, ("train", "t10k"), strict=True))  # as the authors of MNIST called them


@dataclass(frozen=True)
class IdxSource:
    """A data set of four IDX files.

    Attributes:
        size: (h, w) of every image, grey.
        counts: images in train and test, however many of each class.
        sha256: of each file, unfolded.
        folders: how the folder that holds them may be called.
        installed: where a package of the system puts them, for who brought none.
        package, origin: where to get them, from Debian and from the authors.
    """

    size: tuple[int, int]
    counts: tuple[int, int]
    sha256: dict[str, str]
    folders: tuple[str, ...]
    installed: Path
    package: str
    origin: str


IDX_SETS = {
    "fashion": IdxSource(
        size=(28, 28),
        counts=(60_000, 10_000),
        sha256={
            "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        },
        folders=("fashion-mnist", "fashion"),
        installed=Path("/usr/share/datasets/fashion-mnist"),
        package="dataset-fashion-mnist",
        origin="the four files of github.com/zalandoresearch/fashion-mnist, data/fashion,",
    ),
}


def idx_set(name: str, split: str) -> ImageSet:
    """Images of one split, uint8 (n, 1, h, w), in memory, in the order of the file.

    Its ``sha256`` is that of all four files, unfolded.

    Raises:
        DataError: a file is missing, damaged, of another form or other than it must be; names it.
        ConfigError: unknown split.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return _load(name, split, find_folder(name))


def find_folder(name: str) -> Path:
    """The folder that holds the files: a user's own, since it was brought to be read, before the system's.

    Raises:
        DataError: there is none, or the first lacks a file, even where another has all.
    """
    source, home = IDX_SETS[name], data_home()
    places = [*(home / each for each in source.folders), source.installed]
    for folder in places:
        if folder.is_dir():
            missing = [file for file in source.sha256 if not (folder / file).is_file()]
            if missing:
                lacks = f"data = {name}: {folder} has no {', '.join(missing)}"
                raise DataError(f"{lacks}; {_advice(source, folder)}")
            return folder
    looked = f"looked for {', '.join(source.sha256)} in {', '.join(map(str, places))}"
    other = f"DISPERSE_DATA, or --data-path, names another folder than {home}"
    raise DataError(f"data = {name}: {looked}: no such folder ({other}); {_advice(source)}")


def _advice(source: IdxSource, folder: Path | None = None) -> str:
    """What to do about a folder; the system's is of no use while there is one of the user's own."""
    if folder not in (None, source.installed):
        return f"put {source.origin} there, or remove {folder} and apt-get install {source.package}"
    install = f"apt-get install {'--reinstall ' if folder else ''}{source.package}"
    return f"{install}, or put {source.origin} into {data_home() / source.folders[0]}"


@functools.lru_cache(maxsize=4)
def _load(name: str, split: str, folder: Path) -> ImageSet:
    source = IDX_SETS[name]
    count, begins = source.counts[SPLITS.index(split)], _NAMES[split]
    images = _values(name, folder / f"{begins}-images-idx3-ubyte.gz", (count, *source.size))
    labels = _values(name, folder / f"{begins}-labels-idx1-ubyte.gz", (count,))
    mark = atomic.digest(source.sha256, 64)
    return ImageSet(torch.from_numpy(images)[:, None], torch.from_numpy(labels).long(), mark)


def _values(name: str, path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """What an IDX file holds, uint8 of that shape; each way to be another is told apart."""
    source = IDX_SETS[name]
    head = bytes((0, 0, 8, len(shape))) + np.array(shape, dtype=">u4").tobytes()
    size = len(head) + math.prod(shape)
    again = f"get it again: {_advice(source, path.parent)}"
    try:
        with gzip.open(path) as file:
            # No more is held, whatever it unfolds to; at its end gzip's own sum is checked.
            data = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); {again}") from None
    if data[: len(head)] != head:
        got = data[: len(head)].hex(" ", 4) or "nothing"
        raise DataError(f"{path}: begins with {got}, expected {head.hex(' ', 4)} (uint8 {shape}); {again}")
    if len(data) != size:
        got = f"more than {size}" if len(data) > size else str(len(data))
        raise DataError(f"{path}: unfolds to {got} bytes, expected {size}; {again}")
    found, expected = hashlib.sha256(data).hexdigest(), source.sha256[path.name]
    if found != expected:
        raise DataError(
            f"{path}: SHA-256 {found[:12]} of what it unfolds to, expected {expected[:12]}: another data set "
            f"(MNIST's files are called so, too) or a damaged one; {again}"
        )
    return np.frombuffer(data, dtype=np.uint8, offset=len(head)).reshape(shape).copy()
