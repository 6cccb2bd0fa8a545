"""Held-out denoising loss: how well a model denoises images that it was not trained on."""

import numpy as np
import torch

from ..data import ImageSet
from ..models import DiffusionTransformer
from ..objectives import build_objective, draws_at
from .frechet import Estimate, mean_over_seeds

LEVELS = 20  # noise levels, the middles of as many equal bins of [0, 1]
MOST = 1000  # images, spread evenly over the set


@torch.no_grad()
def held_out_loss(
    model: DiffusionTransformer, data: ImageSet, *, batch_size: int = 250
) -> tuple[Estimate, list[float]]:
    """Mean squared error of the prediction over images and 20 noise levels, each level alike.

    ``E_level E_i ‖prediction − target‖²/(c·h·w)``, labels shown, one fixed noise for each image and level,
    the same for every model. The network runs in float32; sums are float64, so the value does not depend
    on ``batch_size``. SiT: error of the velocity, as in training. DiT: error of the noise. MeanFlow: error
    of the velocity at r = t, so without its average over time; a network that learned a guided velocity is
    measured against the plain one, which it was not trained for.

    How it misleads: most of it is noise that no model can predict, so small differences matter; and a lower
    loss needn't be seen in samples. Values of other objectives or data don't compare.

    Args:
        model: in eval mode.
        data: images of the held-out split; at most 1000 of them, spread evenly.
        batch_size: rows at a time.

    Returns:
        The mean with Student's 95% interval over images (n: images), and the mean at each level, low to high.
    """
    device = next(model.parameters()).device
    objective = build_objective(model.objective, model.config.num_classes).measured()
    few = data.few(MOST)
    x, y = few.images.to(device), few.labels.to(device)
    errors = np.empty((LEVELS, len(x)))
    for number in range(LEVELS):
        draws = draws_at(objective, x, (number + 0.5) / LEVELS, "held-out noise", number)
        for start in range(0, len(x), batch_size):
            rows = slice(start, start + batch_size)
            forward = objective.forward(model, x[rows], y[rows], draws.rows(rows))
            found = objective.losses(model, forward)
            # Without weights or a variational bound, where the objective has them: the error alone.
            error = found.parts.get("squared_error", found.parts.get("mse", found.losses))
            errors[number, rows] = error.double().cpu().numpy()
    how = f"Student's t over images, {LEVELS} noise levels"
    return mean_over_seeds(errors.mean(axis=0).tolist(), method=how), errors.mean(axis=1).tolist()
