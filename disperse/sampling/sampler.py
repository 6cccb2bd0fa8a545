"""Images from seeds: sample i depends on its own seed, label and the weights, not on its batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..device import autocast, resolve_device
from ..errors import ConfigError, NonFiniteError, check_count, unknown
from ..models import DiffusionTransformer
from ..rng import check_seeds, normal, stream
from .guidance import guided_velocity
from .solvers import SOLVERS, OnStep, nfe, uniform_times


@dataclass(frozen=True)
class SamplerConfig:
    """How to get from noise to an image.

    Attributes:
        solver: ``"euler"`` or ``"heun"``.
        num_steps: steps of the uniform grid, ≥ 1.
        guidance: scale s of classifier-free guidance; 1 is none.
        guided_channels: None guides all channels; 3 is what the published DiT and SiT code does.
        precision: ``"fp32"`` or ``"bf16"`` (network calls; the state stays float32).
        compile: compile the network.
    """

    solver: str = "heun"
    num_steps: int = 25
    guidance: float = 1.0
    guided_channels: int | None = None
    precision: str = "fp32"
    compile: bool = False

    def __post_init__(self) -> None:
        if self.solver not in list(SOLVERS):
            raise unknown("sampler.solver", self.solver, SOLVERS)
        check_count("sampler.num_steps", self.num_steps, 1)
        number = isinstance(self.guidance, (int, float)) and not isinstance(self.guidance, bool)
        if not number or not 0 <= self.guidance < 1e3:
            raise ConfigError(f"sampler.guidance = {self.guidance!r}: expected a number from 0 to 1000")
        if self.guided_channels is not None:
            check_count("sampler.guided_channels", self.guided_channels, 1)
        if self.precision not in ("fp32", "bf16"):
            raise unknown("sampler.precision", self.precision, ("fp32", "bf16"))
        if not isinstance(self.compile, bool):
            raise ConfigError(f"sampler.compile = {self.compile!r}: expected True or False")

    @property
    def nfe(self) -> int:
        """Velocity evaluations per image; guidance makes each of them twice as large."""
        return nfe(self.solver, self.num_steps)

    def describe(self) -> str:
        """One line for captions and cards."""
        channels = "" if self.guided_channels is None else f" (first {self.guided_channels} channels)"
        guidance = "no guidance" if self.guidance == 1 else f"guidance {self.guidance:g}{channels}"
        return f"{self.solver} ODE, {self.num_steps} steps, {self.nfe} NFE, {guidance}"


def noise_for_seeds(seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Starting noise, one stream per seed: (len(seeds), *shape), float32, on the CPU."""
    rows = [normal(shape, "sample noise", seed) for seed in seeds]
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
        ConfigError: the model does not predict a velocity.
    """
    if model.config.keep_sigma:
        raise ConfigError("model: returns noise and variance (DiT); the solvers need a velocity (SiT)")
    if device is not None:
        model = model.to(resolve_device(str(device)))
    model = model.eval()
    return torch.compile(model) if config.compile else model  # type: ignore[return-value]


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
    velocity = guided_velocity(
        network,
        labels.to(device),
        null_class=network.config.num_classes,
        scale=config.guidance,
        guided_channels=config.guided_channels,
    )
    with torch.no_grad(), autocast(device, config.precision):
        x = SOLVERS[config.solver](velocity, x, uniform_times(config.num_steps), on_step)
    images = x.float().cpu()
    bad = (~torch.isfinite(images.flatten(1)).all(dim=1)).nonzero().flatten().tolist()
    if bad:
        raise NonFiniteError(
            f"samples of seeds {[seeds[i] for i in bad][:8]} hold NaN or infinity; "
            "the weights may have diverged, or guidance is too strong"
        )
    return images


def sample(
    model: DiffusionTransformer,
    seeds: Sequence[int],
    labels: Tensor | Sequence[int] | int | None = None,
    *,
    solver: str = "heun",
    num_steps: int = 25,
    guidance: float = 1.0,
    guided_channels: int | None = None,
    precision: str = "fp32",
    compile: bool = False,
    batch_size: int = 256,
    device: str | torch.device | None = None,
    progress: bool = False,
    on_step: OnStep | None = None,
) -> Tensor:
    """Sample one image per seed.

    Args:
        model: a class-conditional model; it is moved to ``device`` if one is given, sampled in eval mode
            and left in the mode it was in.
        seeds: distinct integers ≥ 0; the noise of image i is a function of ``seeds[i]`` alone.
        labels: one label per seed, one label for all, or None for a random one keyed by the seed. (For
            samples without a label, ``guidance=0``: what is left is the velocity of the null class.)
        solver, num_steps, guidance, guided_channels, precision, compile: see ``SamplerConfig``.
        batch_size: images on the device at a time; results agree across sizes to rounding (1e-5).
        device: ``"auto"``, ``"cuda"``...; None leaves the model where it is.
        progress: show a bar.
        on_step: called with (index of the step, state after it) for each batch.

    Returns:
        Tensor: shape (len(seeds), c, h, w), float32, on the CPU; data range about [−1, 1].
    """
    config = SamplerConfig(solver, num_steps, guidance, guided_channels, precision, compile)
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
