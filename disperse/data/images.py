"""Images from a folder or an archive that the user has, decoded once into a verified file.

``$DISPERSE_DATA`` names a folder; in it lies ``cifar10``, a folder or an archive (.tar, .tar.gz, .tar.xz,
.zip) with ``train/<class>/*.png`` (or .jpg) and ``test/<class>/...``, or the authors' binary version. Nothing
is unpacked to the disk: members are read one by one, so that no path or link in an archive can matter.
"""

import functools
import io
import json
import math
import re
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .. import atomic
from ..errors import ConfigError, DataError, unknown
from ..folders import data_cache, data_home
from .archives import SUFFIXES, members, stamp
from .sets import SPLITS, ImageSet, content_digest

FOLDERS = dict(zip(SPLITS, ("train", "test"), strict=True))
Row = tuple[str, str, str, np.ndarray]  # split, class, name within it, pixels (c, h, w) uint8
_PICTURES = (".png", ".jpg", ".jpeg")
_FORMAT = 1  # of the decoded file; raised when it changes


@dataclass(frozen=True)
class Source:
    """A data set that a user brings.

    Attributes:
        shape: (c, h, w) of every image.
        classes: how many.
        counts: images of each class in train and test.
        files: how the folder or archive may be called, without its suffix.
        advice: where to get it.
    """

    shape: tuple[int, int, int]
    classes: int
    counts: tuple[int, int]
    files: str
    advice: str


IMAGE_SETS = {
    "cifar10": Source(
        (3, 32, 32),
        10,
        (5000, 1000),
        r"cifar-?10(-(jpeg|png|binary))?",
        "get cifar-10-binary.tar.gz from its authors (A. Krizhevsky, CIFAR-10), or make train/<class>/*.png "
        "and test/<class>/*.png",
    ),
}


def image_set(name: str, split: str) -> ImageSet:
    """Images of one split, uint8, in memory.

    The first call decodes the source into ``build/data/``; later ones read that file, if it fits the
    SHA-256 beside it and the source is the one it was made from.

    Raises:
        DataError: the source is missing, damaged, incomplete or of another form; names file and member.
        ConfigError: unknown split.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return _load(name, split, find_source(name), data_cache())


def find_source(name: str) -> Path:
    """The folder or archive of a data set in ``data_home()``.

    Raises:
        DataError: none or several.
    """
    source, folder = IMAGE_SETS[name], data_home()
    named = re.compile(f"(?:{source.files})(?:{'|'.join(map(re.escape, SUFFIXES))})?", re.IGNORECASE)
    found = sorted(path for path in folder.glob("*") if named.fullmatch(path.name))
    found = [path for path in found if path.is_dir() or path.suffix]
    if len(found) == 1:
        return found[0]
    where = f"{folder} (set DISPERSE_DATA, or --data-path, to another)"
    if found:
        names = ", ".join(path.name for path in found)
        raise DataError(f"data = {name}: found {names} in {where}; leave one of them there")
    raise DataError(f"data = {name}: not in {where}; {source.advice}, and put it there as {name}")


@functools.lru_cache(maxsize=4)
def _load(name: str, split: str, source: Path, cache: Path) -> ImageSet:
    made_from = {"file": source.name, **stamp(source)}
    path = cache / f"{name}-{atomic.digest([made_from, _FORMAT])}.safetensors"
    record = _verified(path)
    if record is None:
        record = _decode(name, source, path)
    try:
        with safe_open(path, "pt") as file:
            # A copy: what safetensors gives is mapped from the file, and a file can change.
            images = file.get_tensor(f"{split}.images").clone()
            labels = file.get_tensor(f"{split}.labels").long()
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: cannot be read ({error}); delete it to decode {source} again") from None
    return ImageSet(images, labels, record["content"])


def _verified(path: Path) -> dict[str, Any] | None:
    """The record of a decoded file, if its bytes are those that were written; else None."""
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        whole = record["sha256"] == atomic.sha256_file(path) and isinstance(record["content"], str)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError):
        whole = False
    if not whole:
        warnings.warn(f"{path}: does not fit the SHA-256 beside it; decoded again", stacklevel=2)
        return None
    return record


def _decode(name: str, source: Path, path: Path) -> dict[str, Any]:
    """Decode both splits into ``path``; returns its record, which lies beside it."""
    rows = []
    for member, data in members(source, (*_PICTURES, ".bin")):
        read = _binary_rows if member.endswith(".bin") else _picture_rows
        rows += read(member, data, IMAGE_SETS[name].shape, f"{source}: {member}")
    rows.sort(key=lambda row: row[:3])  # by split, class and file: whatever the order in the archive
    classes = _checked_classes(name, source, rows)
    tensors: dict[str, Tensor] = {}
    for split, folder in FOLDERS.items():
        ours = [row for row in rows if row[0] == folder]
        tensors[f"{split}.images"] = torch.from_numpy(np.stack([image for *_, image in ours]))
        labels = [classes.index(label) for _, label, _, _ in ours]
        tensors[f"{split}.labels"] = torch.tensor(labels, dtype=torch.int16)
    atomic.write_file(path, lambda temporary: save_file(tensors, temporary))
    content = content_digest(tensors)
    record = {"sha256": atomic.sha256_file(path), "content": content, "classes": classes}
    atomic.write_json(path.with_suffix(".json"), {**record, "source": source.name, **stamp(source)})
    return record


def _picture_rows(member: str, data: bytes, shape: tuple[int, ...], where: str) -> list[Row]:
    """A picture ``.../train/<class>/<file>``."""
    try:
        from PIL import Image  # part of an extra, needed only here
    except ImportError:
        raise ConfigError("pillow not installed: pip install 'disperse[images]'") from None
    parts = PurePosixPath(member).parts
    if len(parts) < 3 or parts[-3] not in FOLDERS.values():
        raise DataError(f"{where}: expected train/<class>/<image> or test/<class>/<image>")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
            if (picture.height, picture.width) != shape[1:]:  # known before anything is decoded
                raise DataError(
                    f"{where}: {picture.width}×{picture.height} pixels, expected {shape[2]}×{shape[1]}"
                )
            pixels = np.asarray(picture.convert("RGB" if shape[0] == 3 else "L"), dtype=np.uint8)
    except DataError:
        raise
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise DataError(f"{where}: not a whole PNG or JPEG image ({error}); get it again") from None
    return [(parts[-3], parts[-2], parts[-1], pixels.reshape(*shape[1:], -1).transpose(2, 0, 1).copy())]


def _binary_rows(member: str, data: bytes, shape: tuple[int, ...], where: str) -> list[Row]:
    """A file of the authors' binary version: a byte of class, then the bytes of a picture, and so on."""
    size = 1 + math.prod(shape)
    if not data or len(data) % size:
        raise DataError(f"{where}: {len(data)} bytes, expected a multiple of {size}; get it again")
    table = np.frombuffer(data, dtype=np.uint8).reshape(-1, size)
    name = PurePosixPath(member).stem
    split = "test" if name.startswith("test") else "train"
    return [
        (split, f"{row[0]:03d}", f"{name}:{number:06d}", row[1:].reshape(shape))
        for number, row in enumerate(table)
    ]


def _checked_classes(name: str, source: Path, rows: list[Row]) -> list[str]:
    """Names of the classes, sorted; every one as large as it must be."""
    expected = IMAGE_SETS[name]
    counts = Counter((split, label) for split, label, _, _ in rows)
    classes = sorted({label for _, label in counts})
    if len(classes) != expected.classes:
        raise DataError(f"{source}: {len(classes)} classes, expected {expected.classes}; get it again")
    for split, count in zip(FOLDERS.values(), expected.counts, strict=True):
        for label in classes:
            if counts[split, label] != count:
                found = f"{counts[split, label]} images in {split}/{label}"
                raise DataError(f"{source}: {found}, expected {count}; get it again")
    return classes
