"""What a model does at each noise level: its loss on seen and unseen images, and how two terms pull."""

import functools
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ..data import ImageSet
from ..errors import ConfigError
from ..models import DiffusionTransformer
from ..objectives import Draws, Objective, build_objective, draws_at
from ..regularizers import DispersiveRegularizer, DispersiveSpec
from ..spec import RunSpec
from .dispersion import measure

BINS = 10
PASSES = 4  # over the data, each with noise of its own
ROWS = 128  # at a time
FEWEST = 16  # rows of a level that a gradient is averaged over; with fewer there is none


def measure_levels(
    model: DiffusionTransformer, spec: RunSpec, seen: ImageSet, unseen: ImageSet | None, term: DispersiveSpec
) -> list[dict[str, Any]]:
    """One row for each of ten noise levels, 0.05 to 0.95, the middles of ten equal bins.

    ``seen_loss``, ``unseen_loss``: mean squared error of the prediction (with DiT's bound for its variance)
    on images of training and on others, the same noise for every model. They mislead about samples: a lower
    loss at high noise levels needn't be seen in one. ``rms``, ``effective_rank``, ...:
    fields of ``Dispersion`` at the block that the term reads. ``gradient_ratio`` and
    ``gradient_cosine``: of λ L_disp and L_diff, see ``gradients_by_level``, which says how they mislead.

    Args:
        model: in eval mode, its weights without gradients.
        spec: of the run: batch size and objective.
        seen: images that the run was trained on.
        unseen: images that it was not; None: there are none, ``unseen_loss`` is None.
        term: the dispersive term, at one block, whether the run was trained with it or not.
    """
    objective = build_objective(spec.objective, model.config.num_classes)
    (block,) = DispersiveRegularizer(term, model.config.depth).blocks
    rows = []
    for number, pulls in enumerate(gradients_by_level(model, spec, seen, term)):
        level = (number + 0.5) / BINS
        seen_loss, z = _at_level(model, objective, seen, level, block)
        unseen_loss = _at_level(model, objective, unseen, level, block)[0] if unseen else None
        rows.append(
            {"level": level, "seen_loss": seen_loss, "unseen_loss": unseen_loss}
            | {"block": block, **asdict(measure(z)), **pulls}
        )
    return rows


@torch.no_grad()
def _at_level(
    model: DiffusionTransformer, objective: Objective, data: ImageSet, level: float, block: int
) -> tuple[float, Tensor]:
    x = data.images.to(next(model.parameters()).device)
    draws = draws_at(objective, x, level, "level noise", round(1000 * level))
    forward = objective.forward(model, x, data.labels.to(x.device), draws, taps=(block,))
    found = objective.losses(model, forward)
    # MeanFlow's own loss is weighted to about 1 everywhere.
    return found.parts.get("squared_error", found.losses).mean().item(), forward.features[block]


def gradients_by_level(
    model: DiffusionTransformer, spec: RunSpec, data: ImageSet, term: DispersiveSpec
) -> list[dict[str, float | None]]:
    """How λ L_disp and L_diff pull on the parameters that both reach, by the noise level of the rows.

    Batches are noised as in training, so rows of all levels see each other. The gradient of each loss is a
    sum over rows; here it is summed over the rows of one bin of levels, over all batches:
    ``gradient_cosine`` in [−1, 1], below 0 where the terms are in conflict; ``gradient_ratio`` =
    ``‖λ g_disp‖ / ‖g_diff‖`` ≥ 0. Both are None for a bin of fewer than ``FEWEST`` rows.

    The data are noised ``PASSES`` times, by draws of the run's own seed: the gradient of a trained model is
    small beside its noise, and runs that shared their draws would agree on the noise.

    How they mislead: noise in either gradient draws the cosine to 0, that of L_diff the ratio down, and that
    of L_disp the ratio up; only several seeds tell. And no update is their sum: Adam divides each entry by
    its own history.

    Args:
        model, spec, term: as of ``measure_levels``.
        data: images and labels; as many whole batches as there are.

    Raises:
        ConfigError: fewer images than a group of the term has rows.
    """
    device = next(model.parameters()).device
    objective = build_objective(spec.objective, model.config.num_classes)
    regularizer = DispersiveRegularizer(term, model.config.depth)
    (block,) = regularizer.blocks
    size = min(spec.batch_size, len(data))
    size -= size % (term.local_batch or 1)
    if size == 0:
        raise ConfigError(
            f"{len(data)} images: expected at least local_batch = {term.local_batch}, a whole group"
        )
    whole = slice(len(data) - len(data) % size)
    x, y = data.images[whole].to(device), data.labels[whole].to(device)
    parameters = [p for name, p in model.named_parameters() if name != "pos_embed"]  # which is fixed
    frozen = [p for p in parameters if not p.requires_grad]
    gradient = functools.partial(torch.autograd.grad, inputs=parameters, retain_graph=True, allow_unused=True)
    sums: list[tuple[Tensor, Tensor] | None] = [None] * BINS
    counts = [0] * BINS
    for parameter in frozen:
        parameter.requires_grad_()
    try:
        for number in range(PASSES):
            draws = _draws(objective, tuple(x.shape), size, spec.seed, number).to(device)
            with torch.no_grad():
                first = objective.forward(model, x, y, draws, taps=(block,))
            z = first.features[block].requires_grad_()
            dispersive = torch.stack([regularizer.loss(part) for part in z.split(size)]).sum()
            (push,) = torch.autograd.grad(term.lam * dispersive, z)
            bins = (first.level * BINS).long().clamp_max(BINS - 1)
            for level in bins.unique().tolist():
                # Rows see each other in the dispersive loss alone, whose gradient at z is known by now.
                for rows in (bins == level).nonzero().flatten().split(ROWS):
                    forward = objective.forward(model, x[rows], y[rows], draws.rows(rows), taps=(block,))
                    pulls = gradient(objective.losses(model, forward).losses.sum() / size)
                    pushes = gradient(forward.features[block], grad_outputs=push[rows])
                    sums[level] = _sum(sums[level], pulls, pushes)
                    counts[level] += len(rows)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
    return [_pulls(pair, count) for pair, count in zip(sums, counts, strict=True)]


def _draws(objective: Objective, shape: tuple[int, ...], size: int, seed: int, number: int) -> Draws:
    """Noise of a pass over all data, batch by batch as in training."""
    starts = range(0, shape[0], size)
    batches = [objective.draw((size, *shape[1:]), "levels", seed, number, start) for start in starts]
    t, eps, dropped = (torch.cat([getattr(b, n) for b in batches]) for n in ("t", "eps", "dropped"))
    second = [b.r for b in batches if b.r is not None]
    return Draws(t, eps, dropped, torch.cat(second) if second else None)


Gradients = tuple[Tensor | None, ...]


def _sum(before: tuple[Tensor, Tensor] | None, pulls: Gradients, pushes: Gradients) -> tuple[Tensor, Tensor]:
    """Both gradients, of the parameters that both terms reach, each as one vector, added to those before."""
    both = [(a, b) for a, b in zip(pulls, pushes, strict=True) if a is not None and b is not None]
    a, b = (torch.cat([g.flatten() for g in side]) for side in zip(*both, strict=True))
    return (a, b) if before is None else (before[0] + a, before[1] + b)


def _pulls(pair: tuple[Tensor, Tensor] | None, count: int) -> dict[str, float | None]:
    if pair is None or count < FEWEST:
        return {"gradient_ratio": None, "gradient_cosine": None}
    diffusion, dispersive = (side.double() for side in pair)
    scale = diffusion.norm() * dispersive.norm()
    cosine = (diffusion @ dispersive / scale).item() if scale > 0 else 0.0
    ratio = (dispersive.norm() / diffusion.norm()).item() if diffusion.norm() > 0 else None
    return {"gradient_ratio": ratio, "gradient_cosine": cosine}
