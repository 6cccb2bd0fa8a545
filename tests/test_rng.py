"""Keyed streams: fixed for ever, told apart by every part of the key, and of the right distribution."""

import numpy as np
import pytest
import torch

from disperse.errors import ConfigError
from disperse.rng import check_seeds, normal, stream, uniform

NORMAL = [0.10324526578187943, -0.41036173701286316, 1.2588059902191162]
UNIFORM = [0.0690680742263794, 0.35542041063308716, 0.7238035202026367]
PERMUTATION = [3, 4, 7, 6, 1, 5, 0, 2]
INTEGERS = [245, 640, 411]


def test_first_values_never_move() -> None:
    """Every published number depends on these; a change of NumPy or of the keys shows here."""
    assert normal((3,), "golden", 0).tolist() == pytest.approx(NORMAL, rel=1e-7)
    assert uniform((3,), "golden", 0).tolist() == UNIFORM
    assert stream("golden", 0).permutation(8).tolist() == PERMUTATION
    assert stream("golden", 2**63).integers(1000, size=3).tolist() == INTEGERS


@pytest.mark.parametrize(
    "other",
    [("a", 1), ("a", 1, 0), ("a", "1"), (1, "a"), ("b", 1), ("a", -1), ("a", 1 + 2**32), ("a", 1 + 2**63),
     ("a", 1 + 2**64), ("a1",), ("a",), ()],
)  # fmt: skip
def test_equal_draws_for_equal_keys_only(other: tuple[str | int, ...]) -> None:
    equal = torch.equal(normal((16,), "a", 1), normal((16,), *other))
    assert equal == (other == ("a", 1))


def test_a_numpy_integer_is_the_same_key() -> None:
    for seed in (np.int64(7), np.int32(7), np.uint8(7)):
        assert torch.equal(normal((4,), "a", seed), normal((4,), "a", 7))


@pytest.mark.parametrize("part", [True, np.True_, 1.0, None, torch.tensor(1), ("a",), b"a"])
def test_other_key_parts_are_refused(part: object) -> None:
    with pytest.raises(ConfigError, match="key") as caught:
        stream("a", part)
    assert "\n" not in str(caught.value)


def test_distributions() -> None:
    z, u = normal((400, 500), "moments").double(), uniform((400, 500), "moments").double()
    n = z.numel()  # bounds are five standard errors
    assert abs(z.mean().item()) < 5 / n**0.5
    assert z.square().mean().item() == pytest.approx(1, abs=5 * (2 / n) ** 0.5)
    assert z.pow(4).mean().item() == pytest.approx(3, abs=5 * (96 / n) ** 0.5)
    assert u.mean().item() == pytest.approx(1 / 2, abs=5 / (12 * n) ** 0.5)
    assert u.square().mean().item() == pytest.approx(1 / 3, abs=5 * (4 / 45 / n) ** 0.5)
    assert u.min() >= 0
    assert u.max() < 1
    # Neighbouring keys are independent too.
    first, second = normal((n,), "pair", 0), normal((n,), "pair", 1)
    assert abs((first * second).mean().item()) < 5 / n**0.5


def test_shapes_and_dtypes() -> None:
    for draw in (normal, uniform):
        assert draw((2, 3), "a").shape == (2, 3)
        assert draw((0,), "a").shape == (0,)
        assert draw((2,), "a").dtype == torch.float32


def test_the_global_generators_are_neither_read_nor_moved() -> None:
    torch.manual_seed(1)
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.random.get_rng_state()
    first = normal((4,), "a")
    assert np.array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.random.get_rng_state(), torch_state)
    torch.manual_seed(2)
    torch.rand(3)
    assert torch.equal(first, normal((4,), "a"))


def test_a_torch_generator_confuses_seeds_that_a_stream_tells_apart() -> None:
    seeds = (1, 2**32 + 1)
    generated = [torch.randn(8, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    assert torch.equal(*generated)  # the reason for NumPy's Philox; if this fails, torch has changed
    assert not torch.equal(*(normal((8,), seed) for seed in seeds))


def test_seeds_of_any_size_pass_as_they_are() -> None:
    seeds = [0, 3, 2**32, 2**63, 2**200, np.int64(5)]
    checked = check_seeds(seeds)
    assert checked == seeds
    assert all(type(seed) is int for seed in checked)
    assert check_seeds([]) == []
    assert check_seeds(range(3)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("seeds", "message"),
    [([0, -1], r"seeds\[1\] = -1"), ([0.0], r"seeds\[0\] = 0\.0"), ([True], "True"), ([np.True_], "True"),
     (["3"], "'3'"), ([None], "None"), ([4, 5, 4], "4 stands twice"), ([5, np.int64(5)], "5 stands twice")],
)  # fmt: skip
def test_bad_seeds_are_named(seeds: list[object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_seeds(seeds)
    assert "\n" not in str(caught.value)
