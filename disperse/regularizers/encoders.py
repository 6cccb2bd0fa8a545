"""Frozen encoders whose features of clean images are targets, not measures: no result is read with them.

Each was trained here, on the train split alone, by ``python -m disperse.evaluation.train_patches``: one with
labels and said to be so, one without. A name ends with the first digits of the SHA-256 of its weights.
"""

import functools
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from ..atomic import sha256_file
from ..errors import CheckpointError, ConfigError, unknown

FOLDER = Path(__file__).parent / "weights"
# Name → (c, h, w) of the images, length of a token, whether labels were seen.
ENCODERS = {
    "digits-patches-labels": ((1, 8, 8), 32, True),
    "digits-patches-views": ((1, 8, 8), 32, False),
}


class PatchEncoder(nn.Module):
    """Four convolutions: an image as a map of features, a token for each 2×2 pixels.

    Args:
        channels: of the images.
        num_features: length of a token.
    """

    def __init__(self, channels: int, num_features: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv3 = nn.Conv2d(64, 64, 3, padding=1)
        self.out = nn.Conv2d(64, num_features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images (b, c, h, w) in [−1, 1] → tokens (b, hw/4, d), row by row."""
        x = F.gelu(self.conv1(x))
        x = F.avg_pool2d(F.gelu(self.conv2(x)), 2)
        return self.out(F.gelu(self.conv3(x))).flatten(2).mT


class FrozenEncoder:
    """An encoder with its weights, in eval mode and without gradients.

    Attributes:
        key: its name, with the first digits of the SHA-256 of its weights.
        num_features: length of a token.
    """

    def __init__(self, name: str, path: Path):
        (channels, *_), self.num_features, _ = ENCODERS[name]
        self.key = f"{name}-{sha256_file(path)[:4]}"
        self.network = PatchEncoder(channels, self.num_features)
        self.network.load_state_dict({key: value.float() for key, value in load_file(path).items()})
        self.network.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Images (b, c, h, w) in [−1, 1] → tokens (b, n, d), float32, on the CPU."""
        return self.network(images.cpu().float())


@functools.cache
def frozen_encoder(name: str) -> FrozenEncoder:
    """An encoder by name.

    Raises:
        ConfigError: unknown name.
        CheckpointError: its weights are missing.
    """
    if name not in ENCODERS:
        raise unknown("encoder", name, ENCODERS)
    path = FOLDER / f"{name.replace('-', '_')}.safetensors"
    if not path.exists():
        raise CheckpointError(f"{path}: missing; python -m disperse.evaluation.train_patches makes it")
    return FrozenEncoder(name, path)


def on_grid(targets: Tensor, num_tokens: int) -> Tensor:
    """Tokens (b, n, d) of a square map, averaged to a square map of so many.

    Raises:
        ConfigError: the network's tokens are finer than the encoder's, or no square map.
    """
    count = targets.shape[1]
    own, wanted = round(count**0.5), round(num_tokens**0.5)
    if own**2 != count or wanted**2 != num_tokens or own % wanted:
        raise ConfigError(f"encoder: {count} tokens can't be averaged to the network's {num_tokens}")
    if own == wanted:
        return targets
    grid = targets.mT.unflatten(-1, (own, own))
    return F.avg_pool2d(grid, own // wanted).flatten(2).mT
