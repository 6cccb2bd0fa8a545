"""Latents on the disk: drawn by (seed, step), mirrored by stored moments, and never trusted unread."""

import json
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from disperse import atomic
from disperse.data import LatentSet, holds_latents, latents, load_data, pictures, vae, write_latents
from disperse.errors import ConfigError, DataError
from disperse.rng import normal, stream

from .cases import encoded, pixels

NAME = "imagenet256-latents"
N = 12


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve latents of 2 channels and 4×4, written by hand."""
    monkeypatch.setenv("DISPERSE_DATA", str(tmp_path))
    latents.latent_set.cache_clear()
    folder = tmp_path / NAME
    folder.mkdir()
    for number, file in enumerate(latents.FILES[:2]):
        draws = stream("moments", number).standard_normal((N, 4, 4, 4))
        draws[:, 2:] = np.abs(draws[:, 2:])
        np.save(folder / file, draws.astype(np.float16))
    np.save(folder / latents.FILES[2], np.arange(N) % 5)
    seal(folder)
    return folder


def seal(folder: Path) -> None:
    record = {file: atomic.sha256_file(folder / file) for file in latents.FILES}
    (folder / "record.json").write_text(json.dumps(record))


def loaded() -> LatentSet:
    latents.latent_set.cache_clear()
    found = load_data(NAME)
    assert isinstance(found, LatentSet)
    return found


def test_a_batch_is_drawn_from_the_moments(folder: Path) -> None:
    data, index = loaded(), torch.tensor([3, 0, 11, 7, 5])
    assert (len(data), data.shape, data.labels.dtype) == (N, (2, 4, 4), torch.int64)
    moments = torch.from_numpy(np.load(folder / "moments.npy")).float()[index]
    eps = torch.stack([normal((2, 4, 4), "latent", 1, 9, row) for row in range(5)])
    expected = 0.18215 * (moments[:, :2] + moments[:, 2:] * eps)
    x, y = data.batch(index, 1, 9)
    assert x.dtype == torch.float32
    assert torch.equal(x, expected)
    assert torch.equal(y, index % 5)
    assert not torch.equal(data.batch(index, 1, 10)[0], x)  # other noise at another step
    parts = [data.batch(index, 1, 9, flip=True, rows=slice(*rows))[0] for rows in ((0, 2), (2, 5))]
    assert torch.equal(torch.cat(parts), data.batch(index, 1, 9, flip=True)[0])


def test_a_mirrored_latent_is_the_one_of_the_mirrored_image(folder: Path) -> None:
    data, index = loaded(), torch.arange(N)
    plain, mirrored = data.batch(index, 4, 2)[0], data.batch(index, 4, 2, flip=True)[0]
    swapped = LatentSet(data.mirrored, data.moments, data.labels).batch(index, 4, 2)[0]
    same = (plain == mirrored).flatten(1).all(1)
    assert 0 < int(same.sum()) < N
    assert torch.equal(mirrored, torch.where(same[:, None, None, None], plain, swapped))


def test_few_are_the_same_for_ever(folder: Path) -> None:
    few = loaded().few(6)
    assert few.labels.tolist() == [0, 2, 4, 1, 3, 0]
    assert torch.equal(few.images, loaded().few(6).images)
    assert len(loaded().few(100)) == N


def test_they_are_hashed_once_and_again_when_they_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded()
    with monkeypatch.context() as patch:
        patch.setattr(latents.atomic, "sha256_file", lambda _: pytest.fail("hashed again"))
        loaded()
    with open(folder / "moments.npy", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    refused(r"moments\.npy: SHA-256 .*record\.json says")


def refused(message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        loaded()
    assert "\n" not in str(caught.value)


def changed(file: str, change: Any) -> Any:
    def spoil(folder: Path) -> None:
        array = np.load(folder / file)
        array = change(array)
        np.save(folder / file, array)
        seal(folder)

    return spoil


def put(value: float, *at: int) -> Any:
    def change(array: np.ndarray) -> np.ndarray:
        array[at] = value
        return array

    return change


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (changed("moments.npy", put(np.nan, 7, 1, 0, 0)), r"moments\.npy: row 7 holds NaN"),
        (changed("flipped.npy", put(np.inf, 2, 3, 1, 1)), r"flipped\.npy: row 2 holds NaN, infinity"),
        (changed("flipped.npy", put(-1.0, 0, 3, 0, 0)), r"flipped\.npy: row 0 .*negative deviation"),
        (changed("moments.npy", lambda a: a[:-1]), r"moments\.npy: float16 \(11, 4, 4, 4\), expected .*\(12,"),
        (changed("moments.npy", lambda a: a.astype(np.float32)), r"moments\.npy: float32"),
        (changed("labels.npy", put(-1, 3)), r"labels\.npy: expected integers ≥ 0"),
        (changed("labels.npy", lambda a: a.astype(float)), r"labels\.npy: expected integers"),
        (lambda f: (f / "moments.npy").write_bytes((f / "moments.npy").read_bytes()[:-9]), "cannot be read"),
        (lambda f: (f / "labels.npy").unlink(), r"labels\.npy: cannot be read"),
        (lambda f: (f / "record.json").write_text("{"), r"record\.json: not the record"),
        (lambda f: (f / "record.json").unlink(), "write_latents --images"),
        (lambda f: np.save(f / "labels.npy", np.array([{}], object), allow_pickle=True), "cannot be read"),
    ],
    ids=["nan", "inf", "negative", "one less", "dtype", "label", "float label", "cut", "gone", "record",
         "no record", "pickle"],
)  # fmt: skip
def test_damaged_latents(folder: Path, spoil: Any, message: str) -> None:
    spoil(folder)
    refused(message)


def test_what_latents_cannot_do(folder: Path) -> None:
    with pytest.raises(ConfigError, match="split = 'held-out'"):
        load_data(NAME, "held-out")
    content = loaded().sha256
    assert load_data(f"{NAME}@{content[:10]}").sha256 == content


def made_up(images: Tensor) -> tuple[Tensor, Tensor]:
    """A stand-in for the autoencoder that tells left from right."""
    mean = images[..., ::2, ::2][:, :2]
    return mean, mean.abs() + images.std()


def test_latents_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "train"
    for label in range(3):
        (source / f"n{label}").mkdir(parents=True)
        for number in range(2):
            (source / f"n{label}" / f"{number}.png").write_bytes(encoded(pixels("train", label, number)))
    paths, labels = write_latents.find_images(source)
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    monkeypatch.setenv("DISPERSE_DATA", str(tmp_path))
    out = tmp_path / NAME
    write_latents.write_latents(paths, labels, made_up, out, batch_size=4, size=32)
    data = loaded()
    first = torch.from_numpy(pixels("train", 0, 0)).float() / 127.5 - 1
    for moments, image in ((data.moments, first), (data.mirrored, first.flip(-1))):
        expected = image[:2, ::2, ::2].numpy().astype(np.float16)
        assert np.array_equal(moments[0, :2], expected)
    with pytest.raises(ConfigError, match="exists; delete it"):
        write_latents.write_latents(paths, labels, made_up, out)
    paths[3].write_bytes(b"no image")
    other = tmp_path / "other"
    with pytest.raises(DataError, match=r"n1/1\.png: not a whole"):
        write_latents.write_latents(paths, labels, made_up, other, batch_size=2, size=32)
    assert not other.exists()
    assert not list(tmp_path.glob(".tmp-*"))
    with pytest.raises(DataError, match="no images; expected <class>"):
        write_latents.find_images(tmp_path / "nowhere")


@pytest.mark.parametrize("shape", [(3, 40, 90), (3, 130, 70), (3, 32, 32), (3, 20, 33)])
def test_the_crop_is_the_middle(tmp_path: Path, shape: tuple[int, ...]) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, shape[2]), shape).round().astype(np.uint8)
    (tmp_path / "a.png").write_bytes(encoded(ramp.copy()))
    cropped = write_latents.centre_crop(tmp_path / "a.png", 32)
    assert cropped.shape == (3, 32, 32)
    row = cropped[0, 16]
    share = min(shape[1:]) / shape[2]
    torch.testing.assert_close((row[-1] - row[0]).item(), 2 * share, atol=0.1, rtol=0)
    assert abs((row[-1] + row[0]).item()) < 0.1


def test_the_autoencoder_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPERSE_DATA", str(tmp_path))
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ConfigError, match=r"diffusers not installed.*disperse\[latents\]"):
        vae.autoencoder(torch.device("cpu"))
    assert write_latents.main(["--images", str(tmp_path), "--out", str(tmp_path / "x")]) == 3  # no images
    module = types.ModuleType("diffusers")
    module.__spec__ = ModuleSpec("diffusers", None)
    monkeypatch.setitem(sys.modules, "diffusers", module)
    with pytest.raises(DataError, match=r"sd-vae-ft-ema: no autoencoder; get stabilityai"):
        vae.autoencoder(torch.device("cpu"))


def test_latents_are_decoded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def decode(z: Tensor) -> Tensor:
        seen.append(len(z))
        return z[:, :3].double()

    monkeypatch.setattr(vae, "autoencoder", lambda device: vae.Autoencoder(lambda x: (x, x), decode))
    z = normal((5, 4, 2, 2), "decoded")
    assert torch.equal(vae.decoded(z, 2), (z / 0.18215)[:, :3])
    assert seen == [2, 2, 1]
    assert torch.equal(pictures(z, NAME), vae.decoded(z).clamp(-1, 1))
    assert torch.equal(pictures(z, "digits"), z.clamp(-1, 1))
    assert [holds_latents(name) for name in ("digits", NAME, f"{NAME}:10", f"{NAME}@ab")] == [
        False,
        *[True] * 3,
    ]


def test_a_part_of_the_set_is_mapped_not_copied(folder: Path) -> None:
    """As many of each class; the same latents as in the whole set, and a smaller part is in a larger one."""
    whole, part = loaded(), load_data(f"{NAME}:5")
    assert isinstance(part, LatentSet)
    assert part.moments.base is not None  # of the mapped file
    assert isinstance(part.moments, np.memmap)
    assert sorted(part.labels.tolist()) == [0, 1, 2, 3, 4]
    assert part.rows is not None
    for flip in (False, True):
        x, y = part.batch(torch.arange(5), 1, 9, flip=flip)
        same, labels = whole.batch(torch.from_numpy(part.rows), 1, 9, flip=flip)
        assert torch.equal(x, same)
        assert torch.equal(y, labels)
    ten = load_data(f"{NAME}:10")
    assert isinstance(ten, LatentSet)
    assert ten.rows is not None
    assert set(part.rows) < set(ten.rows)
    assert len(part.few(3)) == 3
    with pytest.raises(ConfigError, match="multiple of the 5 classes up to 10"):
        load_data(f"{NAME}:7")
