"""Samplers of DiT: ancestral steps of the learned Gaussians, and DDIM.

Source: Ho et al. 2020; Nichol & Dhariwal 2021 (respacing, learned variance); Song et al. 2021 (DDIM).
"""

import torch
from torch import Tensor

from ..objectives import OnStep, Predict
from ..objectives.diffusion import data_from_noise, ddim_times, respaced_times, reverse, schedule
from .sde import Noise


def ddpm(predict: Predict, x: Tensor, num_steps: int, noise: Noise, on_step: OnStep | None = None) -> Tensor:
    """``x ← μ + σ z`` from the noisiest of ``num_steps`` evenly respaced times to the first, there without z.

    Args:
        predict: network output (b, 2c, h, w) for (x, t).
        x (Tensor): noise, (b, c, h, w).
        num_steps: 1 to 1000.
        noise: standard normal noise of a step, with the shape of x.
        on_step: called with (index of the step, state after it).
    """
    table = schedule(respaced_times(num_steps))
    for step, position in enumerate(reversed(range(num_steps))):
        index = torch.full((len(x),), position, device=x.device)
        step_before = reverse(table, predict(x, int(table.times[position])), x, index)
        x = step_before.mean
        if position > 0:
            x = x + torch.exp(0.5 * step_before.log_variance) * noise(step)
        if on_step:
            on_step(step, x)
    return x


def ddim(
    predict: Predict,
    x: Tensor,
    num_steps: int,
    noise: Noise,
    on_step: OnStep | None = None,
    *,
    eta: float = 0.0,
) -> Tensor:
    """``x ← √ᾱ' x̂₀ + √(1 − ᾱ' − s²) ε̂ + s z``, ``s = η √((1−ᾱ')/(1−ᾱ)) √(1 − ᾱ/ᾱ')``; η = 0 needs no noise.

    Arguments as ``ddpm``; ``num_steps`` must be a number that a whole stride over the 1000 times gives.
    """
    table = schedule(ddim_times(num_steps))
    for step, position in enumerate(reversed(range(num_steps))):
        index = torch.full((len(x),), position, device=x.device)
        eps = predict(x, int(table.times[position]))[:, : x.shape[1]]
        data = data_from_noise(table, eps, x, index)
        now, before = float(table.alphas_cumprod[position]), float(table.previous[position])
        spread = eta * ((1 - before) / (1 - now)) ** 0.5 * (1 - now / before) ** 0.5
        x = before**0.5 * data + max(1 - before - spread**2, 0.0) ** 0.5 * eps
        if spread > 0 and position > 0:
            x = x + spread * noise(step)
        if on_step:
            on_step(step, x)
    return x
