"""Embeddings of positions, times and labels, as the published checkpoints have them."""

import math

import numpy as np
import torch
from torch import Tensor, nn

FREQUENCIES = 256


def position_table(grid: int, width: int) -> Tensor:
    """Frozen 2-D sin-cos table: the first half encodes the column, the second the row.

    ``[sin(p w_k) | cos(p w_k)]`` for each half, ``w_k = 10^{−4k/(D/4)}``; float64, stored float32.

    Args:
        grid: patches per side.
        width: D, a multiple of 4.

    Returns:
        Tensor: shape (1, grid², D), float32.
    """
    frequencies = 10.0 ** (-4 * np.arange(width // 4, dtype=np.float64) / (width / 4))
    rows, columns = np.meshgrid(np.arange(grid), np.arange(grid), indexing="ij")
    halves = []
    for positions in (columns, rows):
        angles = positions.reshape(-1, 1) * frequencies
        halves += [np.sin(angles), np.cos(angles)]
    return torch.from_numpy(np.concatenate(halves, axis=1)[None]).float()


def sinusoids(t: Tensor) -> Tensor:
    """``[cos(t f) | sin(t f)]``, ``f_k = exp(−ln(10⁴) k/128)``, in float32: (b,) → (b, 256)."""
    half = FREQUENCIES // 2
    steps = torch.arange(half, dtype=torch.float32, device=t.device)
    angles = t.float()[:, None] * torch.exp(-math.log(10_000) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimeEmbedder(nn.Module):
    """Sinusoids of the raw time, then two layers."""

    def __init__(self, width: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """(b,) → (b, d)."""
        return self.mlp(sinusoids(t))


class LabelEmbedder(nn.Module):
    """One row per class; the last row is the null class, which stands for "no label"."""

    def __init__(self, num_classes: int, width: int):
        super().__init__()
        self.embedding_table = nn.Embedding(num_classes + 1, width)

    def forward(self, y: Tensor) -> Tensor:
        """(b,) integers in [0, num_classes] → (b, d)."""
        return self.embedding_table(y)


class PatchEmbedder(nn.Module):
    """Image → tokens. The weight is stored as a convolution's, and applied as one product."""

    def __init__(self, in_channels: int, patch_size: int, width: int):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, width, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, h, w) → (b, n, d)."""
        b, c, h, w = x.shape
        p = self.proj.kernel_size[0]
        patches = x.reshape(b, c, h // p, p, w // p, p).permute(0, 2, 4, 1, 3, 5)
        return nn.functional.linear(
            patches.reshape(b, -1, c * p * p), self.proj.weight.flatten(1), self.proj.bias
        )
