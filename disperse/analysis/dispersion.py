"""How spread out the inner representations of a batch are, block by block.

No single number tells: a norm can grow ninefold while the rank falls, and the loss looks fine. So
norm, effective rank and mean cosine are always shown together.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..data import ImageSet
from ..losses import DispersiveLoss
from ..losses.distances import squared_distances
from ..models import DiffusionTransformer
from ..objectives import build_objective, draws_at
from .geometry import effective_rank, mean_cosine, rms, rows_of


@dataclass(frozen=True)
class Dispersion:
    """Spread of a feature matrix.

    Attributes:
        rms, effective_rank, mean_cosine: see the functions of ``geometry`` of these names, which say how each
            misleads.
        spread: root mean square after subtracting the batch mean, ≥ 0; what the losses act on. It misleads
            as the length does: features ten times as long are as many times as spread, and in no more
            directions.
    """

    rms: float
    spread: float
    effective_rank: float
    mean_cosine: float


@torch.no_grad()
def measure(z: Tensor) -> Dispersion:
    """Spread of features (b, ...), b ≥ 2, read as (b, d).

    How it misleads: each number alone; see ``Dispersion``. And numbers of other images or another b don't
    compare.

    Raises:
        ConfigError: as ``rows_of``.
        NonFiniteError: NaN or infinity.
    """
    z = rows_of(z)
    return Dispersion(
        rms=rms(z),
        spread=(z - z.mean(dim=0)).square().mean().sqrt().item(),
        effective_rank=effective_rank(z),
        mean_cosine=mean_cosine(z),
    )


@torch.no_grad()
def block_features(
    model: DiffusionTransformer, data: ImageSet, *, level: float, seed: int = 0
) -> dict[int, Tensor]:
    """Output of every block for noised images, block → (b, n, d).

    Args:
        model: in eval mode.
        data: images and their labels.
        level: noise level in [0, 1], 1 = pure noise.
        seed: of the noise, the same for every model.
    """
    device = next(model.parameters()).device
    x = data.images.to(device)
    objective = build_objective(model.objective, model.config.num_classes)
    draws = draws_at(objective, x, level, "analysis noise", seed)
    taps = tuple(range(model.config.depth))
    return objective.forward(model, x, data.labels.to(device), draws, taps=taps).features


def descend(points: Tensor, loss: DispersiveLoss, *, num_steps: int, lr: float = 0.01) -> Tensor:
    """Follow the negative gradient of a loss from features (b, d), with Adam so that scales don't matter.

    Returns:
        Tensor: shape (num_steps + 1, b, d), the path of every row.
    """
    z = points.clone().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=lr)
    path = [points.clone()]
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss(z).backward()
        optimizer.step()
        path.append(z.detach().clone())
    return torch.stack(path)


def plane_floor(loss: DispersiveLoss, count: int) -> float:
    """The smallest loss of ``count`` points in the plane.

    As ``report`` says, but for the cosine, whose general floor is a simplex that the plane can't hold: there
    it is that of equal angles.
    """
    if loss.variant != "infonce-cosine":
        return loss.report(torch.zeros(count, 2)).floor
    angles = 2 * torch.pi * torch.arange(count, dtype=torch.float64) / count
    return loss(torch.stack([angles.cos(), angles.sin()], dim=1)).item()


def measure_plane(points: Tensor, loss: DispersiveLoss) -> dict[str, float]:
    """What can be said of points (b, 2) in the plane under a loss.

    ``loss`` and ``floor`` (see ``plane_floor``); ``nearest``, the smallest D of two points, the squared
    distance divided by 2; ``inside_margin``, the pairs that are nearer than the hinge's ε by more than 1%;
    ``largest_gap`` between neighbouring directions from the origin, in degrees; ``correlation`` of the two
    coordinates. Misleads: two dimensions have room for few directions, and none of these measures grows with
    the spread alone; of a network's features ask ``Geometry``.
    """
    z = points.double()
    pairs = torch.triu_indices(len(z), len(z), offset=1)
    distances = (squared_distances(z) / z.shape[1])[pairs[0], pairs[1]]
    angles = torch.atan2(z[:, 1], z[:, 0]).sort().values
    gaps = torch.cat([angles, angles[:1] + 2 * torch.pi]).diff()
    return {
        "loss": loss(z).item(),
        "floor": plane_floor(loss, len(z)),
        "nearest": distances.min().item(),
        "inside_margin": int((distances < 0.99 * loss.eps).sum()),
        "largest_gap": torch.rad2deg(gaps.max()).item(),
        "correlation": torch.corrcoef(z.mT)[0, 1].item(),
    }


def measure_blocks(
    model: DiffusionTransformer, data: ImageSet, *, levels: tuple[float, ...] = (0.25, 0.5, 0.75)
) -> list[dict[str, Any]]:
    """One row per (noise level, block): ``level``, ``block``, the fields of ``Dispersion``, ``update_rms``.

    ``update_rms`` is the root mean square of what the block adds to the residual stream, its output minus
    that of the block before; None for the first. It misleads as any length does: beside a long stream a large
    update turns little, and what one block adds the next may take away.
    """
    rows = []
    for level in levels:
        before: Tensor | None = None
        for block, z in block_features(model, data, level=level).items():
            update = None if before is None else (z - before).square().mean().sqrt().item()
            rows.append({"level": level, "block": block, **asdict(measure(z)), "update_rms": update})
            before = z
    return rows
