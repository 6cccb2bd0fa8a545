"""A made-up CIFAR-10: four train and two test images of each class, as files, archives or binary records."""

import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from disperse.data import images
from disperse.rng import stream

COUNTS = (4, 2)


def pixels(split: str, label: int, number: int) -> np.ndarray:
    """One picture, (3, 32, 32) uint8."""
    return stream("made up", split, label, number).integers(0, 256, (3, 32, 32), dtype=np.uint8)


def encoded(image: np.ndarray, form: str = "PNG") -> bytes:
    """The bytes of a picture file."""
    held = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(held, form)
    return held.getvalue()


def files() -> dict[str, bytes]:
    """Path within the data set -> content."""
    return {
        f"{split}/class{label}/{number:04d}.png": encoded(pixels(split, label, number))
        for split, count in zip(("train", "test"), COUNTS, strict=True)
        for label in range(10)
        for number in range(count)
    }


def write(folder: Path, kind: str, content: dict[str, bytes]) -> Path:
    """The data set as a folder or an archive in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "":
        for name, data in content.items():
            path = folder / "cifar10" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder / "cifar10"
    path = folder / f"cifar10{kind}"
    if kind == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
        return path
    modes = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.xz": "w:xz"}
    with tarfile.open(path, modes[kind]) as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of data sets, in which cifar10 is as small as ``COUNTS``."""
    folder = tmp_path / "brought"
    folder.mkdir()
    monkeypatch.setenv("DISPERSE_DATA", str(folder))
    small = replace(images.IMAGE_SETS["cifar10"], counts=COUNTS)
    monkeypatch.setitem(images.IMAGE_SETS, "cifar10", small)
    images._load.cache_clear()
    return folder
