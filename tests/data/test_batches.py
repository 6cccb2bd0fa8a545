"""The digits, fixed for ever, and the order in which steps see them."""

import hashlib

import pytest
import torch

from disperse.atomic import digest
from disperse.data import DATASETS, batch_indices, digits, load_data, num_train_images
from disperse.errors import ConfigError


@pytest.mark.parametrize(
    ("split", "n", "images", "labels"),
    [("train", 1297, "07014629707e", "358abcc48b00"), ("held-out", 500, "0a710973373e", "ad3a8956ccca")],
)
def test_the_digits_never_move(split: str, n: int, images: str, labels: str) -> None:
    data = digits(split)
    assert data.images.shape == (n, 1, 8, 8)
    assert (data.images.dtype, data.labels.dtype) == (torch.float32, torch.int64)
    assert len(data) == n
    assert hashlib.sha256(data.images.numpy().tobytes()).hexdigest()[:12] == images
    assert digest(data.labels.tolist()) == labels


def test_pixels_use_the_whole_range() -> None:
    values = torch.cat([digits("train").images, digits("held-out").images]).unique()
    assert torch.equal(values, torch.arange(17) / 8 - 1)


def test_the_splits_share_no_image_and_together_are_all() -> None:
    from sklearn.datasets import load_digits

    rows = [{image.numpy().tobytes() for image in digits(split).images} for split in ("train", "held-out")]
    assert not rows[0] & rows[1]
    assert len(digits("train")) + len(digits("held-out")) == len(load_digits().target)
    assert digits("held-out").labels.bincount().tolist() == [50] * 10


@pytest.mark.parametrize("name", ["digit", "Digits", "", None])
def test_unknown_data(name: object) -> None:
    with pytest.raises(ConfigError, match=r"data = .*expected one of digits"):
        load_data(name)
    with pytest.raises(ConfigError, match=r'split = .*did you mean "train"'):
        load_data("digits", "trian")


def test_the_number_of_images_is_known_without_reading_them() -> None:
    for name in ("digits", "digits:160"):
        assert num_train_images(name) == len(load_data(name))
    assert {name: num_train_images(name) for name in DATASETS} == {
        "digits": 1297, "cifar10": 50_000, "fashion": 60_000, "cifar16": 50_000, "imagenet256-latents": 1_281_167,
    }  # fmt: skip
    assert num_train_images("cifar10@f35c81e2:200") == 200
    with pytest.raises(ConfigError, match=r"data = 'digit': expected one of digits"):
        num_train_images("digit")


def test_first_batches_never_move() -> None:
    assert batch_indices(1297, 8, 0, 0).tolist() == [18, 802, 1019, 1141, 1068, 541, 153, 507]
    # Step 162 is the first of the second epoch: the last sample of the first was left over.
    assert batch_indices(1297, 8, 0, 162).tolist() == [85, 457, 202, 922, 997, 252, 250, 418]


@pytest.mark.parametrize(("size", "batch"), [(10, 4), (10, 10), (10, 1), (7, 3), (1, 1)])
def test_an_epoch_shows_no_sample_twice(size: int, batch: int) -> None:
    epochs, steps = 4, size // batch
    orders = torch.stack([batch_indices(size, batch, 3, step) for step in range(epochs * steps)])
    for order in orders.view(epochs, steps * batch):
        assert len(set(order.tolist())) == steps * batch
        assert 0 <= int(order.min()) <= int(order.max()) < size
    if size > 1:
        assert len({tuple(order.tolist()) for order in orders.view(epochs, -1)}) == epochs


def test_no_sample_is_left_over_for_ever() -> None:
    seen = torch.cat([batch_indices(10, 4, 3, step) for step in range(40)])
    counts = seen.bincount(minlength=10)
    assert int(counts.sum()) == 160
    assert int(counts.min()) >= 10


def test_no_batch_holds_a_sample_twice() -> None:
    """Two rows of one sample are a pair at distance 0, which a batch loss would push on."""
    for step in range(200):
        assert len(batch_indices(1297, 128, 0, step).unique()) == 128


def test_a_batch_is_a_function_of_seed_and_step() -> None:
    last_first = [batch_indices(20, 6, 5, step) for step in reversed(range(8))][::-1]
    state = torch.random.get_rng_state()
    in_order = [batch_indices(20, 6, 5, step) for step in range(8)]
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(map(torch.equal, last_first, in_order))
    in_order[0].zero_()  # what a caller does to a batch reaches no other
    assert torch.equal(batch_indices(20, 6, 5, 0), last_first[0])
    assert not torch.equal(last_first[0], batch_indices(20, 6, 6, 0))
    assert batch_indices(20, 6, 5, 10**12).shape == (6,)


@pytest.mark.parametrize(
    ("size", "batch", "step"),
    [(10, 11, 0), (10, 0, 0), (0, 1, 0), (10, -1, 0), (10, "3", 0), (10, True, 0), (10, 2.5, 0), (10, 2, -1),
     (10, 2, 0.5)],
)  # fmt: skip
def test_batches_that_cannot_be(size: int, batch: object, step: object) -> None:
    with pytest.raises(ConfigError, match=r"^(batch_size|step) = ") as caught:
        batch_indices(size, batch, 0, step)
    assert "\n" not in str(caught.value)


def test_subsets_are_nested_balanced_and_of_the_train_split() -> None:
    small, large = load_data("digits:100"), load_data("digits:400")
    assert small.labels.bincount().tolist() == [10] * 10
    assert large.labels.bincount().tolist() == [40] * 10
    rows = {tuple(image.flatten().tolist()) for image in large.images}
    assert all(tuple(image.flatten().tolist()) in rows for image in small.images)
    assert len(load_data("digits:100", "held-out")) == 500
    assert torch.equal(load_data("digits:100").images, small.images)


@pytest.mark.parametrize("count", ["0", "15", "2000", "-10", "x", ""])
def test_subsets_that_cannot_be(count: str) -> None:
    with pytest.raises(ConfigError, match=f"^data = digits:{count}: expected a multiple of the 10 classes"):
        load_data(f"digits:{count}")
