"""Sets made smaller by averaging blocks of pixels: exact, marked by their own content, the base's subsets."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from disperse.data import DATASETS, ImageSet, averaged, images, load_data, num_train_images
from disperse.errors import ConfigError, DataError
from disperse.rng import stream

from .cases import COUNTS, brought, encoded, files, pixels, write

__all__ = ["brought"]


def loaded(name: str = "cifar16", split: str = "train") -> ImageSet:
    found = load_data(name, split)
    assert isinstance(found, ImageSet)
    return found


def means(base: np.ndarray, factor: int) -> np.ndarray:
    """Of blocks, float64, one by one."""
    n, c, h, w = base.shape
    found = np.empty((n, c, h // factor, w // factor))
    for i in range(h // factor):
        for j in range(w // factor):
            block = base[:, :, factor * i : factor * (i + 1), factor * j : factor * (j + 1)]
            found[:, :, i, j] = block.astype(np.float64).mean(axis=(2, 3))
    return found


@pytest.mark.parametrize(("split", "folder", "count"), [("train", "train", 4), ("held-out", "test", 2)])
def test_every_pixel_is_the_mean_of_four(brought: Path, split: str, folder: str, count: int) -> None:
    write(brought, ".tar", files())
    data = loaded(split=split)
    base = np.stack([pixels(folder, label, number) for label in range(10) for number in range(count)])
    assert (data.shape, data.images.dtype) == ((3, 16, 16), torch.uint8)
    assert np.array_equal(data.images.numpy(), np.rint(means(base, 2)))
    assert torch.equal(data.labels, loaded("cifar10", split).labels)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 6])
def test_means_are_rounded_to_the_nearest_and_halves_to_the_even(
    factor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = stream("blocks", factor).integers(0, 256, (7, 2, 3 * factor, 2 * factor), dtype=np.uint8)
    base[0, 0, :factor, :factor] = 255
    monkeypatch.setattr(averaged, "_ROWS", 3)  # in parts, the last of them smaller
    found = averaged.averaged(torch.from_numpy(base), factor)
    assert np.array_equal(found.numpy(), np.rint(means(base, factor)))
    halves = torch.tensor([[0, 0, 0, 2, 1, 1, 2, 2]], dtype=torch.uint8).repeat_interleave(2, 0)[None, None]
    assert averaged.averaged(halves, 2).flatten().tolist() == [0, 1, 1, 2]
    edge = torch.tensor([[[[0, 1, 1, 2], [0, 1, 1, 2]]]], dtype=torch.uint8)
    assert averaged.averaged(edge, 2).flatten().tolist() == [0, 2]  # ½ and 1½


def test_the_mark_is_of_its_own_content_of_both_splits(brought: Path) -> None:
    found = []
    other = encoded(pixels("other", 0, 0))
    contents = [
        files(),
        files() | {"train/class3/0001.png": other},
        files() | {"test/class3/0001.png": other},
    ]
    for number, content in enumerate(contents):
        os.utime(write(brought, ".zip", content), ns=(number, number))
        images._load.cache_clear()
        found.append(loaded().sha256)
        assert loaded(split="held-out").sha256 == found[-1] != loaded("cifar10").sha256
        ours = loaded().images[3 * COUNTS[0] + 1].numpy()  # not what was averaged before
        expected = pixels("other", 0, 0) if number == 1 else pixels("train", 3, 1)
        assert np.array_equal(ours, np.rint(means(expected[None], 2))[0])
    assert len(set(found)) == 3
    (brought / "cifar10.zip").unlink()
    write(brought, "", files())
    images._load.cache_clear()
    assert loaded().sha256 == found[0]
    assert found[0].startswith("c222b5cf7420")
    assert len(found[0]) == 64


def test_a_name_may_demand_its_content_and_a_size(brought: Path) -> None:
    write(brought, ".zip", files())
    content = loaded().sha256
    for split, count in (("train", 20), ("held-out", 20)):
        small = loaded(f"cifar16@{content[:8]}:20", split)
        assert (len(small), small.shape, small.sha256) == (count, (3, 16, 16), content)
    with pytest.raises(DataError, match=rf"the images found are cifar16@{content[:12]}"):
        load_data(f"cifar16@{loaded('cifar10').sha256[:8]}")
    with pytest.raises(
        ConfigError, match="data = cifar16:15: expected a multiple of the 10 classes up to 40"
    ):
        load_data("cifar16:15")


def test_a_subset_holds_the_images_of_the_subset_of_its_base(brought: Path) -> None:
    write(brought, ".tar", files())
    small, base = loaded("cifar16:20"), loaded("cifar10:20")
    assert np.array_equal(small.images.numpy(), np.rint(means(base.images.numpy(), 2)))
    assert torch.equal(small.labels, base.labels)


def test_what_is_wrong_with_the_base_is_said_of_the_base(brought: Path) -> None:
    with pytest.raises(DataError, match=r"data = cifar10: not in .*put it there as cifar10"):
        load_data("cifar16")
    with pytest.raises(ConfigError, match=r'split = .*did you mean "train"'):
        load_data("cifar16", "trian")
    assert num_train_images("cifar16") == num_train_images("cifar10") == 50_000


def test_blocks_fit_the_images_of_every_row() -> None:
    sizes = {name: source.shape[1:] for name, source in images.IMAGE_SETS.items()}
    for name, row in averaged.AVERAGED.items():
        assert name in DATASETS
        assert [side % row.factor for side in sizes[row.base]] == [0, 0]
