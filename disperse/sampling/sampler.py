"""Images from seeds: sample i depends on its own seed, label and the weights, not on its batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..device import autocast, resolve_device
from ..errors import ConfigError, NonFiniteError, check_count
from ..models import DiffusionTransformer, TransformerConfig
from ..objectives import Interpolant, Objective, OnStep, Predict, build_objective, uniform_times
from ..objectives.diffusion import ddim_times, respaced_times
from ..rng import check_seeds, normal, stream
from .ancestral import ddim, ddpm
from .config import SamplerConfig
from .guidance import guided_prediction
from .sde import SDE_SOLVERS, diffusion_coefficient, last_step
from .solvers import SOLVERS


def noise_for_seeds(seeds: Sequence[int], shape: tuple[int, ...], *step: int) -> Tensor:
    """Noise, one stream per seed (and step, for samplers that add some on the way; without: the start).

    Returns:
        Tensor: (len(seeds), *shape), float32, on the CPU.
    """
    rows = [normal(shape, "sample noise", seed, *step) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, *shape)


def labels_for_seeds(seeds: Sequence[int], num_classes: int) -> Tensor:
    """One uniform label per seed, (len(seeds),), int64."""
    draws = [int(stream("sample label", seed).integers(num_classes)) for seed in seeds]
    return torch.tensor(draws, dtype=torch.int64)


def prepare(
    model: DiffusionTransformer, config: SamplerConfig, device: str | torch.device | None = None
) -> DiffusionTransformer:
    """The model in eval mode on its device (None: where it is), compiled if the sampler says so.

    Raises:
        ConfigError: the solver or the guided channels do not fit the model.
    """
    check_model(model)
    config.check_system(model.objective.kind)
    channels = model.config.in_channels
    if config.guided_channels is not None and config.guided_channels > channels:
        raise ConfigError(
            f"sampler.guided_channels = {config.guided_channels}: the images have {channels}; "
            "leave it out to guide all"
        )
    if device is not None:
        model = model.to(resolve_device(str(device)))
    model = model.eval()
    return torch.compile(model) if config.compile else model  # type: ignore[return-value]


def check_model(model: object) -> TransformerConfig:
    """The shape of a model that can be sampled; others have none.

    Raises:
        ConfigError: it is another module, or none.
    """
    config = getattr(model, "config", None)
    if not isinstance(config, TransformerConfig):
        raise ConfigError(
            f"model: expected one of build_model or load_model, got {type(model).__name__}; "
            "to sample your own network, see guided_prediction and SOLVERS in disperse.sampling"
        )
    return config


def sample_batch(
    network: DiffusionTransformer,
    seeds: Sequence[int],
    labels: Tensor,
    *,
    config: SamplerConfig,
    on_step: OnStep | None = None,
) -> Tensor:
    """Images (b, c, h, w), float32, on the CPU, of one batch; the device holds no more than that.

    Raises:
        NonFiniteError: a sample holds NaN or infinity; the message names its seed.
    """
    device = next(network.parameters()).device
    x = noise_for_seeds(seeds, network.config.image_shape).to(device)
    with torch.no_grad(), autocast(device, config.precision):
        x = integrate(network, x, labels.to(device), seeds, config, on_step)
    images = x.float().cpu()
    bad = (~torch.isfinite(images.flatten(1)).all(dim=1)).nonzero().flatten().tolist()
    if bad:
        raise NonFiniteError(
            f"samples of seeds {[seeds[i] for i in bad][:8]} hold NaN or infinity; "
            "the weights may have diverged, or guidance is too strong"
        )
    return images


def integrate(
    network: DiffusionTransformer,
    x: Tensor,
    labels: Tensor,
    seeds: Sequence[int],
    config: SamplerConfig,
    on_step: OnStep | None = None,
) -> Tensor:
    """From noise x to images by the solver of ``config``, whatever the network predicts."""
    objective = build_objective(network.objective, network.config.num_classes)
    predict = predictor(network, objective, labels, config)

    def noise(step: int) -> Tensor:  # each image has a stream of its own
        return noise_for_seeds(seeds, tuple(x.shape[1:]), step).to(x.device)

    if config.solver == "ddpm":
        return ddpm(predict, x, config.num_steps, noise, on_step)
    if config.solver == "ddim":
        return ddim(predict, x, config.num_steps, noise, on_step, eta=config.eta)
    times = solver_times(objective, config)
    if config.solver in objective.steps:
        return objective.steps[config.solver].run(predict, x, times, on_step)
    velocity = objective.velocity_field(predict)
    if config.solver in SOLVERS:
        return SOLVERS[config.solver](velocity, x, times, on_step)
    assert isinstance(objective, Interpolant)
    path = objective.path
    weight = diffusion_coefficient(config.diffusion, path, config.diffusion_norm)

    def drift(x: Tensor, t: float) -> Tensor:
        v = velocity(x, t)
        return v + weight(t) * objective.score(v, x, torch.full((len(x),), t, device=x.device))

    x = SDE_SOLVERS[config.solver](drift, weight, x, times, noise, on_step)
    return last_step(
        config.last_step, drift, velocity, path, x, times[-1], _last_step_size(objective, config)
    )


def predictor(
    network: DiffusionTransformer, objective: Objective, labels: Tensor, config: SamplerConfig
) -> Predict:
    """What the network predicts under the guidance of ``config``."""
    low, high = config.guidance_interval
    return guided_prediction(
        network,
        labels,
        null_class=network.config.num_classes,
        scale=config.guidance,
        guided_channels=config.guided_channels,
        active=None
        if (low, high) == (0, 1)
        else lambda t: low <= objective.noise_level(torch.tensor([t])).item() <= high,
    )


def solver_times(objective: Objective, config: SamplerConfig) -> list[float]:
    """Times of the states that a solver goes through, noise first, in the time that it counts in.

    DiT: the integer times of the network, n of them, the image after the last. An objective's own steps: as
    the network counts, n + 1. Others: n + 1 times of the path, from noise (0) towards data (1); an SDE stops
    short of it, and its last step is one more.
    """
    steps = config.num_steps
    if config.solver in ("ddim", "ddpm"):
        times = ddim_times(steps) if config.solver == "ddim" else respaced_times(steps)
        return [int(t) for t in reversed(times)]
    if config.solver in objective.steps:
        return objective.steps[config.solver].times(steps)
    if config.solver in SOLVERS:
        return uniform_times(steps, *objective.interval())
    assert isinstance(objective, Interpolant)
    start, end = objective.interval(sde_form=config.diffusion)
    size = _last_step_size(objective, config)
    return uniform_times(steps, start, min(end, 1 - size) if size else end)


def _last_step_size(objective: Interpolant, config: SamplerConfig) -> float:
    """Of an SDE, which stops short of the data in any case."""
    if config.last_step == "none" or not config.last_step_size:
        return 0.0
    return max(config.last_step_size, 1 - objective.interval(sde_form=config.diffusion)[1])


def sample(
    model: DiffusionTransformer,
    seeds: Sequence[int] | Tensor | np.ndarray,
    labels: Tensor | Sequence[int] | int | None = None,
    config: SamplerConfig | None = None,
    *,
    batch_size: int = 256,
    device: str | torch.device | None = None,
    progress: bool = False,
    on_step: OnStep | None = None,
    **knobs: Any,
) -> Tensor:
    """Sample one image per seed.

    Args:
        model: a class-conditional model; it is moved to ``device`` if one is given, sampled in eval mode
            and left in the mode it was in.
        seeds: distinct integers ≥ 0; the noise of image i is a function of ``seeds[i]`` alone.
        labels: one label per seed, one label for all, or None for a random one keyed by the seed. (For
            samples without a label, ``guidance=0``: what is left is the velocity of the null class.)
        config: how; by default as the model's system is usually sampled (SiT: Heun, 25; DiT: DDIM, 50;
            MeanFlow: 1 step).
        batch_size: images on the device at a time; results agree across sizes to rounding (1e-5).
        device: ``"auto"``, ``"cuda"``...; None leaves the model where it is.
        progress: show a bar.
        on_step: called with (index of the step, state after it) for each batch.
        knobs: settings of ``SamplerConfig``, such as ``solver``, ``num_steps`` and ``guidance``; over those
            of ``config`` if both are given.

    Returns:
        Tensor: shape (len(seeds), c, h, w), float32, on the CPU; data range about [−1, 1].

    Raises:
        ConfigError: seeds, labels or settings that can't be used.
    """
    config = config_for(model, config, knobs)
    checked = check_seeds(seeds)
    y = check_labels(labels, checked, model.config.num_classes)
    check_count("batch_size", batch_size, 1)
    was_training = model.training
    network = prepare(model, config, device)
    images = torch.empty(len(checked), *model.config.image_shape)
    try:
        with tqdm(total=len(checked), unit="img", desc="sampling", disable=not progress) as bar:
            for start in range(0, len(checked), batch_size):
                rows = slice(start, start + batch_size)
                images[rows] = sample_batch(network, checked[rows], y[rows], config=config, on_step=on_step)
                bar.update(len(checked[rows]))
    finally:
        model.train(was_training)
    return images


def config_for(
    model: DiffusionTransformer, config: SamplerConfig | None, knobs: dict[str, Any]
) -> SamplerConfig:
    """What a call of ``sample`` asks for: settings over a sampler, or over what is usual for the model.

    Raises:
        ConfigError: no model of ours, no sampler, or settings that are unknown or don't fit.
    """
    check_model(model)
    if config is None:
        return SamplerConfig.for_system(model.objective.kind, **knobs)
    if not isinstance(config, SamplerConfig):
        raise ConfigError(f"config: expected a SamplerConfig, got {type(config).__name__}")
    return config.replace(**knobs).check_system(model.objective.kind)


def check_labels(
    labels: Tensor | Sequence[int] | int | None, seeds: Sequence[int], num_classes: int
) -> Tensor:
    """One label per seed, (len(seeds),), int64, from what ``sample`` accepts.

    Raises:
        ConfigError: another number of labels, not integers, or out of range.
    """
    if labels is None:
        return labels_for_seeds(seeds, num_classes)
    if isinstance(labels, (int, np.integer)) and not isinstance(labels, bool):
        labels = [int(labels)] * len(seeds)
    try:
        y = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"labels: expected {len(seeds)} integers, one per seed ({reason})") from None
    integers = not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
    if y.shape != (len(seeds),) or (len(y) and not integers):
        raise ConfigError(
            f"labels: expected {len(seeds)} integers, one per seed, got {y.dtype} {tuple(y.shape)}"
        )
    if len(y) and not (int(y.min()) >= 0 and int(y.max()) < num_classes):
        raise ConfigError(
            f"labels: expected 0 to {num_classes - 1}, got {int(y.min())} to {int(y.max())}; "
            "for samples without a label, guidance = 0"
        )
    return y.long()
