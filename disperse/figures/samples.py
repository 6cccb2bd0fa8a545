"""Grids of samples."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..evaluation import classify, proportion
from ..experiments import home, item, paper, profile, run_folder
from ..sampling import sample
from ..training import load_model
from .facts import plain
from .theme import COLORS, new_figure, save


def samples_figure(grids: dict[str, Tensor], title: str, columns: int = 10) -> Figure:
    """Grids of images side by side, label → (n, 1, h, w) in [−1, 1]; the same seeds in each."""
    rows = -(-max(len(images) for images in grids.values()) // columns)
    figure, axes = new_figure(5.2 * len(grids), 0.6 + 5.2 * rows / columns, columns=len(grids))
    figure.get_layout_engine().set(wspace=0.06)  # type: ignore[union-attr, call-arg]
    for ax, (label, images) in zip(axes, grids.items(), strict=True):
        ax.imshow(tile(images, columns), cmap="gray", vmin=-1, vmax=1)
        ax.set_axis_off()
        ax.set_title(paper.NAMES.get(label, label), color=COLORS.get(label, "black"))
    figure.suptitle(title, fontsize=11, x=0.01, ha="left")
    return figure


def draw_samples(
    profile_name: str,
    *,
    folder: Path | None = None,
    labels: tuple[str, ...] = ("baseline", "infonce-l2"),
    seed: int = 0,
    num: int = 100,
) -> Path:
    """Draw the published grid of samples, runs side by side on the same noise, with its sidecar.

    Sample i has seed i and is asked for digit i mod 10, without guidance, by the sampler and weights of the
    profile's protocol; nothing is picked by hand. The sidecar says where each grid comes from, and how many
    of it the evaluator puts in the class asked for.

    Args:
        profile_name: row of the ladder.
        folder: where ``samples.png`` goes; ``figures/<profile>`` by default.
        labels: runs of the item ``variants``.
        seed: of their training.
        num: sample seeds 0 to num−1.

    Returns:
        Path of the picture.

    Raises:
        StorageError, CheckpointError: a run is not trained on this machine; weights are not published.
    """
    row = profile(profile_name)
    specs = {c.label: c.spec for c in item("variants", profile_name, (seed,)) if c.label in labels}
    digits = [i % 10 for i in range(num)]
    grids: dict[str, Tensor] = {}
    runs: list[dict[str, Any]] = []
    for label in labels:
        spec = specs[label]
        model = load_model(run_folder(spec), step=spec.num_steps, weights=row.weights, device=spec.device)
        grids[label] = sample(
            model, range(num), digits, solver=row.solver, num_steps=row.sampler_steps, batch_size=125
        )
        agree = classify(grids[label], evaluator=row.evaluator)[1].argmax(1) == torch.tensor(digits)
        runs.append({
            "label": label, "seed": seed, "fingerprint": spec.fingerprint, "step": spec.num_steps,
            "agreement": plain(proportion(int(agree.sum()), num)),
        })  # fmt: skip
    facts = {
        "item": "variants",
        "sampler": row.protocol.sampler.describe(),
        "weights": row.weights,
        "sample_seeds": [0, num - 1],
        "classes": "sample seed mod 10",
        "evaluator": row.protocol.evaluator,
        "runs": runs,
    }
    title = (
        f"Training seed {seed}, step {row.num_steps}; sample seeds 0–{num - 1}, the same noise in each; "
        f"{row.protocol.sampler.describe()}; EMA {row.weights}"
    )
    folder = home() / "figures" / profile_name if folder is None else folder
    return save(samples_figure(grids, title), folder / "samples", facts, stamp=row.stamp)


def tile(images: Tensor, columns: int, gap: int = 1) -> np.ndarray:
    """(n, c, h, w) → one picture, row by row, (H, W) for grey and (H, W, 3) for colour."""
    n, c, h, w = images.shape
    rows = -(-n // columns)
    canvas = torch.ones(c, rows * (h + gap) - gap, columns * (w + gap) - gap)
    for index, image in enumerate(images):
        top, left = index // columns * (h + gap), index % columns * (w + gap)
        canvas[:, top : top + h, left : left + w] = image
    return canvas[0].numpy() if c == 1 else ((canvas[:3].permute(1, 2, 0) + 1) / 2).clamp(0, 1).numpy()
