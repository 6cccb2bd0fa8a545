"""Samples of two runs from the same noise, and what differs."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from ..experiments import paper
from .samples import tile
from .theme import COLORS, new_figure

# Its two ends are told apart by colour-blind readers too, and equal is white.
DIFFERENCE = "PuOr_r"


def gallery_figure(
    images: Sequence[Tensor], names: Sequence[str], caption: str, *, columns: int = 10
) -> Figure:
    """Sheets of samples side by side, and the difference where there are two.

    Args:
        images: one or two sets of samples of the same noise, (n, c, h, w) in [−1, 1].
        names: of the runs, labels of theirs or any text.
        caption: how they were made.
        columns: images in a row.
    """
    panels = len(images) + (len(images) == 2)
    rows = -(-len(images[0]) // columns)
    height = max(0.8 + 3.7 * rows / columns, 2.2)  # the colour bar's label needs as much
    figure, axes = new_figure(0.4 + 3.7 * panels, height, columns=panels)
    figure.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr, call-arg]
    for ax, own, name in zip(axes, images, names, strict=False):
        ax.imshow(tile(own, columns), cmap="gray", vmin=-1, vmax=1)
        ax.set_title(paper.name_of(name), color=COLORS.get(name, "black"))
    if panels == 3:
        ax, found = axes[2], difference_tiles(images[0], images[1], columns)
        shown = ax.imshow(found, cmap=DIFFERENCE, vmin=-2, vmax=2)
        ax.set_title("right − left")
        figure.colorbar(shown, ax=ax, shrink=0.7, ticks=[-2, 0, 2], label="difference of pixels")
    for ax in axes:
        ax.set_axis_off()
    figure.suptitle(caption, fontsize=9, x=0.01, ha="left")
    return figure


def difference_tiles(left: Tensor, right: Tensor, columns: int) -> np.ndarray:
    """``right − left`` of each image, mean over channels, as one picture; the gaps between them are NaN."""
    difference = (right - left).mean(1, keepdim=True)
    found = tile(difference, columns)
    found[tile(difference * 0, columns) == 1] = np.nan
    return found
