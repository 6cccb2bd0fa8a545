"""Pictures that need the weights of runs: drawn where those were trained, published beside the results."""

from pathlib import Path

from ..experiments import home, item, profile
from ..models import config_of
from .curated import draw_curated, draw_pairs, other_baseline
from .nearest import draw_nearest
from .opened import draw_representations
from .samples import draw_from, draw_grids

CANDIDATES = 20  # of each class, to pick from
SHOWN = 100  # uncurated, and pairs that are measured


def draw_from_weights(profile_name: str, *, folder: Path | None = None, seed: int = 0) -> list[Path]:
    """Draw baseline and ℓ2 of one training seed: samples in order and picked, pairs, nearest, features.

    Where the profile's evaluator is no classifier, none are picked, and there are no held-out images to be
    nearest to.

    Args:
        profile_name: row of the ladder.
        folder: where to; ``figures/<profile>`` by default.
        seed: of training; pairs are compared with those of the next seed, where that is trained.

    Raises:
        ConfigError, DataError: the autoencoder of latents is not there.
        StorageError, CheckpointError: a run is not trained on this machine; weights are not published.
    """
    row = profile(profile_name)
    folder = home() / "figures" / profile_name if folder is None else folder
    cells = item("large_pair", profile_name, (seed,))
    classes = config_of(cells[0].spec).num_classes
    num = max(SHOWN, CANDIDATES * classes) if row.classifies else SHOWN
    drawn = [draw_from(cell, row, num) for cell in cells]
    paths = [
        draw_grids(drawn, row, folder / "samples", num=SHOWN),
        draw_pairs(drawn, row, folder, other=other_baseline(row, seed + 1, SHOWN), num=SHOWN),
    ]
    if row.classifies:
        paths.append(draw_curated(drawn, row, folder, candidates=CANDIDATES))
        paths.append(draw_nearest(row, folder, seed=seed))
    return [*paths, *draw_representations(row, folder, seed=seed).values()]
