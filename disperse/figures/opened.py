"""Baseline and dispersive run of a profile, opened block by block: what is measured of them, and drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..analysis import compare_places, measure_places, neighbour_overlap, project
from ..analysis.projection import METHODS
from ..analysis.representations import unlabelled_features
from ..data import ImageSet, load_data
from ..evaluation import fid
from ..evaluation.features import classify
from ..experiments import item, run_folder
from ..experiments.profiles import Profile
from ..models import DiffusionTransformer
from ..regularizers import DispersiveRegularizer, DispersiveSpec
from ..store import ANALYSED
from ..training import load_model
from .facts import plain, save_drawn
from .representations import (
    SIMILARITIES,
    cosine_histograms,
    cosines_figure,
    density_example,
    density_figure,
    heat_maps_figure,
    plane_figure,
    similarity_figure,
    values_of,
)
from .theme import save

CLASSES = 10


def probed_images(row: Profile) -> tuple[ImageSet, ImageSet]:
    """Images that probes learn from, and others whose features are measured and shown.

    Where there are none but those of training, as of latents, both are of it; and of ``CLASSES`` of its
    classes, spread evenly, since of each of a thousand a probe would see one image.

    Raises:
        DataError: the data are not there.
    """
    count, split = min(row.num_samples, ANALYSED), row.protocol.split
    train = load_data(row.data, "train")
    if split != "train":
        return train.few(2 * count), load_data(row.data, split).few(count)
    classes = train.labels.unique()
    wanted = torch.isin(train.labels, classes[torch.arange(CLASSES) * len(classes) // CLASSES])
    rows = wanted.nonzero()[:, 0]
    seen = train.take(rows[train.labels[rows].argsort(stable=True)]).few(3 * count)
    shown = torch.arange(len(seen)) % 3 == 0  # class by class, so that every class is in both parts
    return seen.take((~shown).nonzero()[:, 0]), seen.take(shown.nonzero()[:, 0])


def encoded(images: ImageSet, row: Profile) -> Tensor:
    """What the evaluator's frozen network makes of clean images, (n, d): of latents, of what they decode to.

    Raises:
        ConfigError, DataError: an external evaluator, or the autoencoder, is not there.
    """
    if row.classifies:
        return classify(images, evaluator=row.evaluator)[0]
    return fid.latent_features(images.images)


@dataclass(frozen=True)
class Pair:
    """Baseline and dispersive run of one training seed, opened, and the images that they are looked at with.

    Attributes:
        row: the profile.
        models: label → model.
        term: of the dispersive run; the baseline is measured by it and at its block, too.
        train, test: see ``probed_images``.
        facts: in every sidecar.
    """

    row: Profile
    models: dict[str, DiffusionTransformer]
    term: DispersiveSpec
    train: ImageSet
    test: ImageSet
    facts: dict[str, Any]

    @property
    def regularizer(self) -> DispersiveRegularizer:
        """Of the term: its loss, and the block it reads."""
        return DispersiveRegularizer(self.term, next(iter(self.models.values())).config.depth)

    def save(self, figure: Figure, stem: Path, **facts: Any) -> Path:
        """A picture with these facts beside those of every one."""
        return save_drawn(figure, stem, self.facts | facts, stamp=self.row.stamp)


def open_pair(row: Profile, seed: int) -> Pair:
    """The runs of item ``pair`` at the profile's length, with its weights.

    Raises:
        ConfigError, StorageError, CheckpointError: as of ``draw_representations``.
    """
    train, test = probed_images(row)
    cells = item("pair", row.name, (seed,))
    (term,) = (t for cell in cells for t in cell.spec.regularizers if isinstance(t, DispersiveSpec))
    models = {
        cell.label: load_model(run_folder(cell.spec), step=cell.spec.num_steps, weights=row.weights,
                               device=cell.spec.device)
        for cell in cells
    }  # fmt: skip
    runs = [{"label": cell.label, "seed": seed, "fingerprint": cell.spec.fingerprint,
             "step": cell.spec.num_steps} for cell in cells]  # fmt: skip
    facts = {"item": "pair", "weights": row.weights, "split": row.protocol.split, "n": len(test),
             "runs": runs}  # fmt: skip
    return Pair(row, models, term, train, test, facts)


def draw_representations(row: Profile, folder: Path, *, seed: int = 0, level: float = 0.3) -> dict[str, Path]:
    """Measure baseline and dispersive run of one training seed, and draw what was found.

    Args:
        row: the profile.
        folder: where to.
        seed: of training.
        level: noise level of the cosines and the plane, at the regularised block.

    Returns:
        ``maps``, ``cosines``, ``similarity``, ``plane`` and ``density`` → ``representations.png`` and
        ``representations_<name>.png``, each with its sidecar; that of the plane holds the coordinates.

    Raises:
        ConfigError, DataError: as ``probed_images`` and ``encoded``.
        StorageError, CheckpointError: a run is not trained on this machine; weights are not published.
    """
    pair, stem = open_pair(row, seed), folder / "representations"
    (block,) = pair.regularizer.blocks
    features = {
        label: unlabelled_features(model, pair.test, level=level)[block]
        for label, model in pair.models.items()
    }
    place = {"block": block, "level": level}
    return {
        "maps": _draw_maps(pair, stem),
        "cosines": _draw_cosines(pair, features, place, stem.with_name(f"{stem.name}_cosines")),
        "similarity": _draw_similarity(pair, stem.with_name(f"{stem.name}_similarity")),
        "plane": _draw_plane(pair, features, place, stem.with_name(f"{stem.name}_plane")),
        "density": _draw_density(row, stem.with_name(f"{stem.name}_density")),
    }


def _draw_maps(pair: Pair, stem: Path) -> Path:
    loss, group = pair.regularizer.loss, pair.term.local_batch
    places = {
        label: measure_places(model, pair.train, pair.test, loss=loss) for label, model in pair.models.items()
    }
    alive = {
        "variant": pair.term.variant, "tau": pair.term.tau, "local_batch": group,
        "rows": len(pair.test) - len(pair.test) % (group or 1),
    }  # fmt: skip
    values = {label: values_of(own) for label, own in places.items()}
    figure = heat_maps_figure(places, group=group)
    return pair.save(figure, stem, places=values, alive=alive, probe_n=len(pair.train))


def _draw_cosines(pair: Pair, features: Mapping[str, Tensor], place: dict[str, Any], stem: Path) -> Path:
    counts = cosine_histograms(features)
    return pair.save(cosines_figure(counts), stem, **place, bins=[-1, 1, 100], counts=counts)


def _draw_similarity(pair: Pair, stem: Path) -> Path:
    encoder = encoded(pair.test, pair.row)
    alike = {
        measure: compare_places(pair.models, pair.test, encoder, measure=measure, levels=(0.1, 0.5, 0.9))
        for measure in SIMILARITIES
    }
    values = [
        {"measure": measure, "compared": name, "block": block, "level": level, **plain(vars(each))}
        for measure, found in alike.items()
        for (name, block, level), each in found.items()
    ]
    return pair.save(similarity_figure(alike), stem, encoder=pair.row.evaluator, values=values)


def _draw_plane(pair: Pair, features: Mapping[str, Tensor], place: dict[str, Any], stem: Path) -> Path:
    coordinates = {method: project(list(features.values()), method) for method in METHODS}
    joint = torch.cat([z.flatten(1) for z in features.values()]).double().cpu().numpy()
    kept = {m: neighbour_overlap(joint, points.reshape(-1, 2)) for m, points in coordinates.items()}
    figure = plane_figure(coordinates, pair.test.labels.numpy(), list(features), kept)
    rounded = {method: np.round(points, 4).tolist() for method, points in coordinates.items()}
    return pair.save(figure, stem, **place, labels=pair.test.labels.tolist(), neighbours_kept=kept,
                     coordinates=rounded)  # fmt: skip


def _draw_density(row: Profile, stem: Path) -> Path:
    example = density_example()
    points = {method: np.round(found, 4).tolist() for method, found in example.items()}
    facts = {"item": "none", "runs": [], "points": points}
    source = "from two clouds of points; no run"
    return save(density_figure(example), stem, facts, source=source, stamp=row.stamp)
