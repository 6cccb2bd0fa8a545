"""The way from noise to images, kept frame by frame."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import check_count
from ..models import DiffusionTransformer
from ..rng import check_seeds
from .sampler import check_model, noise_for_seeds, sample


def trajectory(
    model: DiffusionTransformer,
    seeds: Sequence[int],
    labels: Sequence[int] | int | None = None,
    *,
    num_frames: int = 9,
    **options: Any,
) -> Tensor:
    """States on the way of ``sample(model, seeds, labels, **options)``, evenly spread over its steps.

    Args:
        model, seeds, labels, options: as in ``sample``; all seeds in one batch.
        num_frames: at most so many, ≥ 2; the first is the noise, the last the images.

    Returns:
        Tensor: (frames, n, c, h, w), float32, on the CPU.

    Raises:
        ConfigError: fewer than two frames, or what ``sample`` refuses.
    """
    check_count("num_frames", num_frames, 2)
    seeds = check_seeds(seeds)
    states = [noise_for_seeds(seeds, check_model(model).image_shape)]

    def keep(_: int, x: Tensor) -> None:
        states.append(x.float().cpu())

    images = sample(model, seeds, labels, batch_size=max(len(seeds), 1), on_step=keep, **options)
    # A last step of its own, as SDEs have; without seeds there are no steps.
    if len(states) == 1 or not torch.equal(states[-1], images):
        states.append(images)
    count = min(num_frames, len(states))
    picks = [round(i * (len(states) - 1) / (count - 1)) for i in range(count)]
    return torch.stack([states[pick] for pick in picks])
