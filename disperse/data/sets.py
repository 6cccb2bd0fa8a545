"""Images in memory, and how a training step reads them."""

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import atomic
from ..rng import uniform

SPLITS = ("train", "held-out")


@dataclass(frozen=True)
class ImageSet:
    """Images and labels in memory.

    Attributes:
        images (Tensor): shape (n, c, h, w); float32 in [−1, 1], or uint8, of which a batch at a time
            becomes float32 (a quarter of the memory).
        labels (Tensor): shape (n,), int64.
        sha256: of the content, where a user brought it; empty for what comes with the packages.
    """

    images: Tensor
    labels: Tensor
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, ...]:
        """(c, h, w) of one image."""
        return tuple(self.images.shape[1:])

    def read(self, index: Tensor | slice | list[Tensor]) -> Tensor:
        """Images as float32 in [−1, 1], shape (b, c, h, w)."""
        return _float(self.images[index])

    def batch(
        self, index: Tensor, *key: str | int, flip: bool = False, rows: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Images (b, c, h, w), float32, and labels (b,) of one step.

        Args:
            index (Tensor): samples of the whole batch, shape (b,), int64.
            key: of the step, such as (seed, step); draws depend on it alone.
            flip: mirror each image with probability ½.
            rows: which rows of the batch are wanted; they are the same whichever others are.
        """
        images = self.images[index[rows]]
        if flip:
            images = mirrored(images, flipped(len(index), *key)[rows])
        return _float(images), self.labels[index[rows]]

    def take(self, index: Tensor) -> "ImageSet":
        """Those images alone."""
        return ImageSet(self.images[index], self.labels[index], self.sha256)

    def few(self, most: int) -> "ImageSet":
        """At most so many images, spread evenly over the set, as float32."""
        index = torch.arange(min(most, len(self))) * len(self) // max(min(most, len(self)), 1)
        return ImageSet(self.read(index), self.labels[index], self.sha256)


def content_digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of what is seen alone: the same images from a folder and from an archive are the same data."""
    hashes = {key: hashlib.sha256(value.numpy().tobytes()).hexdigest() for key, value in tensors.items()}
    return atomic.digest(hashes, 64)


def flipped(n: int, *key: str | int) -> Tensor:
    """Which of n samples of a step are mirrored, shape (n,), bool, each with probability ½."""
    return uniform((n,), "flip", *key) < 0.5


def mirrored(images: Tensor, which: Tensor) -> Tensor:
    """Images (b, c, h, w), those of ``which`` (b,) mirrored left to right."""
    return torch.where(which[:, None, None, None], images.flip(-1), images)


def _float(images: Tensor) -> Tensor:
    return images if images.is_floating_point() else images.float() / 127.5 - 1
