"""How much a dispersive term still does to a trained model, on batches noised as in training."""

import math
from typing import Any

import numpy as np
import torch

from ..data import ImageSet
from ..models import DiffusionTransformer
from ..objectives import build_objective
from ..regularizers import DispersiveRegularizer, DispersiveSpec
from ..spec import RunSpec


def measure_terms(model: DiffusionTransformer, spec: RunSpec, data: ImageSet) -> list[dict[str, Any]]:
    """One row per dispersive regulariser of the run and block that it reads, averaged over batches.

    ``value``, ``floor``, ``saturation``, ``off_diagonal_weight``: see ``DispersionReport``.
    ``gradient_ratio``: ``‖∂(λ L_disp)/∂z‖ / ‖∂L_diff/∂z‖`` at the block's output z, ≥ 0: how the two terms
    pull on the representation; None where L_diff doesn't pull, as in a new model, whose last layer is zero.
    It misleads about the parameters, through which the pulls are not alike.

    Args:
        model: in eval mode.
        spec: of the run: batch size, objective and regularisers.
        data: images and labels; as many whole batches as there are.
    """
    device = next(model.parameters()).device
    size = min(spec.batch_size, len(data))
    objective = build_objective(spec.objective, model.config.num_classes)
    rows = []
    for number, settings in enumerate(spec.regularizers):
        if not isinstance(settings, DispersiveSpec):
            continue
        term = DispersiveRegularizer(settings, model.config.depth)
        for block in term.blocks:
            batches = []
            for start in range(0, len(data) - size + 1, size):
                part = slice(start, start + size - size % (settings.local_batch or 1))
                x = data.images[part].to(device).requires_grad_()  # the weights carry no gradient
                draws = objective.draw(tuple(x.shape), "terms", start).to(device)
                forward = objective.forward(model, x, data.labels[part].to(device), draws, taps=(block,))
                z = forward.features[block]
                diffusion = objective.losses(model, forward).losses.mean()
                pull, push = (
                    torch.autograd.grad(loss, z, retain_graph=True)[0].norm().item()
                    for loss in (diffusion, term.lam * term.loss(z))
                )
                report = term.loss.report(z)
                batches.append(
                    {
                        "value": report.value,
                        "floor": report.floor,
                        "saturation": report.saturation,
                        "off_diagonal_weight": report.off_diagonal_weight,
                        "gradient_ratio": push / pull if pull else None,
                    }
                )
            means = {name: _mean([row[name] for row in batches]) for name in batches[0]}
            rows.append({"term": number, "block": block, **means})
    return rows


def _mean(values: list[float | None]) -> float | None:
    """Over the batches that have a value; None where none has, or it is not known or has no bound."""
    found = [value for value in values if value is not None]
    mean = float(np.mean(found)) if found else math.nan
    return mean if math.isfinite(mean) else None
