"""Samples beside the training images that they are nearest to."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..data import ImageSet, load_data
from ..errors import ConfigError
from ..experiments import item, paper, run_folder
from ..experiments.profiles import Profile
from ..sampling import sample
from ..store import ANALYSED
from ..training import load_model
from .facts import plain, save_drawn
from .samples import tile
from .seeds import PAIR
from .theme import ACCENT, COLORS, COLUMN, new_figure

REAL = "held-out images"
ROWS = 5000  # training images at a time


@dataclass(frozen=True)
class Nearest:
    """Images and the training images nearest to them, in pixels, nearest first.

    Attributes:
        images, twins (Tensor): shape (n, c, h, w), in [−1, 1].
        difference (Tensor): root mean square difference of their pixels, shape (n,), in [0, 2].
        order (Tensor): where each image stood before, shape (n,).
    """

    images: Tensor
    twins: Tensor
    difference: Tensor
    order: Tensor


def find_nearest(images: Tensor, training: Tensor) -> Nearest:
    """Each image with the nearest of training.

    Args:
        images, training (Tensor): shape (n, c, h, w) and (m, c, h, w).
    """
    points = images.flatten(1).double()
    best, index = torch.full((len(points),), torch.inf, dtype=torch.float64), torch.zeros(len(points)).long()
    for start in range(0, len(training), ROWS):
        found = torch.cdist(points, training[start : start + ROWS].flatten(1).double()).min(dim=1)
        nearer = found.values < best
        best, index = (
            torch.where(nearer, found.values, best),
            torch.where(nearer, found.indices + start, index),
        )
    order = best.argsort(stable=True)
    return Nearest(images[order], training[index[order]], best[order] / points.shape[1] ** 0.5, order)


def nearest_figure(found: dict[str, Nearest], num: int = 10) -> Figure:
    """The pairs that are nearest, image above twin, for each set; right, how near all of them are.

    Args:
        found: label → images of one set.
        num: pairs of each that are shown.
    """
    figure, axes = new_figure(COLUMN, 1.6 * len(found) + 0.5, columns=2, rows=len(found))
    grid = axes.reshape(len(found), 2)
    grid[0, 0].get_gridspec().set_width_ratios([1.9, 1])
    for ax in grid[:, 1]:
        ax.remove()
    for ax, (label, own) in zip(grid[:, 0], found.items(), strict=True):
        _pairs(ax, own, num)
        ax.set_title(_name(label), color=_color(label), fontsize=11)
    right = figure.add_subplot(grid[0, 0].get_gridspec()[:, 1])
    for label, own in found.items():
        share = np.arange(1, len(own.difference) + 1) / len(own.difference)
        right.step(own.difference.numpy(), share, where="post", color=_color(label), label=_name(label))
    right.set(xlabel="pixel difference to the\nnearest training image\n(root mean square)",
              ylabel="share of images that are as near", title="All of them")  # fmt: skip
    right.set(xlim=(0, None), ylim=(-0.03, 1.03), yticks=np.linspace(0, 1, 6))
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=len(found))
    return figure


def _pairs(ax: Axes, own: Nearest, num: int) -> None:
    """Images above, their twins below, the difference under each pair."""
    images, twins = own.images[:num], own.twins[:num]
    height, width = images.shape[2:]
    ax.imshow(tile(torch.cat([images, twins]), len(images)), cmap="gray", vmin=-1, vmax=1)
    for column, value in enumerate(own.difference[:num].tolist()):
        x = column * (width + 1) + (width - 1) / 2
        ax.annotate(f"{value:.2f}", (x, 2.05 * height + 1), ha="center", va="top", fontsize=10)
    ax.set_ylim(2.35 * height + 1, -0.5)  # room for the numbers
    for y, text in (((height - 1) / 2, "image"), (height + 1 + (height - 1) / 2, "nearest of\ntraining")):
        ax.annotate(text, (-1.5, y), ha="right", va="center", fontsize=10, annotation_clip=False)
    ax.set_axis_off()


def _name(label: str) -> str:
    return REAL if label == REAL else f"samples, {paper.name_of(label)}"


def _color(label: str) -> str:
    return ACCENT if label == REAL else COLORS[label]


def draw_nearest(row: Profile, folder: Path, *, seed: int = 0, num: int = 10) -> Path:
    """Write ``nearest.png`` with its sidecar: baseline, ℓ2, and held-out images to compare with.

    As many samples as held-out images, at most 500, of classes in turn; no pair is picked by hand.

    Args:
        row: the profile.
        folder: where to.
        seed: of training.
        num: pairs that are shown of each.

    Raises:
        ConfigError: the data are latents, or have no held-out images.
        StorageError, CheckpointError: a run is not trained on this machine; weights are not published.
    """
    if not row.classifies:
        raise ConfigError(f"nearest images: profile {row.name} has no held-out images to compare with")
    training, unseen = load_data(row.data, "train"), load_data(row.data, row.reference)
    assert isinstance(training, ImageSet)
    count = min(row.num_samples, len(unseen), ANALYSED)
    everything = training.read(slice(None))
    found = {REAL: find_nearest(unseen.few(count).images, everything)}
    runs: list[dict[str, Any]] = []
    for cell in item("pair", row.name, (seed,)):
        spec = cell.spec
        model = load_model(run_folder(spec), step=spec.num_steps, weights=row.weights, device=spec.device)
        classes = [i % model.config.num_classes for i in range(count)]
        images = sample(model, range(count), classes, solver=row.solver, num_steps=row.sampler_steps,
                        precision=row.precision, batch_size=125)  # fmt: skip
        found[cell.label] = find_nearest(images, everything)
        runs.append({
            "label": cell.label, "seed": seed, "fingerprint": spec.fingerprint, "step": spec.num_steps,
            "sample_seeds": found[cell.label].order[:num].tolist(),
        })  # fmt: skip
    shown = {label: found[label] for label in (REAL, *PAIR)}
    facts = {
        "item": "pair, nearest images of training",
        "sampler": row.protocol.sampler.describe(),
        "weights": row.weights,
        "n": count,
        "training_images": len(training),
        "shown": {label: own.difference[:num].tolist() for label, own in shown.items()},
        "quartiles": {label: plain(np.quantile(own.difference, (0.25, 0.5, 0.75)).tolist())
                      for label, own in shown.items()},
        "differences": {label: own.difference.tolist() for label, own in shown.items()},
        "runs": runs,
    }  # fmt: skip
    return save_drawn(nearest_figure(shown, num), folder / "nearest", facts, stamp=row.stamp)
