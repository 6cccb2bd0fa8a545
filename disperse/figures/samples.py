"""Grids of samples."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..data import holds_latents, load_data
from ..data.vae import decoded
from ..evaluation import Estimate, classify, proportion
from ..experiments import home, item, paper, profile, run_folder
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..models import config_of
from ..sampling import sample
from ..spec import RunSpec
from ..training import load_model
from .facts import plain, save_drawn
from .theme import COLORS, COLUMN, new_figure


def pictures(samples: Tensor, data: str) -> Tensor:
    """Samples as one looks at them: latents decoded by the user's autoencoder, images as they are.

    Args:
        samples: shape (n, c, h, w).
        data: the data set that their model learned.

    Raises:
        ConfigError, DataError: the autoencoder is not there, or cannot be loaded.
    """
    return decoded(samples) if holds_latents(data) else samples


def real_images(row: Profile, classes: int = 10, each: int = 10) -> Tensor:
    """So many real images of each of the first classes, class by class in every column of ten, as pictures.

    Held-out ones where there are any, else of training.

    Raises:
        DataError: the data are not there.
        ConfigError, DataError: as ``pictures``.
    """
    pool = load_data(row.data, row.protocol.split)
    chosen = [(pool.labels == label).nonzero()[i, 0] for i in range(each) for label in range(classes)]
    return pictures(pool.take(torch.stack(chosen)).few(len(chosen)).images, row.data)


def agreement(images: Tensor, asked: Tensor, row: Profile) -> Estimate | None:
    """Share of images in which the evaluator's classifier sees the class asked for; None if it is none.

    Args:
        images: shape (n, c, h, w), in [−1, 1].
        asked: shape (n,), classes.
        row: the profile.
    """
    if not row.classifies:
        return None
    seen = classify(images, evaluator=row.evaluator)[1].argmax(1)
    return proportion(int((seen == asked).sum()), len(asked))


def samples_figure(grids: dict[str, Tensor], title: str, columns: int = 10, *, data: str = "") -> Figure:
    """Grids of images side by side, label → (n, c, h, w) in [−1, 1]; the same seeds in each.

    Args:
        grids: images; samples of the data set ``data``, if it is named, which may be latents.
        title: above all.
        columns: images in a row.
        data: see ``pictures``.
    """
    if data:
        grids = {label: pictures(images, data) for label, images in grids.items()}
    rows = -(-max(len(images) for images in grids.values()) // columns)
    side = min(5.2, COLUMN / len(grids))  # inches of a grid
    lines = [part for line in title.split("\n") for part in textwrap.wrap(line, int(13 * side * len(grids)))]
    height = 0.4 + 0.2 * len(lines) + side * rows / columns
    figure, axes = new_figure(side * len(grids), height, columns=len(grids))
    figure.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr, call-arg]
    for ax, (label, images) in zip(axes, grids.items(), strict=True):
        ax.imshow(tile(images, columns), cmap="gray", vmin=-1, vmax=1)
        ax.set_axis_off()
        ax.set_title(paper.NAMES.get(label, label), color=COLORS.get(label, "black"))
    figure.suptitle("\n".join(lines), fontsize=10, x=0.01, ha="left")
    return figure


@dataclass(frozen=True)
class Drawn:
    """What a run draws: image i has sample seed i and is asked for class i modulo the number of classes.

    Attributes:
        label, spec: of the run.
        guidance: of the sampler; the rest of it is the profile's.
        images: (n, c, h, w) in [−1, 1].
        asked: (n,), classes asked for.
        seen: (n,), classes that the evaluator's classifier sees; None where the evaluator is none.
        sureness: (n,), float64, logarithm of the probability that it gives the class asked for; or None.
    """

    label: str
    spec: RunSpec
    guidance: float
    images: Tensor
    asked: Tensor
    seen: Tensor | None
    sureness: Tensor | None

    @property
    def num_classes(self) -> int:
        """That the model knows."""
        return config_of(self.spec).num_classes

    def agreement(self, seeds: Sequence[int]) -> Estimate | None:
        """Share of these samples in which the classifier sees the class asked for; None without one."""
        if self.seen is None:
            return None
        chosen = torch.tensor(seeds)
        return proportion(int((self.seen[chosen] == self.asked[chosen]).sum()), len(chosen))


def draw_from(cell: Cell, row: Profile, num: int, *, guidance: float = 1.0) -> Drawn:
    """Draw sample seeds 0 to ``num`` − 1 from the end of a run, by sampler and weights of the profile.

    Raises:
        StorageError, CheckpointError: it is not trained on this machine; weights are not published.
        ConfigError, DataError: as ``pictures``.
    """
    spec = cell.spec
    model = load_model(run_folder(spec), step=spec.num_steps, weights=row.weights, device=spec.device)
    asked = torch.arange(num) % model.config.num_classes
    images = sample(
        model, range(num), asked, solver=row.solver, num_steps=row.sampler_steps, guidance=guidance,
        batch_size=125,
    )  # fmt: skip
    images = pictures(images, spec.data)
    seen = sureness = None
    if row.classifies:
        scores = classify(images, evaluator=row.evaluator)[1].double().log_softmax(1)
        seen, sureness = scores.argmax(1), scores[torch.arange(num), asked]
    return Drawn(cell.label, spec, guidance, images.clamp(-1, 1), asked, seen, sureness)


def sample_facts(row: Profile, drawn: Sequence[Drawn]) -> dict[str, Any]:
    """What a sidecar holds of samples, whatever is shown of them: sampler, weights, and the runs."""
    return {
        "sampler": replace(row.protocol.sampler, guidance=drawn[0].guidance).describe(),
        "weights": row.weights,
        "classes": f"sample seed mod {drawn[0].num_classes}",
        "evaluator": row.protocol.evaluator,
        "runs": [
            {"label": each.label, "seed": each.spec.seed, "fingerprint": each.spec.fingerprint,
             "step": each.spec.num_steps}
            for each in drawn
        ],
    }  # fmt: skip


def draw_grids(drawn: Sequence[Drawn], row: Profile, stem: Path, *, num: int = 100) -> Path:
    """Draw grids of the first samples of runs, side by side on the same noise, nothing picked.

    The sidecar says where each grid comes from, and how many of it the evaluator puts in the class asked for.

    Args:
        drawn: of the runs, one training seed.
        row: the profile.
        stem: of picture and sidecar.
        num: sample seeds 0 to num−1.

    Returns:
        Path of the picture.
    """
    seeds = range(num)
    facts = {"item": "variants", "sample_seeds": [0, num - 1], **sample_facts(row, drawn)}
    for run, each in zip(facts["runs"], drawn, strict=True):
        run["agreement"] = plain(each.agreement(seeds))
    title = (
        f"Training seed {drawn[0].spec.seed}, step {row.num_steps}; sample seeds 0–{num - 1}, the same noise "
        f"in each; {facts['sampler']}; EMA {row.weights}"
    )
    figure = samples_figure({each.label: each.images[:num] for each in drawn}, title)
    return save_drawn(figure, stem, facts, stamp=row.stamp)


def draw_samples(
    profile_name: str,
    *,
    folder: Path | None = None,
    labels: tuple[str, ...] = ("baseline", "infonce-l2"),
    seed: int = 0,
    num: int = 100,
) -> Path:
    """Draw the published grid of samples: ``draw_grids`` of runs of the item ``variants``, without guidance.

    Args:
        profile_name: row of the ladder.
        folder: where ``samples.png`` goes; ``figures/<profile>`` by default.
        labels: of the runs.
        seed: of their training.
        num: sample seeds 0 to num−1.

    Returns:
        Path of the picture.

    Raises:
        StorageError, CheckpointError: a run is not trained on this machine; weights are not published.
    """
    row = profile(profile_name)
    cells = {cell.label: cell for cell in item("variants", profile_name, (seed,))}
    drawn = [draw_from(cells[label], row, num) for label in labels]
    folder = home() / "figures" / profile_name if folder is None else folder
    return draw_grids(drawn, row, folder / "samples", num=num)


def tile(images: Tensor, columns: int, gap: int = 1) -> np.ndarray:
    """(n, c, h, w) → one picture, row by row, (H, W) for grey and (H, W, 3) for colour."""
    n, c, h, w = images.shape
    rows = -(-n // columns)
    canvas = torch.ones(c, rows * (h + gap) - gap, columns * (w + gap) - gap)
    for index, image in enumerate(images):
        top, left = index // columns * (h + gap), index % columns * (w + gap)
        canvas[:, top : top + h, left : left + w] = image
    return canvas[0].numpy() if c == 1 else ((canvas[:3].permute(1, 2, 0) + 1) / 2).clamp(0, 1).numpy()
