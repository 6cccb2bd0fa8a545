"""Images that a user brings: every form gives the same pixels, and what is wrong is named in one line."""

import io
import os
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from disperse.data import ImageSet, archives, images, load_data
from disperse.errors import ConfigError, DataError
from disperse.folders import data_cache, data_home

from .cases import COUNTS, brought, encoded, files, pixels, write

__all__ = ["brought"]
KINDS = ("", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".zip")


def loaded(split: str = "train", name: str = "cifar10") -> ImageSet:
    found = load_data(name, split)
    assert isinstance(found, ImageSet)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_gives_the_same_pixels(brought: Path, kind: str) -> None:
    write(brought, kind, dict(reversed(files().items())))  # whatever the order in the archive
    for split, folder, count in (("train", "train", COUNTS[0]), ("held-out", "test", COUNTS[1])):
        data = loaded(split)
        assert data.images.dtype == torch.uint8
        assert data.shape == (3, 32, 32)
        assert data.labels.tolist() == [label for label in range(10) for _ in range(count)]
        expected = [pixels(folder, label, number) for label in range(10) for number in range(count)]
        assert np.array_equal(data.images.numpy(), np.stack(expected))
        assert data.sha256.startswith("d7af04c95867")  # of the content alone


def test_the_authors_binary_version(brought: Path) -> None:
    content = {
        f"cifar-10-batches-bin/{name}.bin": b"".join(
            bytes([label]) + pixels(split, label, number).tobytes()
            for number in range(count)
            for label in reversed(range(10))
        )
        for name, split, count in (("data_batch_1", "train", COUNTS[0]), ("test_batch", "test", COUNTS[1]))
    }
    write(brought, ".tar.gz", {**content, "cifar-10-batches-bin/batches.meta.txt": b"airplane"}).rename(
        brought / "cifar-10-binary.tar.gz"
    )
    data = loaded()
    assert data.labels.bincount().tolist() == [COUNTS[0]] * 10
    for label in range(10):
        ours = data.images[data.labels == label].numpy()
        assert np.array_equal(ours, np.stack([pixels("train", label, n) for n in range(COUNTS[0])]))


def test_files_may_be_jpegs_and_lie_one_folder_deeper(brought: Path) -> None:
    content = {f"cifar10/{name[:-4]}.JPG": b"" for name in files()}
    for name in content:
        split, label, number = name.split("/")[1:]
        image = pixels(split, int(label[5:]), int(number[:4]))
        content[name] = encoded(np.broadcast_to(image[:, :1, :1], (3, 32, 32)).copy(), "JPEG")
    write(brought, ".tar.xz", content)
    found, expected = loaded().images[0].float(), torch.from_numpy(pixels("train", 0, 0)[:, :1, :1]).float()
    assert (found - expected).abs().max() < 4


def test_a_batch_is_float_and_its_mirror_images_follow_the_step(brought: Path) -> None:
    write(brought, ".zip", files())
    data, index = loaded(), torch.tensor([3, 1, 4, 1, 5, 9, 2, 6])
    plain, labels = data.batch(index, 7, 2)
    assert plain.dtype == torch.float32
    assert torch.equal(plain, data.images[index].float() / 127.5 - 1)
    assert torch.equal(labels, data.labels[index])
    mirrored, _ = data.batch(index, 7, 2, flip=True)
    same = torch.tensor([torch.equal(a, b) for a, b in zip(mirrored, plain)])
    assert 0 < int(same.sum()) < len(index)
    assert torch.equal(mirrored, torch.where(same[:, None, None, None], plain, plain.flip(-1)))
    assert torch.equal(mirrored, data.batch(index, 7, 2, flip=True)[0])
    others = [data.batch(index, *key, flip=True)[0] for key in ((7, 3), (8, 2))]
    assert not any(torch.equal(mirrored, other) for other in others)
    # A part of the batch is what the whole has there, whoever asks for it.
    parts = [data.batch(index, 7, 2, flip=True, rows=slice(*rows))[0] for rows in ((0, 3), (3, 8))]
    assert torch.equal(torch.cat(parts), mirrored)


def test_few_are_spread_over_the_classes(brought: Path) -> None:
    write(brought, "", files())
    few = loaded("held-out").few(10)
    assert few.labels.tolist() == list(range(10))
    assert few.images.dtype == torch.float32
    digits = load_data("digits", "held-out")
    assert torch.equal(digits.few(500).images, digits.images)  # type: ignore[union-attr]


def test_a_set_is_decoded_once_and_again_when_it_changes(
    brought: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(brought, ".tar", files())
    first = loaded()
    images._load.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(images, "members", lambda *_: pytest.fail("decoded again"))
        assert torch.equal(loaded().images, first.images)
        assert loaded("held-out").sha256 == first.sha256
    content = files() | {"train/class3/0001.png": encoded(pixels("other", 0, 0))}
    write(brought, ".tar", content)
    os.utime(source, ns=(1, 1))
    images._load.cache_clear()
    again = loaded()
    assert again.sha256 != first.sha256
    assert (again.images != first.images).flatten(1).any(1).nonzero().flatten().tolist() == [
        3 * COUNTS[0] + 1
    ]


@pytest.mark.parametrize("damage", ["bit", "cut", "record"])
def test_a_decoded_file_is_not_trusted_without_its_hash(brought: Path, damage: str) -> None:
    write(brought, ".tar", files())
    first = loaded()
    (path,) = data_cache().glob("cifar10-*.safetensors")
    whole = path.read_bytes()
    if damage == "record":
        path.with_suffix(".json").write_text("{}")
    else:
        path.write_bytes(whole[:-1] if damage == "cut" else whole[:-1] + bytes([whole[-1] ^ 1]))
    images._load.cache_clear()
    with pytest.warns(UserWarning, match="does not fit the SHA-256 beside it; decoded again"):
        again = loaded()
    assert torch.equal(again.images, first.images)
    assert path.read_bytes() == whole


def test_a_name_may_demand_its_content_and_a_size(brought: Path) -> None:
    write(brought, ".zip", files())
    content = loaded().sha256
    assert loaded(name=f"cifar10@{content[:8]}").sha256 == content
    small = loaded(name=f"cifar10@{content[:8]}:20")
    assert small.labels.bincount().tolist() == [2] * 10
    assert small.images.dtype == torch.uint8
    for wrong in ("00000000", ""):
        with pytest.raises(
            DataError, match=rf"data = cifar10@{wrong}: the images found are cifar10@{content[:12]}"
        ):
            load_data(f"cifar10@{wrong}")
    with pytest.raises(DataError, match="digits comes with the packages"):
        load_data("digits@1234")


def refused(message: str, split: str = "train") -> None:
    with pytest.raises(DataError, match=message) as caught:
        load_data("cifar10", split)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3
    assert not list(data_cache().glob("*"))


def test_missing_data_say_what_to_get_and_where_to_put_it(
    brought: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refused(r"data = cifar10: not in .*brought .*DISPERSE_DATA.*cifar-10-binary\.tar\.gz.* put it there")
    (brought / "cifar100.tar").write_bytes(b"")
    refused("not in .*brought")
    write(brought, ".tar", files())
    write(brought, "", files())
    refused(r"found cifar10, cifar10\.tar in .*leave one")
    monkeypatch.delenv("DISPERSE_DATA")
    assert data_home() == tmp_path / "home" / "data"
    with pytest.raises(ConfigError, match=r'split = .*did you mean "train"'):
        load_data("cifar10", "trian")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda c: c.update({"train/class1/0002.png": c["train/class1/0002.png"][:200]}),
         r"cifar10.*: train/class1/0002\.png: not a whole PNG or JPEG image"),
        (lambda c: c.update({"train/class1/0002.png": b""}), r"0002\.png: not a whole"),
        (lambda c: c.update({"train/class1/0002.png": b"GIF89a" + b"\0" * 99}), r"0002\.png: not a whole"),
        (lambda c: c.update({"test/class1/0000.png": encoded(np.zeros((3, 16, 32), np.uint8))}),
         r"test/class1/0000\.png: 32×16 pixels, expected 32×32"),
        (lambda c: c.pop("train/class1/0002.png"), r"3 images in train/class1, expected 4"),
        (lambda c: [c.pop(n) for n in list(c) if "class7" in n], r"9 classes, expected 10"),
        (lambda c: c.update({"valid/class1/0000.png": c["test/class1/0000.png"]}),
         r"valid/class1/0000\.png: expected train/<class>/<image>"),
        (lambda c: c.update({"data_batch_1.bin": b"1234"}), r"data_batch_1\.bin: 4 bytes, expected a multiple"),
    ],
    ids=["cut", "empty", "other format", "size", "one less", "no class", "other split", "binary"],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["", ".tar.gz"])
def test_damaged_sets_name_the_file(brought: Path, spoil: object, message: str, kind: str) -> None:
    content = files()
    spoil(content)  # type: ignore[operator]
    write(brought, kind, content)
    refused(message)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_damaged_archives(brought: Path, kind: str) -> None:
    path = write(brought, kind, files())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused(r"cifar10.*: (cannot be read|\d+ images in)")
    path.write_bytes(b"not an archive at all")
    refused("cannot be read")


@pytest.mark.parametrize("name", ["../../outside.png", "/outside.png", "train/../../x.png", "a\\b.png"])
@pytest.mark.parametrize("kind", [".tar", ".zip"])
def test_members_that_lead_outside(brought: Path, kind: str, name: str) -> None:
    write(brought, kind, {name: b"x", **files()})
    refused("leads outside")
    assert not list(brought.parent.rglob("outside.png"))


def test_links_are_not_followed(brought: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(pixels("secret", 0, 0)))
    content = files()
    content.pop("train/class1/0002.png")
    write(brought, "", content)
    (brought / "cifar10/train/class1/0002.png").symlink_to(secret)
    refused("3 images in train/class1, expected 4")
    archive = brought / "cifar10.tar"
    with tarfile.open(archive, "w") as file:
        file.add(brought / "cifar10", "cifar10")
    (brought / "cifar10").rename(brought / "aside")
    refused("3 images in train/class1, expected 4")


def test_archives_that_unfold_without_end(brought: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(brought, ".tar.xz", {"big.txt": b"\0" * 5_000_000, **files()})
    monkeypatch.setattr(archives, "TOTAL_BYTES", 4_000_000)
    refused("unfolds to more than 4000000 bytes")
    (brought / "cifar10.tar.xz").unlink()
    for kind in (".zip", ".tar.gz"):
        path = write(brought, kind, {"train/class1/big.png": b"\0" * 100_000, **files()})
        monkeypatch.setattr(archives, "MEMBER_BYTES", 50_000)
        refused(r"big\.png: 100000 bytes, expected at most 50000")
        path.unlink()
    header = tarfile.TarInfo("train/class1/huge.png")
    header.size = 2**40  # says so, and has nothing
    (brought / "cifar10.tar").write_bytes(header.tobuf() + b"\0" * 1024)
    refused(r"huge\.png: \d+ bytes, expected at most")


def test_a_zip_that_understates_its_sizes(brought: Path) -> None:
    path = write(brought, ".zip", files())
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        first = archive.infolist()[0]
    at = data.rindex(b"PK\x01\x02", 0, data.index(first.filename.encode(), len(data) // 2))
    data[at + 24 : at + 28] = (1).to_bytes(4, "little")  # of the unfolded size
    path.write_bytes(data)
    refused("cannot be read|not a whole")


def test_a_device_in_an_archive(brought: Path) -> None:
    member = tarfile.TarInfo("train/class1/0000.png")
    member.type = tarfile.FIFOTYPE
    with tarfile.open(brought / "cifar10.tar", "w") as file:
        file.addfile(member, io.BytesIO())
    refused("is no plain file")


def test_without_pillow(brought: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(brought, ".tar", files())
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigError, match=r"pillow not installed: pip install 'disperse\[images\]'"):
        load_data("cifar10")
