"""What ``sample`` is called with by mistake: accepted where it is clear, else one line."""

import numpy as np
import pytest
import torch
from torch import nn

from disperse import build_model, sample
from disperse.errors import ConfigError
from disperse.models import DiffusionTransformer
from disperse.rng import check_seeds


@pytest.fixture(scope="module")
def model() -> DiffusionTransformer:
    return build_model("SiT-Nano/2", hidden_size=16, num_heads=2, depth=1)


@pytest.mark.parametrize(
    "seeds",
    [
        torch.tensor([3, 1]), np.array([3, 1]), np.array([3, 1], np.uint8), [np.int64(3), 1],
        (seed for seed in (3, 1)),
    ],
    ids=["tensor", "array", "bytes", "mixed", "generator"],
)  # fmt: skip
def test_seeds_of_any_integer_kind(seeds: object) -> None:
    assert check_seeds(seeds) == [3, 1]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        (4, r"seeds = 4: expected a sequence of integers, such as range\(4\)"),
        (None, "seeds = None: expected a sequence"),
        ("01", "seeds = '01': expected a sequence"),
        (torch.tensor(4), r"seeds = tensor\(4\): expected a sequence"),
        (np.zeros((2, 2), int), r"seeds: .*shape \(2, 2\)"),
        (torch.tensor([0.0, 1.0]), r"seeds\[0\] = 0\.0: expected an integer"),
        (np.array([True, False]), r"seeds\[0\] = True: expected an integer"),
        (torch.tensor([1, -1]), r"seeds\[1\] = -1: must be ≥ 0"),
        (torch.tensor([1, 1]), "1 stands twice"),
    ],
)
def test_seeds_that_are_none(model: DiffusionTransformer, seeds: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        sample(model, seeds)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_seeds_as_a_tensor_give_the_same_images(model: DiffusionTransformer) -> None:
    assert sample(model, torch.tensor([5, 2]), num_steps=1).equal(sample(model, [5, 2], num_steps=1))


@pytest.mark.parametrize("other", [nn.Linear(2, 2), lambda x: x, None, "SiT-Nano/2"])
def test_a_model_of_another_kind(other: object) -> None:
    with pytest.raises(
        ConfigError, match=r"^model: expected one of build_model or load_model, got "
    ) as caught:
        sample(other, [0])  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_more_guided_channels_than_there_are(model: DiffusionTransformer, scale: float) -> None:
    with pytest.raises(ConfigError, match=r"sampler\.guided_channels = 3: the images have 1; leave it out"):
        sample(model, [0], num_steps=1, guidance=scale, guided_channels=3)
    assert sample(model, [0], num_steps=1, guidance=scale, guided_channels=1).shape == (1, 1, 8, 8)
