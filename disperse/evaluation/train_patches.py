"""Train an encoder of patches on the train split of a data set, with labels or without, and save it.

Usage: python -m disperse.evaluation.train_patches digits-patches-views

What it makes is a target of training, not a measure: its network, its seed and its weights are others than
those that results are read with. With labels: cross-entropy of a linear layer on the mean of the tokens.
Without: as ``train_selfsup``, on the mean of the tokens.
"""

import argparse
import json
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from ..atomic import sha256_file, write_file, write_json
from ..data import ImageSet, batch_indices, load_data
from ..errors import DisperseError
from ..regularizers.encoders import ENCODERS, FOLDER, PatchEncoder
from ..rng import stream
from .floors import describe_features
from .train_selfsup import RECIPES, loss, view

BATCH, SEED, STEPS = 256, 1, 2000


def train(data: ImageSet, name: str) -> PatchEncoder:
    """The encoder after all steps; a pure function of the images."""
    (channels, *_), width, labelled = ENCODERS[name]
    recipe = RECIPES[name.partition("-")[0]]
    model, head = PatchEncoder(channels, width), nn.Linear(width, int(data.labels.max()) + 1)
    with torch.no_grad():
        for key, parameter in [*model.named_parameters(), *head.named_parameters(prefix="head")]:
            scale = (1 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.0
            draws = stream("patches init", name, SEED, key).normal(0, 1, parameter.shape)
            parameter.copy_(scale * torch.from_numpy(draws))
    optimizer = torch.optim.AdamW([*model.parameters(), *head.parameters()], lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for step in range(STEPS):
        index = batch_indices(len(data), BATCH, SEED, step)
        x = data.read(index)
        views = [
            model(view(x, recipe, name, SEED, step, number)).mean(dim=1) for number in range(2 - labelled)
        ]
        value = F.cross_entropy(head(views[0]), data.labels[index]) if labelled else loss(*views)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        if step % (STEPS // 10) == 0:
            print(f"step {step} of {STEPS}: loss {value.item():.3f}", flush=True)
    return model.eval().requires_grad_(False)


def main(arguments: list[str] | None = None) -> int:
    """Train, look at the held-out split, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("encoder", choices=ENCODERS)
    name = parser.parse_args(arguments).encoder
    data = name.partition("-")[0]
    torch.set_num_threads(1)
    try:
        splits = load_data(data), load_data(data, "held-out")
    except DisperseError as error:
        print(f"train_patches: {error}", file=sys.stderr)
        return error.exit_code
    seen, held_out = (split for split in splits if isinstance(split, ImageSet))
    model = train(seen, name)
    weights = FOLDER / f"{name.replace('-', '_')}.safetensors"
    tensors = {key: value.half().contiguous() for key, value in model.state_dict().items()}
    write_file(weights, lambda path: save_file(tensors, path))
    model.load_state_dict({key: value.float() for key, value in tensors.items()})
    tokens = model(held_out.read(slice(None)))
    sight = {
        where: describe_features(z.double().numpy(), held_out.labels.numpy()).asdict()
        for where, z in (("mean of the tokens", tokens.mean(dim=1)), ("all tokens", tokens.flatten(1)))
    }
    record = {
        "steps": STEPS, "batch_size": BATCH, "seed": SEED,
        "labels": "of the train split" if ENCODERS[name][2] else "none",
        "train_images": len(seen), "data_sha256": seen.sha256, "sha256": sha256_file(weights),
        "held_out_features": sight,
    }  # fmt: skip
    write_json(weights.with_suffix(".json"), record)
    print(json.dumps(record, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
