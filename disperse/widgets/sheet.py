"""Images as one PNG in memory: a sheet of them, pixel for pixel, shown larger by whoever shows it."""

import io

import numpy as np
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from ..plot import DIFFERENCE, tile, tile_differences


def columns_of(n: int) -> int:
    """Of a sheet of n images: ten, or fewer for few."""
    return min(10, max(n, 1))


def sheet_png(images: Tensor) -> bytes:
    """A sheet of images (n, c, h, w) in [−1, 1]."""
    return _png(tile((images + 1) / 2, columns_of(len(images))))


def difference_png(left: Tensor, right: Tensor) -> bytes:
    """A sheet of ``right − left``: purple where the right is darker, orange where it is brighter."""
    found = tile_differences(left, right, columns_of(len(left)))
    colors = colormaps[DIFFERENCE](found / 4 + 0.5)[..., :3]
    colors[np.isnan(found)] = 1.0
    return _png(colors)


def _png(values: np.ndarray) -> bytes:
    pixels = (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
