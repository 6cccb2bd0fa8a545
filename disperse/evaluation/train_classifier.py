"""Train the classifier of the digits or of Fashion-MNIST on the train split, and save it with its record.

Usage: python -m disperse.evaluation.train_classifier digits
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from ..atomic import sha256_file, write_file, write_json
from ..data import ImageSet, batch_indices, load_data
from ..errors import DisperseError
from ..rng import normal, stream, uniform
from .features import FOLDER
from .floors import describe_features
from .images import features_of, moved
from .networks import DigitsClassifier, FashionClassifier, FeatureNetwork

BATCH, SEED = 128, 0


@dataclass(frozen=True)
class Recipe:
    """How the classifier of a data set is made.

    Attributes:
        network: makes it.
        steps: updates, of 128 images each, from lr 2e-3 down to 0 along a cosine.
        turn, shift: largest rotation in radians, and shift as a share of half the image.
        key: of its streams of random numbers.
    """

    network: Callable[[], FeatureNetwork]
    steps: int
    turn: float
    shift: float
    key: tuple[str, ...] = ()


RECIPES = {
    "digits": Recipe(DigitsClassifier, steps=3000, turn=0.2, shift=0.15),
    "fashion": Recipe(FashionClassifier, steps=4000, turn=0.05, shift=0.1, key=("fashion",)),
}


def _augment(x: Tensor, recipe: Recipe, step: int) -> Tensor:
    """Small random rotation, scale and shift, and noise: features that don't cling to the train split."""
    key: tuple[str | int, ...] = (*recipe.key, SEED, step)
    x = moved(x, uniform((4, len(x)), "augment", *key), turn=recipe.turn, shift=recipe.shift)
    return x + 0.05 * normal(x.shape, "augment noise", *key)


def _initialize(model: nn.Module, recipe: Recipe) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0 if name.endswith("norm.weight") else 0.0)
            else:
                fan_in = parameter[0].numel()
                draws = stream("classifier init", *recipe.key, SEED, name).normal(
                    0, (2 / fan_in) ** 0.5, parameter.shape
                )
                parameter.copy_(torch.from_numpy(draws))


def train(data: ImageSet, recipe: Recipe) -> FeatureNetwork:
    """The classifier after all steps; a pure function of the images."""
    model = recipe.network()
    _initialize(model, recipe)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.steps)
    for step in range(recipe.steps):
        index = batch_indices(len(data), BATCH, SEED, step)
        scores = model(_augment(data.read(index), recipe, step))
        loss = F.cross_entropy(scores, data.labels[index], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % (recipe.steps // 10) == 0:
            print(f"step {step} of {recipe.steps}: loss {loss.item():.3f}", flush=True)
    return model.eval().requires_grad_(False)


def main(arguments: list[str] | None = None) -> int:
    """Train, measure on the held-out split, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", choices=RECIPES)
    name = parser.parse_args(arguments).data
    torch.set_num_threads(1)
    try:
        splits = load_data(name), load_data(name, "held-out")
    except DisperseError as error:
        print(f"train_classifier: {error}", file=sys.stderr)
        return error.exit_code
    seen, held_out = (split for split in splits if isinstance(split, ImageSet))
    model = train(seen, RECIPES[name])
    accuracy, features = {}, torch.empty(0)
    for split, images in (("train", seen), ("held_out", held_out)):
        features = features_of(model, images)
        right = model.head(features).argmax(1) == images.labels
        accuracy[split] = right.double().mean().item()
    weights = FOLDER / f"{name}_classifier.safetensors"
    tensors = {
        key: value.contiguous() for key, value in model.state_dict().items() if value.is_floating_point()
    }
    write_file(weights, lambda path: save_file(tensors, path))
    record = {
        "steps": RECIPES[name].steps,
        "batch_size": BATCH,
        "seed": SEED,
        "accuracy": accuracy,
        "train_images": len(seen),
        "held_out_images": len(held_out),
        **({"data_sha256": seen.sha256} if seen.sha256 else {}),
        "sha256": sha256_file(weights),
        "held_out_features": describe_features(features.double().numpy(), held_out.labels.numpy()).asdict(),
    }
    write_json(weights.with_suffix(".json"), record)
    print(json.dumps(record, indent=1))
    print(f'features.py: "{name}-classifier-{str(record["sha256"])[:4]}"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
