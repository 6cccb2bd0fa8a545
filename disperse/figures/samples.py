"""Grids of samples."""

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..experiments import paper
from .theme import COLORS, new_figure


def samples_figure(grids: dict[str, Tensor], title: str, columns: int = 10) -> Figure:
    """Grids of images side by side, label → (n, 1, h, w) in [−1, 1]; the same seeds in each."""
    rows = -(-max(len(images) for images in grids.values()) // columns)
    figure, axes = new_figure(5.2 * len(grids), 0.6 + 5.2 * rows / columns, columns=len(grids))
    figure.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr, call-arg]
    for ax, (label, images) in zip(axes, grids.items(), strict=True):
        ax.imshow(tile(images, columns), cmap="gray", vmin=-1, vmax=1)
        ax.set_axis_off()
        ax.set_title(paper.NAMES.get(label, label), color=COLORS.get(label, "black"))
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def tile(images: Tensor, columns: int, gap: int = 1) -> np.ndarray:
    """(n, c, h, w) → one picture, row by row, (H, W) for grey and (H, W, 3) for colour."""
    n, c, h, w = images.shape
    rows = -(-n // columns)
    canvas = torch.ones(c, rows * (h + gap) - gap, columns * (w + gap) - gap)
    for index, image in enumerate(images):
        top, left = index // columns * (h + gap), index % columns * (w + gap)
        canvas[:, top : top + h, left : left + w] = image
    return canvas[0].numpy() if c == 1 else ((canvas[:3].permute(1, 2, 0) + 1) / 2).clamp(0, 1).numpy()
