"""Images of many networks of one shape at once, all from the same noise."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.func import vmap

from ..device import autocast
from ..errors import ConfigError
from ..models.stacked import MOST_ROWS, StackedNetwork
from .config import SamplerConfig
from .sampler import integrate, noise_for_seeds


@torch.no_grad()
def sample_stacked(
    network: StackedNetwork,
    weights: Mapping[str, Tensor],
    seeds: Sequence[int],
    labels: Tensor,
    config: SamplerConfig,
    *,
    batch_size: int = 125,
) -> Tensor:
    """What ``sample`` gives for each member, to rounding; the noise of a seed is the same for all.

    Args:
        network: shape of the members.
        weights: of all members, (members, ...) each.
        seeds: of the images.
        labels (Tensor): one label per seed, shape (n,), int64.
        config: the sampler.
        batch_size: images of one member at a time.

    Returns:
        Tensor: shape (members, n, c, h, w), float32, on the CPU. A member that diverged gives NaN.

    Raises:
        ConfigError: an adaptive solver, whose steps would depend on all members.
    """
    if config.nfe is None:
        raise ConfigError(f"sampler.solver = {config.solver}: adaptive, so members would share its steps")
    SamplerConfig.for_system(network.config.system, config.solver, config.num_steps)
    device = next(iter(weights.values())).device
    count = len(next(iter(weights.values())))
    most = max(MOST_ROWS // (batch_size * (1 if config.guidance == 1 else 2)), 1)
    images = torch.empty(count, len(seeds), *network.config.image_shape)
    for start in range(0, len(seeds), batch_size):
        rows = slice(start, start + batch_size)
        x = noise_for_seeds(seeds[rows], network.config.image_shape).to(device)
        y = labels[rows].to(device)

        def member(own: dict[str, Tensor], x: Tensor = x, y: Tensor = y, rows: slice = rows) -> Tensor:
            return integrate(network.member(own), x, y, seeds[rows], config)  # type: ignore[arg-type]

        for first in range(0, count, most):
            members = slice(first, first + most)
            own = {name: value[members] for name, value in weights.items()}
            with autocast(device, config.precision):
                images[members, rows] = vmap(member)(own).float().cpu()
    return images
