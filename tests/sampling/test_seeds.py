"""An image is a function of its seed, label and weights; settings that only look right are refused."""

import numpy as np
import pytest
import torch

from disperse.errors import ConfigError
from disperse.models import DiffusionTransformer, build_model
from disperse.rng import normal
from disperse.sampling import SamplerConfig, labels_for_seeds, noise_for_seeds, sample, sampler

SEEDS = [9, 2, 14, 0, 7, 3, 12, 1, 15, 5, 8, 11, 4, 6, 13, 10]
TOLERANCE = 1e-5


def gap(model: DiffusionTransformer, batch_size: int) -> float:
    """Largest difference between permuted seeds in small batches and all in one batch."""
    whole = sample(model, range(16), num_steps=3, batch_size=16)
    parts = sample(model, SEEDS, num_steps=3, batch_size=batch_size)
    return (parts - whole[SEEDS]).abs().max().item()


@pytest.mark.parametrize("batch_size", [1, 3, 5, 16])
def test_images_do_not_depend_on_batch_or_order(wide: DiffusionTransformer, batch_size: int) -> None:
    assert gap(wide, batch_size) <= TOLERANCE


def test_noise_keyed_by_the_batch_would_be_seen(
    wide: DiffusionTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sampler, "noise_for_seeds", lambda seeds, shape: normal((len(seeds), *shape), "batch", seeds[0])
    )
    assert gap(wide, 5) > 1000 * TOLERANCE


def test_labels_keyed_by_the_batch_would_be_seen(
    wide: DiffusionTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        sampler, "labels_for_seeds", lambda seeds, classes: torch.arange(len(seeds)) % classes
    )
    assert gap(wide, 16) > 1000 * TOLERANCE


def test_noise_and_labels_are_bit_equal_alone_and_together() -> None:
    noise, labels = noise_for_seeds(SEEDS, (1, 8, 8)), labels_for_seeds(SEEDS, 10)
    for row, seed in enumerate(SEEDS):
        assert torch.equal(noise[row], noise_for_seeds([seed], (1, 8, 8))[0])
        assert labels[row] == labels_for_seeds([seed], 10)[0]
    assert torch.equal(noise_for_seeds(np.array(SEEDS), (1, 8, 8)), noise)
    assert torch.equal(labels_for_seeds(np.array(SEEDS), 10), labels)


def test_noise_and_labels_never_move() -> None:
    assert labels_for_seeds(range(12), 10).tolist() == [8, 1, 5, 5, 9, 6, 2, 5, 3, 2, 6, 9]
    noise = noise_for_seeds([0, 2**63], (3,))
    assert noise[0].tolist() == pytest.approx([0.7363281846, 1.5934044123, -0.7428230047], rel=1e-6)
    assert noise[1].tolist() == pytest.approx([0.1552855670, 1.1728428602, 1.4211859703], rel=1e-6)


def test_labels_are_uniform() -> None:
    counts = labels_for_seeds(range(4000), 10).bincount(minlength=10)
    assert counts.min() > 400 - 5 * 19
    assert counts.max() < 400 + 5 * 19


def test_large_seeds_share_neither_noise_nor_image(small: DiffusionTransformer) -> None:
    seeds = [0, 1, 2**31, 2**32, 2**32 + 1, 2**63, 2**64, 2**64 + 1]
    for values in (noise_for_seeds(seeds, (1, 8, 8)), sample(small, seeds, 0, num_steps=1)):
        assert torch.pdist(values.flatten(1)).min() > 0.1
    assert torch.equal(noise_for_seeds(seeds, (3,))[4], noise_for_seeds([2**32 + 1], (3,))[0])


@pytest.mark.parametrize("seeds", [[-1], [0.5], [True], [1, 2, 1]])
def test_bad_seeds(small: DiffusionTransformer, seeds: list[object]) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        sample(small, seeds)


def test_no_seeds_give_nothing(small: DiffusionTransformer) -> None:
    assert noise_for_seeds([], (1, 8, 8)).shape == (0, 1, 8, 8)
    assert labels_for_seeds([], 10).shape == (0,)
    for labels in (None, 3, [], torch.empty(0, dtype=torch.int64)):
        assert sample(small, [], labels).shape == (0, 1, 8, 8)


def test_global_generators_are_neither_read_nor_moved(small: DiffusionTransformer) -> None:
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    first = sample(small, range(3), num_steps=2)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.rand(7)
    assert torch.equal(first, sample(small, range(3), num_steps=2))


def test_one_label_for_all_is_that_label_for_each(small: DiffusionTransformer) -> None:
    expected = sample(small, range(3), [4, 4, 4], num_steps=2)
    for label in (4, np.int64(4), torch.tensor([4, 4, 4]), np.array([4, 4, 4])):
        assert torch.equal(sample(small, range(3), label, num_steps=2), expected)
    assert (sample(small, range(3), 5, num_steps=2) - expected).abs().max() > 1e-2


@pytest.mark.parametrize(
    "labels",
    [True, [True, False], ["3", "4"], "34", 2**70, [2**70, 0], [0.0, 1.0], [0], [0, 1, 2], [0, 10], -1, [None] * 2,
     torch.zeros(2, 1).long(), torch.zeros(2, dtype=torch.complex64), torch.zeros(2, dtype=torch.bool)],
    ids=repr,
)  # fmt: skip
def test_bad_labels_stop_before_the_model(small: DiffusionTransformer, labels: object) -> None:
    with pytest.raises(ConfigError, match=r"^labels: expected ") as caught:
        sample(small, [0, 1], labels, num_steps=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("batch_size", [0, -1, True, "3", 2.5, None])
def test_bad_batch_sizes(small: DiffusionTransformer, batch_size: object) -> None:
    with pytest.raises(ConfigError, match="batch_size = "):
        sample(small, [0], batch_size=batch_size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"solver": "huen"}, 'sampler.solver = .huen.*did you mean "heun"'),
        ({"solver": ["heun"]}, "sampler.solver = "),
        ({"num_steps": "25"}, "sampler.num_steps = '25'"),
        ({"num_steps": 2.0}, r"sampler.num_steps = 2\.0"),
        ({"num_steps": 0}, "sampler.num_steps = 0"),
        ({"num_steps": True}, "sampler.num_steps = True"),
        ({"guidance": True}, "sampler.guidance = True"),
        ({"guidance": "1.5"}, "sampler.guidance = '1.5'"),
        ({"guidance": -0.1}, "sampler.guidance = -0.1"),
        ({"guidance": float("inf")}, "sampler.guidance = inf"),
        ({"guidance": float("nan")}, "sampler.guidance = nan"),
        ({"guided_channels": 0}, "sampler.guided_channels = 0"),
        ({"guided_channels": "3"}, "sampler.guided_channels = '3'"),
        ({"precision": "bf61"}, 'did you mean "bf16"'),
        ({"compile": "no"}, "sampler.compile = 'no'"),
    ],
)
def test_a_sampler_is_checked_when_it_is_made(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        SamplerConfig(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "solver", "message"),
    [("DiT", "heun", "a dit model is sampled by ddim, ddpm"), ("SiT", "ddpm", "a sit model is sampled by heun"),
     ("SiT", "meanflow", "a sit model"), ("MF", "sde-euler", "a meanflow model is sampled by meanflow, heun")],
)  # fmt: skip
def test_a_solver_of_another_system_is_refused(name: str, solver: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sample(build_model(f"{name}-Nano/2"), [0], solver=solver, num_steps=1)


def test_guidance_zero_is_the_model_without_a_label(small: DiffusionTransformer) -> None:
    images = sample(small, range(3), [0, 1, 2], num_steps=2, guidance=0)
    assert torch.equal(images, sample(small, range(3), [5, 5, 5], num_steps=2, guidance=0))
    assert not torch.equal(images, sample(small, range(3), [5, 5, 5], num_steps=2))
