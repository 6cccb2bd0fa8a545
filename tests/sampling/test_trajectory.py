"""The way from noise to images, frame by frame, and where each frame is headed."""

import pytest
import torch
from torch import Tensor

from disperse.errors import ConfigError
from disperse.models import DiffusionTransformer, build_model
from disperse.sampling import noise_for_seeds, sample, trajectory

from .conftest import awake


def test_frames_are_evenly_spread_from_the_noise_to_the_images(small: DiffusionTransformer) -> None:
    states: list[Tensor] = [noise_for_seeds([5, 2], (1, 8, 8))]
    options = {"solver": "euler", "num_steps": 6, "guidance": 2.0}
    images = sample(small, [5, 2], 4, **options, on_step=lambda _, x: states.append(x.clone()))
    frames = trajectory(small, [5, 2], 4, num_frames=4, **options).states
    assert torch.equal(frames, torch.stack([states[step] for step in (0, 2, 4, 6)]))
    assert torch.equal(frames[-1], images)
    assert len(trajectory(small, [5, 2], 4, num_frames=99, **options).states) == 7


def test_a_last_step_of_its_own_is_a_frame(small: DiffusionTransformer) -> None:
    options = {"solver": "sde-euler", "num_steps": 3}
    way = trajectory(small, [5, 2], **options)
    assert len(way.states) == 5  # noise, three steps, the step without noise
    assert torch.equal(way.states[-1], sample(small, [5, 2], **options))
    assert not torch.equal(way.states[-1], way.states[-2])
    assert way.levels == pytest.approx([1, 1 - 0.32, 1 - 0.64, 0.04, 0])


def test_seeds_of_every_kind(small: DiffusionTransformer) -> None:
    options = {"solver": "euler", "num_steps": 2}
    expected = trajectory(small, [5, 2], **options).states
    for seeds in (torch.tensor([5, 2]), (seed for seed in (5, 2))):
        assert torch.equal(trajectory(small, seeds, **options).states, expected)
    assert trajectory(small, [], **options).states.shape == (2, 0, 1, 8, 8)
    with pytest.raises(ConfigError, match="2 stands twice"):
        trajectory(small, [2, 2], **options)


@pytest.mark.parametrize("num_frames", [1, 0, 2.0, "9"])
def test_fewer_than_two_frames_are_refused(small: DiffusionTransformer, num_frames: object) -> None:
    with pytest.raises(ConfigError, match="num_frames = "):
        trajectory(small, [5], num_frames=num_frames)


# A last step of these goes to where the network points, so its end is the image itself.
@pytest.mark.parametrize(
    ("preset", "options"),
    [
        ("SiT-Pico/2", {"solver": "euler", "num_steps": 5}),
        ("DiT-Pico/2", {"solver": "ddim", "num_steps": 5}),
        ("MF-Pico/2", {"solver": "meanflow", "num_steps": 5}),
    ],
)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_the_last_state_is_headed_for_the_image(preset: str, options: dict, guidance: float) -> None:
    model = awake(build_model(preset))
    way = trajectory(model, [5, 2], 4, guidance=guidance, num_frames=9, **options)
    torch.testing.assert_close(way.ends[-2], way.states[-1], rtol=1e-4, atol=1e-5)
    assert torch.equal(way.ends[-1], way.states[-1])
    assert (way.ends[0] - way.states[-1]).abs().max() > 1e-3
    assert way.levels[0] > 0.99
    assert list(way.levels) == sorted(way.levels, reverse=True)


def test_ends_of_a_meanflow_network_integrated_as_a_flow_are_its_one_step() -> None:
    model = awake(build_model("MF-Pico/2"))
    way = trajectory(model, [5, 2], 4, solver="euler", num_steps=4)
    once = sample(model, [5, 2], 4, solver="meanflow", num_steps=1)
    torch.testing.assert_close(way.ends[0], once, rtol=1e-5, atol=1e-6)
    assert way.levels == pytest.approx([1, 0.75, 0.5, 0.25, 0])


def test_every_step_and_every_end_is_told(small: DiffusionTransformer) -> None:
    calls: list[int] = []
    trajectory(
        small, [5], solver="euler", num_steps=4, num_frames=3, on_step=lambda step, _: calls.append(step)
    )
    assert calls == [0, 1, 2, 3, 4, 5]


def test_the_model_is_left_in_the_mode_it_was_in(small: DiffusionTransformer) -> None:
    small.train()
    try:
        trajectory(small, [5], solver="euler", num_steps=2)
        assert small.training
    finally:
        small.eval()  # of the whole package
