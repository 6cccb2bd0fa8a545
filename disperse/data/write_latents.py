"""Compute the moments of latents from a folder of images, once.

Usage: python -m disperse.data.write_latents --images imagenet/train --out data/imagenet256-latents

Images are ``<class>/<file>``, classes numbered in the order of their names; each is cropped as in ADM. Needs
the extra ``latents`` and the autoencoder's weights in ``$DISPERSE_DATA/sd-vae-ft-ema``.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from .. import atomic
from ..device import resolve_device
from ..errors import ConfigError, DataError, DisperseError, check_count
from .latents import FILES
from .vae import autoencoder

SIZE = 256
PICTURES = (".jpg", ".jpeg", ".png")
Encode = Callable[[Tensor], tuple[Tensor, Tensor]]


def find_images(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Images of ``<class>/<file>``, sorted, and their labels (n,), int64.

    Raises:
        DataError: there are none.
    """
    paths = sorted(p for p in folder.glob("*/*") if p.suffix.lower() in PICTURES and p.is_file())
    if not paths:
        raise DataError(f"{folder}: no images; expected <class>/<image>.jpg or .png")
    classes = sorted({path.parent.name for path in paths})
    numbers = {name: number for number, name in enumerate(classes)}
    return paths, np.array([numbers[path.parent.name] for path in paths], dtype=np.int64)


def centre_crop(path: Path, size: int = SIZE) -> Tensor:
    """An image file as (3, size, size), float32 in [−1, 1]: halved by boxes, then bicubic, then cropped.

    Raises:
        DataError: not an image.

    Source: ADM (Dhariwal & Nichol 2021), as DiT and SiT have it.
    """
    try:
        from PIL import Image
    except ImportError:
        raise ConfigError("pillow not installed: pip install 'disperse[images]'") from None
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as opened:
            image = opened.convert("RGB")
    except Exception as error:  # Pillow's readers raise whatever a damaged file leads them to
        raise DataError(f"{path}: not a whole PNG or JPEG image ({error}); get it again") from None
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), resample=Image.Resampling.BOX)
    scale = size / min(image.size)
    shape = (round(image.width * scale), round(image.height * scale))
    pixels = np.asarray(image.resize(shape, resample=Image.Resampling.BICUBIC))
    top, left = (pixels.shape[0] - size) // 2, (pixels.shape[1] - size) // 2
    cropped = pixels[top : top + size, left : left + size].transpose(2, 0, 1)
    return torch.from_numpy(cropped.copy()).float() / 127.5 - 1


def write_latents(
    paths: list[Path],
    labels: np.ndarray,
    encode: Encode,
    out: Path,
    *,
    batch_size: int = 32,
    device: torch.device | str = "cpu",
    size: int = SIZE,
) -> None:
    """Encode images and their mirror images into a new folder, whole or not at all.

    Args:
        paths, labels: as ``find_images`` gives them.
        encode: images (b, 3, size, size) → mean and standard deviation, each (b, c, h, w).
        out: folder to make.
        batch_size, device, size: of the images that are encoded together.

    Raises:
        ConfigError: the folder exists.
        DataError: an image is damaged.
    """
    if out.exists():
        raise ConfigError(f"{out}: exists; delete it or choose another folder")
    with atomic.new_folder(out) as folder:
        maps: dict[str, np.ndarray] = {}
        for start in tqdm(range(0, len(paths), batch_size), desc="latents", unit="batch"):
            part = paths[start : start + batch_size]
            images = torch.stack([centre_crop(path, size) for path in part]).to(device)
            for name, seen in zip(FILES[:2], (images, images.flip(-1)), strict=True):
                moments = torch.cat(encode(seen), dim=1).cpu().numpy().astype(np.float16)
                if not np.isfinite(moments).all():
                    raise DataError(f"{part[0]} and the next {len(part) - 1}: their latents are not finite")
                if name not in maps:
                    shape = (len(paths), *moments.shape[1:])
                    maps[name] = np.lib.format.open_memmap(folder / name, "w+", np.float16, shape)
                maps[name][start : start + len(part)] = moments
        for each in maps.values():
            each.flush()  # type: ignore[attr-defined]
        np.save(folder / FILES[2], labels)
        record = {name: atomic.sha256_file(folder / name) for name in FILES}
        atomic.write_json(folder / "record.json", {**record, "images": len(paths), "size": size})


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, compute, write."""
    parser = argparse.ArgumentParser(description="Moments of latents from a folder of images.")
    parser.add_argument("--images", type=Path, required=True, help="folder with <class>/<image>")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--data-path", help="folder that has sd-vae-ft-ema; DISPERSE_DATA by default")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    if options.data_path:
        os.environ["DISPERSE_DATA"] = options.data_path
    try:
        device = resolve_device(options.device)
        check_count("--batch", options.batch, 1)
        paths, labels = find_images(options.images)
        encode = autoencoder(device).encode
        write_latents(paths, labels, encode, options.out, batch_size=options.batch, device=device)
    except DisperseError as error:
        print(f"write_latents: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{options.out}: latents of {len(paths)} images and of their mirror images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
