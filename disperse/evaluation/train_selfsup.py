"""Train an encoder without labels on the train split of a data set, and save it with its record.

Usage: python -m disperse.evaluation.train_selfsup digits

Two views of each image, mildly moved, scaled and noised, shall have the same features (invariance), each
feature a standard deviation of at least 1 (so none can be dead), and no two be correlated (so there are as
many directions as there is variety): ``25 ‖z − z'‖²/d + 25 E[max(0, 1 − std)] + Σ_{m≠n} Cov_mn²/d``, on the
features themselves. Labels are read afterwards alone, to say what the features see.

Source: VICReg (Bardes, Ponce & LeCun 2022), without an expander.
"""

import argparse
import json
import sys
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from ..atomic import sha256_file, write_file, write_json
from ..data import ImageSet, batch_indices, load_data
from ..data.sets import flipped, mirrored
from ..errors import DisperseError
from ..rng import normal, stream, uniform
from .features import FOLDER
from .floors import describe_features
from .images import features_of, moved
from .networks import ENCODERS, Encoder

BATCH, SEED = 256, 0
INVARIANCE, DEVIATION, CORRELATION = 25.0, 25.0, 1.0
TINY = 1e-4


@dataclass(frozen=True)
class Recipe:
    """How the encoder of a data set is made.

    Attributes:
        steps: updates, of 256 images each, from lr 2e-3 down to 0 along a cosine.
        turn, shift: largest rotation in radians, and shift as a share of half the image.
        flip: whether views are mirrored with probability ½.
    """

    steps: int
    turn: float = 0.2
    shift: float = 0.15
    flip: bool = False


RECIPES = {
    "digits": Recipe(steps=2000),
    "fashion": Recipe(steps=1500, turn=0.1, shift=0.1),
    "cifar16": Recipe(steps=3000, turn=0.1, shift=0.1, flip=True),
}


def encoder_of(data: str) -> Encoder:
    """The untrained encoder of a data set."""
    return Encoder(*ENCODERS[data])


def view(x: Tensor, recipe: Recipe, *key: str | int) -> Tensor:
    """Images (b, c, h, w) turned, scaled by up to a tenth, shifted, perhaps mirrored, and noised."""
    if recipe.flip:
        x = mirrored(x, flipped(len(x), "view", *key))
    x = moved(x, uniform((4, len(x)), "view", *key), turn=recipe.turn, shift=recipe.shift)
    return x + 0.05 * normal(x.shape, "view noise", *key)


def loss(first: Tensor, second: Tensor) -> Tensor:
    """Of features (b, d) of two views; see the module."""
    total = INVARIANCE * F.mse_loss(first, second)
    for z in (first, second):
        z = z - z.mean(dim=0)
        deviation = (z.var(dim=0) + TINY).sqrt()
        covariance = z.T @ z / (len(z) - 1)
        others = covariance.square().sum() - covariance.diagonal().square().sum()
        total = total + DEVIATION / 2 * F.relu(1 - deviation).mean() + CORRELATION * others / z.shape[1]
    return total


def train(data: ImageSet, name: str) -> Encoder:
    """The encoder after all steps; a pure function of the images."""
    recipe, model = RECIPES[name], encoder_of(name)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            scale = (1 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.0
            draws = stream("encoder init", name, SEED, key).normal(0, 1, parameter.shape)
            parameter.copy_(scale * torch.from_numpy(draws))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    for step in range(recipe.steps):
        x = data.read(batch_indices(len(data), BATCH, SEED, step))
        value = loss(*(model(view(x, recipe, SEED, step, number)) for number in range(2)))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        if step % (recipe.steps // 10) == 0:
            print(f"step {step} of {recipe.steps}: loss {value.item():.3f}", flush=True)
    return model.eval().requires_grad_(False)


def main(arguments: list[str] | None = None) -> int:
    """Train, look at the held-out split, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", choices=RECIPES)
    name = parser.parse_args(arguments).data
    torch.set_num_threads(1)
    try:
        splits = load_data(name), load_data(name, "held-out")
    except DisperseError as error:
        print(f"train_selfsup: {error}", file=sys.stderr)
        return error.exit_code
    seen, held_out = (split for split in splits if isinstance(split, ImageSet))
    model = train(seen, name)
    weights = FOLDER / f"{name}_selfsup.safetensors"
    tensors = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    write_file(weights, lambda path: save_file(tensors, path))
    model.load_state_dict({key: value.float() for key, value in tensors.items()})
    sight = describe_features(features_of(model, held_out).double().numpy(), held_out.labels.numpy())
    record = {
        "steps": RECIPES[name].steps, "batch_size": BATCH, "seed": SEED, "labels": "none",
        "train_images": len(seen), "held_out_images": len(held_out), "data_sha256": seen.sha256,
        "sha256": sha256_file(weights), "held_out_features": sight.asdict(),
    }  # fmt: skip
    write_json(weights.with_suffix(".json"), record)
    print(json.dumps(record, indent=1))
    print(f'features.py: "{name}-selfsup-{str(record["sha256"])[:4]}"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
