"""FID of latent models: decoded by the user's autoencoder, read by Inception, compared with ADM's statistics.

All three come from elsewhere: ``torch-fidelity`` (extra ``fid``; its Inception is that of ADM's suite),
``diffusers`` (extra ``latents``), and a file of statistics. docs/verified.md says what was run of this.
"""

import importlib.util
import re
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ..data.vae import SCALE, autoencoder, check_autoencoder
from ..errors import ConfigError, DataError
from ..folders import data_home
from ..models import DiffusionTransformer
from ..sampling import SamplerConfig, sample
from .frechet import Estimate, Gaussian, frechet_with_interval

EVALUATOR = "inception-v3-fid"
FEATURES = 2048
BATCH = 64


def check_available(reference: str) -> None:
    """Say at once what is missing.

    Raises:
        ConfigError: an extra is not installed.
        DataError: the statistics or the autoencoder's weights are not there.
    """
    if importlib.util.find_spec("torch_fidelity") is None:
        raise ConfigError("torch-fidelity not installed, FID needs it: pip install 'disperse[fid]'")
    check_autoencoder()
    read_statistics(reference)


def read_statistics(reference: str) -> Gaussian:
    """Mean and covariance of Inception features: mu and sigma of ``$DISPERSE_DATA/<reference>.npz``.

    Raises:
        DataError: missing, damaged, or of other features.
    """
    path = data_home() / f"{reference}.npz"
    if not re.fullmatch(r"[\w.\-]+", reference) or not path.is_file():
        raise DataError(
            f"reference = {reference}: no {path} (DISPERSE_DATA names the folder); ADM's evaluation suite "
            "has it, with entries mu and sigma"
        )
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            mean, covariance = file["mu"].astype(np.float64), file["sigma"].astype(np.float64)
    except (OSError, ValueError, KeyError, EOFError, RuntimeError) as error:
        raise DataError(f"{path}: cannot be read ({error}); get it again") from None
    except Exception as error:  # zipfile's own
        raise DataError(f"{path}: not an .npz file ({error}); get it again") from None
    if mean.shape != (FEATURES,) or covariance.shape != (FEATURES, FEATURES):
        raise DataError(
            f"{path}: mu {mean.shape}, sigma {covariance.shape}; expected those of {FEATURES} features"
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise DataError(f"{path}: holds NaN or infinity; get it again")
    return Gaussian(mean, covariance, 0)  # the file does not say of how many


def evaluate_fid(
    model: DiffusionTransformer,
    labels: list[int],
    sampler: SamplerConfig,
    reference: str,
    first_seed: int = 0,
) -> Estimate:
    """Fréchet distance of Inception features of samples, one per label, to the statistics.

    Seeds count from ``first_seed``.

    A batch at a time from noise to features: neither latents nor images of 50 000 samples are ever held.
    """
    statistics = read_statistics(reference)
    device = next(model.parameters()).device
    read = _reader(device)
    rows = []
    for start in range(0, len(labels), BATCH):
        part = labels[start : start + BATCH]
        seeds = range(first_seed + start, first_seed + start + len(part))
        latents = sample(model, seeds, part, sampler, batch_size=BATCH)
        rows.append(read(latents.to(device)).double().cpu())
    return frechet_with_interval(torch.cat(rows).numpy(), statistics)


def latent_features(latents: Tensor) -> Tensor:
    """Inception features (n, 2048) of what latents (n, c, h, w) decode to, on their device.

    Raises:
        ConfigError, DataError: as ``evaluate_fid``.
    """
    read = _reader(latents.device)
    return torch.cat([read(part) for part in latents.split(BATCH)])


def _reader(device: torch.device) -> Callable[[Tensor], Tensor]:
    """Latents → features of the images they decode to."""
    decode, inception = autoencoder(device).decode, inception_features(device)
    return lambda latents: inception(pixels(decode(latents / SCALE)))


def pixels(images: Tensor) -> Tensor:
    """Images in [−1, 1] → uint8, rounded as the published code does: 127.5 x + 128, cut off."""
    return (127.5 * images.float() + 128).clamp(0, 255).to(torch.uint8)


def inception_features(device: torch.device) -> Callable[[Tensor], Tensor]:
    """uint8 images (b, 3, h, w) → features (b, 2048).

    Raises:
        ConfigError: torch-fidelity cannot be imported, or its weights cannot be had.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"]).to(device)
    except (ImportError, RuntimeError, OSError) as error:  # RuntimeError: torchvision of another torch
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"torch-fidelity cannot be used ({reason}): pip install 'disperse[fid]' with a torchvision that "
            "fits this torch, and let it fetch its weights once"
        ) from None

    def features(images: Tensor) -> Tensor:
        with torch.no_grad():
            return network(images)[0]

    return features
