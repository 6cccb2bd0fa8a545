"""The way from noise to images, frame by frame."""

import pytest
import torch
from torch import Tensor

from disperse.errors import ConfigError
from disperse.models import DiffusionTransformer
from disperse.sampling import noise_for_seeds, sample, trajectory


def test_frames_are_evenly_spread_from_the_noise_to_the_images(small: DiffusionTransformer) -> None:
    states: list[Tensor] = [noise_for_seeds([5, 2], (1, 8, 8))]
    options = {"solver": "euler", "num_steps": 6, "guidance": 2.0}
    images = sample(small, [5, 2], 4, **options, on_step=lambda _, x: states.append(x.clone()))
    frames = trajectory(small, [5, 2], 4, num_frames=4, **options)
    assert torch.equal(frames, torch.stack([states[step] for step in (0, 2, 4, 6)]))
    assert torch.equal(frames[-1], images)
    assert len(trajectory(small, [5, 2], 4, num_frames=99, **options)) == 7


def test_a_last_step_of_its_own_is_a_frame(small: DiffusionTransformer) -> None:
    options = {"solver": "sde-euler", "num_steps": 3}
    frames = trajectory(small, [5, 2], **options)
    assert len(frames) == 5  # noise, three steps, the step without noise
    assert torch.equal(frames[-1], sample(small, [5, 2], **options))
    assert not torch.equal(frames[-1], frames[-2])


def test_seeds_of_every_kind(small: DiffusionTransformer) -> None:
    options = {"solver": "euler", "num_steps": 2}
    expected = trajectory(small, [5, 2], **options)
    for seeds in (torch.tensor([5, 2]), (seed for seed in (5, 2))):
        assert torch.equal(trajectory(small, seeds, **options), expected)
    assert trajectory(small, [], **options).shape == (2, 0, 1, 8, 8)
    with pytest.raises(ConfigError, match="2 stands twice"):
        trajectory(small, [2, 2], **options)


@pytest.mark.parametrize("num_frames", [1, 0, 2.0, "9"])
def test_fewer_than_two_frames_are_refused(small: DiffusionTransformer, num_frames: object) -> None:
    with pytest.raises(ConfigError, match="num_frames = "):
        trajectory(small, [5], num_frames=num_frames)
