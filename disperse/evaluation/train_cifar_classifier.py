"""Train the CIFAR-10 classifier on the train split and save it with its record.

Usage: python -m disperse.evaluation.train_cifar_classifier --data FOLDER --work build/cifar_classifier

FOLDER holds the data set as ``disperse.data.images`` reads it. Every epoch is kept in ``--work``, so the
same command goes on where it was stopped, bit for bit on one machine. At the end the weights, in half
precision, and their record go to ``--out``, the package's own folder by default.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..atomic import sha256_file, write_file, write_json, write_text
from ..data import ImageSet, batch_indices
from ..data.images import image_set
from ..data.sets import flipped, mirrored
from ..errors import CheckpointError, DisperseError, check_count
from ..rng import stream, uniform
from .floors import describe_features
from .images import features_of
from .networks import Cifar10Classifier

NAME = "cifar10_classifier"
BATCH, PEAK, PEAK_AT, MOMENTUM, DECAY, SMOOTHING, SHIFT = 256, 0.3, 0.2, 0.9, 5e-4, 0.1, 4


def augmented(images: Tensor, *key: str | int) -> Tensor:
    """uint8 images (b, c, h, w), mirrored and shifted by up to ``SHIFT`` pixels, as float32 in [−1, 1]."""
    b, _, h, w = images.shape
    padded = F.pad(mirrored(images, flipped(b, *key)).float(), [SHIFT] * 4, mode="reflect")
    top, left = (uniform((2, b), "crop", *key) * (2 * SHIFT + 1)).long().unbind()
    rows, columns = top[:, None] + torch.arange(h), left[:, None] + torch.arange(w)
    moved = padded[torch.arange(b)[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2) / 127.5 - 1  # channels last in memory, as the convolutions like it


def learning_rate(step: int, steps: int) -> float:
    """One cycle: linear up to ``PEAK`` in a fifth of the steps, linear down to 0."""
    position = (step + 0.5) / steps
    return PEAK * min(position / PEAK_AT, (1 - position) / (1 - PEAK_AT))


def initialized(seed: int) -> Cifar10Classifier:
    """The network with He's initialisation, a pure function of the seed."""
    model = Cifar10Classifier()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                scale = (2 / parameter[0].numel()) ** 0.5
                draws = stream("cifar10 classifier init", seed, name).normal(0, scale, parameter.shape)
                parameter.copy_(torch.from_numpy(draws))
            elif name.endswith("bias"):
                parameter.zero_()
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


@torch.no_grad()
def accuracy(model: nn.Module, data: ImageSet, batch_size: int = 500) -> float:
    """Share of the images that are put in their class; the model in eval mode."""
    right = 0
    for part in torch.arange(len(data)).split(batch_size):
        right += int((model(data.read(part)).argmax(1) == data.labels[part]).sum())
    return right / len(data)


def train(data: ImageSet, held_out: ImageSet, work: Path, epochs: int, seed: int) -> Cifar10Classifier:
    """Train for so many epochs, or go on from the newest epoch in ``work``; one line an epoch.

    Raises:
        CheckpointError: the newest epoch in ``work`` is damaged or of another training.
    """
    model = initialized(seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=PEAK, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY
    )
    per_epoch = len(data) // BATCH
    # What the numbers depend on, beside this code.
    of = f"{data.sha256[:12]} epochs={epochs} seed={seed}"
    first = _restore(work, of, model, optimizer)
    for epoch in range(first, epochs):
        started, total = time.monotonic(), 0.0
        model.train()
        for step in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            index = batch_indices(len(data), BATCH, seed, step)
            scores = model(augmented(data.images[index], seed, step))
            loss = F.cross_entropy(scores, data.labels[index], label_smoothing=SMOOTHING)
            optimizer.zero_grad()
            loss.backward()
            optimizer.param_groups[0]["lr"] = learning_rate(step, epochs * per_epoch)
            optimizer.step()
            total += loss.item()
        model.eval()
        _save(work, of, epoch + 1, model, optimizer)
        print(
            f"epoch {epoch + 1} of {epochs}: loss {total / per_epoch:.4f}, held-out accuracy "
            f"{accuracy(model, held_out):.4f}, {time.monotonic() - started:.0f} s",
            flush=True,
        )
    return model.eval()


def _save(work: Path, of: str, epoch: int, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        tensors[f"momentum.{name}"] = optimizer.state[parameter]["momentum_buffer"].contiguous()
    path = work / f"epoch_{epoch:04d}.safetensors"
    write_file(path, lambda temporary: save_file(tensors, temporary))
    write_text(path.with_suffix(".txt"), f"{sha256_file(path)} {of}\n")  # last: an epoch counts with it
    for old in sorted(work.glob("epoch_*.txt"))[:-2]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def _restore(work: Path, of: str, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the newest epoch; returns how many are done."""
    records = sorted(work.glob("epoch_*.txt"))
    if not records:
        return 0
    path = records[-1].with_suffix(".safetensors")
    said, _, known = records[-1].read_text(encoding="utf-8").strip().partition(" ")
    if known != of:
        raise CheckpointError(
            f"{work}: holds another training ({known}; asked for {of}); choose another --work"
        )
    if not path.is_file() or sha256_file(path) != said:
        raise CheckpointError(f"{path}: damaged; delete {records[-1].name} to go on from the epoch before")
    tensors = load_file(path)
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "momentum": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = value
    model.load_state_dict(parts["model"])
    for name, parameter in model.named_parameters():
        buffer = parts["momentum"][name]
        if parameter.ndim == 4:  # as the trained one lies in memory: sums in the same order
            buffer = buffer.contiguous(memory_format=torch.channels_last)
        optimizer.state[parameter]["momentum_buffer"] = buffer
    return int(path.stem.partition("_")[2])


def write_weights(
    model: Cifar10Classifier, train: ImageSet, held_out: ImageSet, out: Path, epochs: int, seed: int
) -> dict[str, object]:
    """Save the weights in half precision with their record; its accuracies are those of the saved weights."""
    weights = {
        name: value.half().contiguous()
        for name, value in model.state_dict().items()
        if value.is_floating_point()
    }
    path = out / f"{NAME}.safetensors"
    write_file(path, lambda temporary: save_file(weights, temporary))
    model.load_state_dict({name: value.float() for name, value in weights.items()}, strict=False)
    features = features_of(model, held_out).double().numpy()
    record = {
        "epochs": epochs, "batch_size": BATCH, "seed": seed,
        "accuracy": {"train": accuracy(model, train), "held_out": accuracy(model, held_out)},
        "train_images": len(train), "held_out_images": len(held_out),
        "data_sha256": train.sha256, "sha256": sha256_file(path),
        "held_out_features": describe_features(features, held_out.labels.numpy()).asdict(),
    }  # fmt: skip
    write_json(path.with_suffix(".json"), record)
    return record


def main(arguments: list[str] | None = None) -> int:
    """Train, measure on the held-out split, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="folder of the data set; DISPERSE_DATA by default")
    parser.add_argument("--epochs", type=int, default=56)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("build/cifar_classifier"), help="for its epochs")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "weights")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.data:
        os.environ["DISPERSE_DATA"] = options.data
    try:
        check_count("--epochs", options.epochs, 1)
        check_count("--seed", options.seed, 0)
        data, held_out = image_set("cifar10", "train"), image_set("cifar10", "held-out")
        model = train(data, held_out, options.work, options.epochs, options.seed)
        record = write_weights(model, data, held_out, options.out, options.epochs, options.seed)
    except DisperseError as error:
        print(f"train_cifar_classifier: {error}", file=sys.stderr)
        return error.exit_code
    print(json.dumps(record, indent=1))
    print(f'features.py: CIFAR10_EVALUATOR = "cifar10-classifier-{str(record["sha256"])[:4]}"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
