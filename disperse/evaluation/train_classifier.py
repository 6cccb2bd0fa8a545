"""Train the digits classifier on the train split and save it with its record.

Usage: python -m disperse.evaluation.train_classifier
"""

import json

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ..atomic import sha256_file, write_file, write_json
from ..data import batch_indices, digits
from ..rng import normal, stream, uniform
from .features import FOLDER
from .networks import DigitsClassifier

STEPS, BATCH, SEED = 3000, 128, 0
WEIGHTS = FOLDER / "digits_classifier.safetensors"


def _augment(x: Tensor, step: int) -> Tensor:
    """Small random rotation, scale and shift, and noise: features that don't cling to the train split."""
    angle, scale, dx, dy = (uniform((4, len(x)), "augment", SEED, step) * 2 - 1).unbind()
    angle, scale = angle * 0.2, 1 + 0.1 * scale
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    theta = torch.stack([cos, -sin, 0.15 * dx, sin, cos, 0.15 * dy], dim=1).view(-1, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    moved = F.grid_sample(x, grid, align_corners=False, padding_mode="border")
    return moved + 0.05 * normal(x.shape, "augment noise", SEED, step)


def _initialize(model: nn.Module) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.zero_()
            else:
                fan_in = parameter[0].numel()
                draws = stream("classifier init", SEED, name).normal(0, (2 / fan_in) ** 0.5, parameter.shape)
                parameter.copy_(torch.from_numpy(draws))


def main() -> None:
    """Train, measure on the held-out split, save."""
    torch.set_num_threads(1)
    train, held_out = digits("train"), digits("held-out")
    model = DigitsClassifier()
    _initialize(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        index = batch_indices(len(train), BATCH, SEED, step)
        scores = model(_augment(train.images[index], step))
        loss = F.cross_entropy(scores, train.labels[index], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        accuracy = {
            name: (model(split.images).argmax(1) == split.labels).double().mean().item()
            for name, split in (("train", train), ("held_out", held_out))
        }
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    write_file(WEIGHTS, lambda path: save_file(weights, path))
    record = {
        "steps": STEPS,
        "batch_size": BATCH,
        "seed": SEED,
        "accuracy": accuracy,
        "train_images": len(train),
        "held_out_images": len(held_out),
        "sha256": sha256_file(WEIGHTS),
    }
    write_json(WEIGHTS.with_suffix(".json"), record)
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
