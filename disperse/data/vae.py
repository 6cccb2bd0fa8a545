"""The autoencoder of the latents: Stable Diffusion's, from ``diffusers`` with weights that the user has."""

import functools
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ConfigError, DataError
from ..folders import data_home

NAME = "sd-vae-ft-ema"
SCALE = 0.18215  # of the latents that networks learn: the autoencoder's, times this


@dataclass(frozen=True)
class Autoencoder:
    """Two functions of an autoencoder.

    Attributes:
        encode: images (b, 3, 256, 256) in [−1, 1] → mean and standard deviation, each (b, 4, 32, 32).
        decode: unscaled latents (b, 4, 32, 32) → images about [−1, 1].
    """

    encode: Callable[[Tensor], tuple[Tensor, Tensor]]
    decode: Callable[[Tensor], Tensor]


def check_autoencoder() -> Path:
    """Folder of the weights.

    Raises:
        ConfigError: the extra is not installed.
        DataError: the weights are not there.
    """
    if importlib.util.find_spec("diffusers") is None:
        raise ConfigError("diffusers not installed, latents need it: pip install 'disperse[latents]'")
    folder = data_home() / NAME
    if not (folder / "config.json").is_file():
        raise DataError(
            f"{folder}: no autoencoder; get stabilityai/{NAME} (config.json and the .safetensors file), or "
            "set DISPERSE_DATA to the folder that has it"
        )
    return folder


@functools.lru_cache(maxsize=1)
def autoencoder(device: torch.device) -> Autoencoder:
    """The autoencoder on a device; nothing is downloaded and no pickle is read.

    Raises:
        ConfigError, DataError: as ``check_autoencoder``, or it cannot be loaded.
    """
    folder = check_autoencoder()
    try:
        from diffusers import AutoencoderKL

        network = AutoencoderKL.from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (ImportError, RuntimeError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"{folder}: the autoencoder cannot be loaded ({reason})") from None
    network = network.to(device).eval().requires_grad_(False)

    def encode(images: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            found = network.encode(images).latent_dist
        return found.mean, found.std

    def decode(latents: Tensor) -> Tensor:
        with torch.no_grad():
            return network.decode(latents).sample

    return Autoencoder(encode, decode)


def decoded(latents: Tensor, batch_size: int = 16) -> Tensor:
    """Latents as networks learn and draw them, (n, 4, 32, 32) → images (n, 3, 256, 256) about [−1, 1].

    Args:
        latents: on any device; the images come back to it.
        batch_size: how many are decoded at a time.

    Raises:
        ConfigError, DataError: as ``autoencoder``.
    """
    decode = autoencoder(latents.device).decode
    return torch.cat([decode(part / SCALE).float() for part in latents.split(batch_size)])
