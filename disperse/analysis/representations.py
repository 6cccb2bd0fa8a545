"""The inner representations of trained models, block by block and noise level by noise level.

A class-conditional network is told the class, and its features spell it out: a probe of them would read the
label that went in. So everything here is measured with the *null* label, which stands for none.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..data import ImageSet
from ..evaluation import Estimate
from ..losses import DispersiveLoss
from ..models import DiffusionTransformer
from . import similarity
from .dispersion import block_features
from .geometry import Geometry, geometry
from .probes import linear_probe, neighbour_accuracy
from .similarity import Similarity

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Place:
    """What is measured at the output of one block at one noise level; each misleads as its function says.

    Attributes:
        block: counted from 0.
        level: noise level, 1 = pure noise.
        geometry: of the images that are tested on, ``alive`` of the whole groups among them.
        probe: accuracy of a linear probe, trained on other images at the same noise level.
        neighbours: accuracy of nearest neighbours among the images that are tested on.
    """

    block: int
    level: float
    geometry: Geometry
    probe: Estimate
    neighbours: Estimate

    def row(self) -> dict[str, Any]:
        """Of a table: ``block``, ``level``, the measures of ``Geometry``, and both accuracies."""
        accuracies = {"linear_probe": self.probe.value, "neighbours": self.neighbours.value}
        return {"block": self.block, "level": self.level, **asdict(self.geometry), **accuracies}


def unlabelled_features(
    model: DiffusionTransformer, data: ImageSet, *, level: float, seed: int = 0
) -> dict[int, Tensor]:
    """As ``block_features``, without telling the model the class."""
    null = torch.full_like(data.labels, model.config.num_classes)
    return block_features(model, ImageSet(data.images, null), level=level, seed=seed)


@torch.no_grad()
def measure_places(
    model: DiffusionTransformer,
    train: ImageSet,
    test: ImageSet,
    *,
    loss: DispersiveLoss | None = None,
    levels: tuple[float, ...] = LEVELS,
    seed: int = 0,
    progress: str = "",
) -> list[Place]:
    """Every block at every level, in the order of blocks, then levels.

    How it misleads: many numbers of one training seed, in which some stand out by chance; and at high noise
    levels what is measured is mostly the noise that all models share.

    Args:
        model: in eval mode.
        train: images for the linear probe alone.
        test: images that everything else is measured on; no image of ``train``.
        loss: as of ``geometry``; for all models the one that the runs are trained with, in its groups.
        levels: noise levels.
        seed: of the noise, the same for every model.
        progress: show a bar of that name.
    """
    places = []
    for level in _shown(levels, progress):
        learned = unlabelled_features(model, train, level=level, seed=seed + 1)
        for block, z in unlabelled_features(model, test, level=level, seed=seed).items():
            probe = linear_probe(learned[block].flatten(1), train.labels, z.flatten(1), test.labels)
            near = neighbour_accuracy(z, test.labels)
            places.append(Place(block, level, geometry(z, loss), probe, near))
    return sorted(places, key=lambda place: (place.block, place.level))


@torch.no_grad()
def compare_places(
    models: Mapping[str, DiffusionTransformer],
    data: ImageSet,
    encoder: Tensor,
    *,
    measure: similarity.Measure = "cknna",
    levels: tuple[float, ...] = LEVELS,
    blocks: tuple[int, ...] = (),
    repeats: int = 100,
    seed: int = 0,
    progress: str = "",
) -> dict[tuple[str, int, float], Similarity]:
    """(comparison, block, level) → how alike two representations of the same noised images are.

    Comparisons are ``"<a> / <b>"`` of every two models, at the same block, and ``"<a> / encoder"``.

    How it misleads: models that are given the same noise agree on the noise as well, which the encoder never
    saw.

    Args:
        models: by name, in eval mode, of one depth.
        data: clean images.
        encoder: what a frozen network makes of the clean images, (n, d).
        measure, repeats: as of ``similarity.compare``.
        levels: noise levels.
        blocks: that are compared; all by default.
        seed: of the noise.
        progress: show a bar of that name.
    """
    names = list(models)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    found = {}
    for level in _shown(levels, progress):
        features = {
            name: unlabelled_features(model, data, level=level, seed=seed) for name, model in models.items()
        }
        for block in blocks or features[names[0]]:
            own = {name: features[name][block] for name in names}
            sides = [(f"{a} / {b}", own[a], own[b]) for a, b in pairs]
            sides += [(f"{name} / encoder", z, encoder) for name, z in own.items()]
            for name, first, second in sides:
                found[name, block, level] = similarity.compare(
                    first, second, measure=measure, repeats=repeats, seed=seed
                )
    return found


def _shown(levels: tuple[float, ...], progress: str) -> Iterable[float]:
    return tqdm(levels, desc=progress, unit="level") if progress else levels
