"""Images of many networks of one shape at once."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.func import vmap

from ..device import autocast
from ..errors import ConfigError
from ..models.stacked import MOST_ROWS, StackedNetwork
from ..objectives import OBJECTIVES
from .config import SamplerConfig
from .sampler import integrate, noise_for_seeds
from .solvers import SOLVERS


@torch.no_grad()
def sample_stacked(
    network: StackedNetwork,
    weights: Mapping[str, Tensor],
    seeds: Sequence[int],
    labels: Tensor,
    config: SamplerConfig,
    *,
    offsets: Sequence[int] = (),
    batch_size: int = 125,
) -> Tensor:
    """What ``sample`` gives for each member, to rounding; the noise of a seed is the same for all.

    Args:
        network: shape of the members.
        weights: of all members, (members, ...) each.
        seeds: of the images.
        labels (Tensor): one label per seed, shape (n,), int64.
        config: the sampler.
        offsets: what is added to every seed, of each member; none by default.
        batch_size: images of one member at a time.

    Returns:
        Tensor: shape (members, n, c, h, w), float32, on the CPU. A member that diverged gives NaN.

    Raises:
        ConfigError: an adaptive solver, whose steps would depend on all members; or offsets with a solver
            that draws noise at every step.
    """
    if config.nfe is None:
        raise ConfigError(f"sampler.solver = {config.solver}: adaptive, so members would share its steps")
    config.check_system(network.objective.kind)
    if any(offsets) and config.solver not in (*SOLVERS, *OBJECTIVES[network.objective.kind].steps, "ddim"):
        raise ConfigError(
            f"sampler.solver = {config.solver}: draws noise at every step, the same for all members"
        )
    device = next(iter(weights.values())).device
    count = len(next(iter(weights.values())))
    most = max(MOST_ROWS // (batch_size * (1 if config.guidance == 1 else 2)), 1)
    images = torch.empty(count, len(seeds), *network.config.image_shape)
    for start in range(0, len(seeds), batch_size):
        rows = slice(start, start + batch_size)
        noise = {
            offset: noise_for_seeds([seed + offset for seed in seeds[rows]], network.config.image_shape)
            for offset in {*(offsets or (0,))}
        }
        starts = torch.stack([noise[offset] for offset in offsets or (0,) * count])
        y = labels[rows].to(device)

        def member(own: dict[str, Tensor], x: Tensor, y: Tensor = y, rows: slice = rows) -> Tensor:
            return integrate(network.member(own), x, y, seeds[rows], config)  # type: ignore[arg-type]

        for first in range(0, count, most):
            members = slice(first, first + most)
            own = {name: value[members] for name, value in weights.items()}
            with autocast(device, config.precision):
                images[members, rows] = vmap(member)(own, starts[members].to(device)).float().cpu()
    return images
