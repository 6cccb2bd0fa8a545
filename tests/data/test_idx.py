"""IDX files: read from where they lie, and nothing but the pinned content is taken for it."""

import gzip
import hashlib
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from disperse.atomic import digest
from disperse.data import ImageSet, idx, load_data, num_train_images
from disperse.errors import ConfigError, DataError
from disperse.rng import stream

SIZE = (4, 3)  # not square: rows and columns are told apart
LABELS = {"train": [0, 2, 1, 0, 2, 0, 1, 2, 0, 1, 2, 0], "t10k": [2, 2, 0, 1]}  # 5, 3 and 4; 1, 1 and 2
CONTENT = "4d738d4109d3"
INSTALLED = idx.IDX_SETS["fashion"].installed


def form(values: np.ndarray) -> bytes:
    """Values as an IDX file, written apart from what reads it."""
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def pixels(begins: str) -> np.ndarray:
    shape = (len(LABELS[begins]), *SIZE)
    return stream("made up", begins).integers(0, 256, shape, dtype=np.uint8)


def files() -> dict[str, bytes]:
    """Name -> what it unfolds to."""
    return {
        f"{begins}-{kind}-ubyte.gz": form(values)
        for begins, labels in LABELS.items()
        for kind, values in (("images-idx3", pixels(begins)), ("labels-idx1", np.array(labels, np.uint8)))
    }


def write(folder: Path, content: dict[str, bytes], level: int = 9) -> Path:
    folder.mkdir(parents=True)
    for name, data in content.items():
        (folder / name).write_bytes(gzip.compress(data, level, mtime=level))
    return folder


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where the made-up files may lie, none of which is there yet; their digests are the pinned ones."""
    monkeypatch.setenv("DISPERSE_DATA", str(tmp_path / "brought"))
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files().items()}
    counts = (len(LABELS["train"]), len(LABELS["t10k"]))
    small = replace(
        idx.IDX_SETS["fashion"], size=SIZE, counts=counts, sha256=sums, installed=tmp_path / "installed"
    )
    monkeypatch.setitem(idx.IDX_SETS, "fashion", small)
    idx._load.cache_clear()
    return [tmp_path / "brought/fashion-mnist", tmp_path / "brought/fashion", tmp_path / "installed"]


def loaded(name: str = "fashion", split: str = "train") -> ImageSet:
    found = load_data(name, split)
    assert isinstance(found, ImageSet)
    return found


def refused(message: str, split: str = "train") -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_data("fashion", split)
    assert "\n" not in str(caught.value)
    assert "put the four files of github.com/zalandoresearch/fashion-mnist, data/fashion, " in str(
        caught.value
    )


@pytest.mark.parametrize(("split", "begins"), [("train", "train"), ("held-out", "t10k")])
def test_the_images_of_a_split_in_the_order_of_the_file(places: list[Path], split: str, begins: str) -> None:
    write(places[0], files())
    (places[0] / "._train-images-idx3-ubyte.gz").write_bytes(b"what a Mac leaves beside a file")
    data = loaded(split=split)
    assert data.shape == (1, *SIZE)
    assert (data.images.dtype, data.labels.dtype) == (torch.uint8, torch.int64)
    assert np.array_equal(data.images[:, 0].numpy(), pixels(begins))
    assert data.labels.tolist() == LABELS[begins]


def test_a_users_own_folder_comes_before_that_of_the_system(places: list[Path]) -> None:
    for folder in reversed(places):
        write(folder, files())
        assert idx.find_folder("fashion") == folder
        assert len(loaded()) == 12


def test_a_folder_that_lacks_a_file_is_not_passed_over(places: list[Path]) -> None:
    write(places[2], files())
    some = files()
    some.pop("t10k-labels-idx1-ubyte.gz")
    write(places[0], some)
    (places[0] / "t10k-labels-idx1-ubyte.gz").mkdir()  # in the place of the file
    (places[0] / "train-labels-idx1-ubyte.gz").unlink()
    refused(
        r"data = fashion: .*brought/fashion-mnist has no train-labels-idx1-\S+, t10k-labels-idx1-ubyte\.gz; put .* there,"
    )


def test_without_files_it_says_what_was_looked_for_and_where(places: list[Path]) -> None:
    refused(
        f"looked for {', '.join(files())} in {', '.join(map(str, places))}: no such folder .*DISPERSE_DATA"
    )
    refused(rf"; apt-get install dataset-fashion-mnist, or put the four files of .* into {places[0]}$")
    assert num_train_images("fashion") == num_train_images("fashion@667a") == 60_000
    with pytest.raises(ConfigError, match=r'split = .*did you mean "held-out"'):
        load_data("fashion", "held_out")


def test_the_digest_is_of_the_content_wherever_it_lies_and_however_it_is_compressed(
    places: list[Path],
) -> None:
    marks = set()
    for level, folder in enumerate(reversed(places), start=1):
        write(folder, files(), level)
        marks |= {loaded(split=split).sha256 for split in ("train", "held-out")}
    (mark,) = marks
    assert mark.startswith(CONTENT)
    assert loaded(f"fashion@{mark[:8]}").sha256 == mark
    with pytest.raises(DataError, match=rf"the images found are fashion@{mark[:12]}"):
        load_data("fashion@00")


def put(at: int, value: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes([value]) + data[at + 1 :]


IMAGES, TARGETS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"


@pytest.mark.parametrize("name", [IMAGES, TARGETS])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (put(2, 13), "begins with 00000d.*, expected 0000080"),
        (put(7, 11), "begins with .* 0000000b.*, expected .* 0000000c"),
        (lambda data: b"", "begins with nothing, expected"),
        (lambda data: data[:-1], r"unfolds to \d+ bytes, expected \d+;"),
        (lambda data: data + b"\0", r"unfolds to more than \d+ bytes, expected"),
        (lambda data: put(len(data) - 1, data[-1] ^ 1)(data), r"SHA-256 \w{12} of .*another data set"),
    ],
    ids=["type", "number", "empty", "one byte less", "one byte more", "another value"],
)
def test_what_unfolds_to_something_else(
    places: list[Path], name: str, spoil: Callable[[bytes], bytes], message: str
) -> None:
    content = files()
    write(places[2], content | {name: spoil(content[name])})
    refused(
        f"installed/{name}: {message}.*get it again: apt-get install --reinstall dataset-fashion-mnist, or put .* into {places[0]}$"
    )


@pytest.mark.parametrize(
    "spoil",
    [lambda data: data[:-9], lambda data: data[:-2], lambda data: data[1:], lambda data: data[:-5] + b"\0" + data[-4:],
     lambda data: data[:10] + b"\xff" + data[11:], lambda data: data + b"more"],
    ids=["cut", "no length", "not gzip", "sum", "damaged", "followed by others"],
)  # fmt: skip
def test_what_does_not_unfold(places: list[Path], spoil: Callable[[bytes], bytes]) -> None:
    path = write(places[0], files()) / IMAGES
    path.write_bytes(spoil(path.read_bytes()))
    refused(
        rf"fashion-mnist/{IMAGES}: cannot be read \(.*get it again: put .* there, or remove {places[0]} and apt-get"
    )


def test_the_other_split_is_checked_too(places: list[Path]) -> None:
    write(places[0], files() | {"t10k-images-idx3-ubyte.gz": form(pixels("t10k") ^ 1)})
    assert len(loaded()) == 12
    refused("t10k-images.* SHA-256", "held-out")


def test_no_more_is_held_than_the_set_is_large(places: list[Path]) -> None:
    write(places[0], files() | {IMAGES: files()[IMAGES] + b"\0" * 50_000_000})
    assert (places[0] / IMAGES).stat().st_size < 100_000
    tracemalloc.start()
    try:
        refused("unfolds to more than 160 bytes")
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_classes_need_not_be_of_one_size(places: list[Path]) -> None:
    write(places[0], files())
    assert loaded().labels.bincount().tolist() == [5, 3, 4]
    small, large = loaded("fashion:3"), loaded("fashion:9")
    assert (small.labels.bincount().tolist(), large.labels.bincount().tolist()) == ([1] * 3, [3] * 3)
    rows = {image.numpy().tobytes() for image in large.images}
    assert all(image.numpy().tobytes() in rows for image in small.images)
    assert len(loaded("fashion:9", "held-out")) == 4
    for count in (12, 4):
        with pytest.raises(ConfigError, match="expected a multiple of the 3 classes up to 9"):
            load_data(f"fashion:{count}")


def test_what_is_pinned_never_moves() -> None:
    row = idx.IDX_SETS["fashion"]
    assert digest(row.sha256).startswith("667a9a0559c3")
    assert (row.size, row.counts, list(row.sha256)) == ((28, 28), (60_000, 10_000), list(files()))


@pytest.mark.skipif(not INSTALLED.is_dir(), reason=f"no {INSTALLED}: apt-get install dataset-fashion-mnist")
def test_the_files_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPERSE_DATA", raising=False)
    for split, count in (("train", 6000), ("held-out", 1000)):
        data = loaded(split=split)
        assert (data.shape, data.images.dtype) == ((1, 28, 28), torch.uint8)
        assert data.labels.bincount().tolist() == [count] * 10
        assert data.sha256.startswith("667a9a0559c3")
    train = loaded()
    assert len(train) == num_train_images("fashion")
    assert train.labels[:10].tolist() == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]
    mean, std = train.images.double().mean() / 255, train.images.double().std() / 255
    assert (round(float(mean), 4), round(float(std), 4)) == (0.2860, 0.3530)  # as is widely quoted
    assert loaded("fashion:600").labels.bincount().tolist() == [60] * 10
