"""What a frozen encoder says of the clean images: computed once per image, kept on disk, read by the batch.

Kept under the encoder's key and the content of the data, so other weights or images never meet old targets.
"""

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from .. import atomic
from ..data import ImageSet, LatentSet
from ..data.sets import content_digest, flipped
from ..errors import ConfigError
from ..folders import data_cache
from ..regularizers import Encoder
from ..spec import RunSpec

BATCH = 500  # images at a time through the encoder


class Targets:
    """Features (n, tokens, d) of every image of a training set, as it is and mirrored where a run mirrors.

    Args:
        encoder: the frozen network.
        data: images of the run.
        spec: of the run.

    Raises:
        ConfigError: the data are latents, which such an encoder can't read.
    """

    def __init__(self, encoder: Encoder, data: ImageSet | LatentSet, spec: RunSpec):
        if not isinstance(data, ImageSet):
            raise ConfigError(
                f"data = {spec.data}: an encoder reads images; targets of latents can't be computed from them"
            )
        self.spec = spec
        self.plain = _kept(encoder, data, mirrored=False)
        self.mirrored = _kept(encoder, data, mirrored=True) if spec.flip else None

    def batch(self, index: Tensor, step: int, rows: slice) -> Tensor:
        """Targets (b, tokens, d) of the rows of a step's batch, mirrored where the images are."""
        index, found = index[rows], self.plain[index[rows]]
        if self.mirrored is None:
            return found
        turned = flipped(self.spec.batch_size, self.spec.seed, step)[rows]
        return torch.where(turned[:, None, None], self.mirrored[index], found)


def _kept(encoder: Encoder, data: ImageSet, *, mirrored: bool) -> Tensor:
    content = data.sha256 or content_digest({"images": data.images})
    name = f"{encoder.key}-{content[:12]}{'-mirrored' if mirrored else ''}.safetensors"
    path = data_cache() / "targets" / name
    if not path.exists():
        parts = []
        with torch.no_grad():
            for start in range(0, len(data), BATCH):
                images = data.read(slice(start, start + BATCH))
                parts.append(encoder(images.flip(-1) if mirrored else images).float())
        targets = torch.cat(parts).contiguous()
        atomic.write_file(path, lambda temporary: save_file({"targets": targets}, temporary))
    with safe_open(path, framework="pt") as file:
        return file.get_tensor("targets")
