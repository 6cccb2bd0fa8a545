"""The way from noise to images, kept frame by frame, with the end that each frame points to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..device import autocast
from ..errors import check_count
from ..models import DiffusionTransformer
from ..objectives import Objective, OnStep, build_objective
from ..rng import check_seeds
from .config import SamplerConfig
from .sampler import check_labels, config_for, noise_for_seeds, predictor, sample, solver_times


@dataclass(frozen=True)
class Trajectory:
    """Frames of a way from noise to images.

    Attributes:
        states (Tensor): x_t, shape (frames, n, c, h, w), float32, on the CPU; from noise to images.
        ends (Tensor): the image that the network predicts from each state, same shape; the last is
            the last state.
        levels: noise level of each frame, 1 is pure noise; the last is 0.
    """

    states: Tensor
    ends: Tensor
    levels: tuple[float, ...]


def trajectory(
    model: DiffusionTransformer,
    seeds: Sequence[int],
    labels: Tensor | Sequence[int] | int | None = None,
    config: SamplerConfig | None = None,
    *,
    num_frames: int = 9,
    on_step: OnStep | None = None,
    **knobs: Any,
) -> Trajectory:
    """The way of ``sample(model, seeds, labels, config, **knobs)``, evenly spread over its steps.

    Args:
        model, seeds, labels, config, knobs: as in ``sample``; all seeds in one batch.
        num_frames: at most so many, ≥ 2; the first is the noise, the last the images.
        on_step: called after each step, as in ``sample``, and as often as ends are predicted after that.

    Raises:
        ConfigError: fewer than two frames, or what ``sample`` refuses.
    """
    check_count("num_frames", num_frames, 2)
    seeds, config = check_seeds(seeds), config_for(model, config, knobs)
    labels = check_labels(labels, seeds, model.config.num_classes)
    states = [noise_for_seeds(seeds, model.config.image_shape)]

    def keep(step: int, x: Tensor) -> None:
        states.append(x.float().cpu())
        if on_step:
            on_step(step, x)

    images = sample(model, seeds, labels, config, batch_size=max(len(seeds), 1), on_step=keep)
    # A last step of its own, as SDEs have; without seeds there are no steps.
    if len(states) == 1 or not torch.equal(states[-1], images):
        states.append(images)
    count = min(num_frames, len(states))
    picks = [round(i * (len(states) - 1) / (count - 1)) for i in range(count)]
    shown = [states[pick] for pick in picks]
    objective = build_objective(model.objective, model.config.num_classes)
    every = solver_times(objective, config)
    times = [every[pick] for pick in picks[:-1]]
    ends = [*_ends(model, objective, labels, config, shown[:-1], times, on_step), images]
    levels = (*(_level(objective, config, t) for t in times), 0.0)
    return Trajectory(torch.stack(shown), torch.stack(ends), levels)


def _ends(
    model: DiffusionTransformer,
    objective: Objective,
    labels: Tensor,
    config: SamplerConfig,
    states: list[Tensor],
    times: list[float],
    on_step: OnStep | None,
) -> list[Tensor]:
    device, was_training = next(model.parameters()).device, model.training
    predict, found = predictor(model.eval(), objective, labels.to(device), config), []
    try:
        with torch.no_grad(), autocast(device, config.precision):
            for number, (x, t) in enumerate(zip(states, times, strict=True)):
                if not len(x):  # no seeds
                    return states
                found.append(
                    objective.predicted_end(predict, x.to(device), _own_time(objective, config, t))
                    .float()
                    .cpu()
                )
                if on_step:
                    on_step(config.num_steps + number, found[-1])
    finally:
        model.train(was_training)
    return found


def _own_time(objective: Objective, config: SamplerConfig, t: float) -> float:
    """A solver's time as the network counts."""
    own = config.solver in ("ddim", "ddpm", *objective.steps)
    return t if own else objective.network_time(t)


def _level(objective: Objective, config: SamplerConfig, t: float) -> float:
    return objective.noise_level(torch.tensor([_own_time(objective, config, t)])).item()
