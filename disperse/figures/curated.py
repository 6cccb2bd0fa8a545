"""Samples that were picked, and pairs from the same noise."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ..errors import ConfigError
from ..evaluation import Estimate, mean_over_seeds
from ..experiments import item, run_folder
from ..experiments.paper import name_of
from ..experiments.profiles import Profile
from ..training.checkpoint import saved_steps
from .facts import plain, save_drawn
from .samples import Drawn, draw_from, sample_facts, samples_figure, tile
from .theme import COLORS, COLUMN, new_figure

OTHER = "#7a7a7a"  # the baseline of another training seed
# What pairs differ in, and the colour of it.
KINDS = {
    "with and without the term": COLORS["infonce-l2"],
    "two training seeds": OTHER,
    "two noises of one class": "black",
}


def pick(drawn: Drawn, candidates: int, kept: int) -> list[int]:
    """Sample seeds of the ``kept`` samples of each class of which the classifier is surest.

    Args:
        drawn: samples of one run.
        candidates: how many of each class there are to pick from, the first.
        kept: how many are picked, ≤ candidates.

    Returns:
        The surest of every class, in the order of the classes; then the second of each; and so on.

    Raises:
        ConfigError: more are asked for than there are, or no classifier has seen them.
    """
    classes = drawn.num_classes
    if drawn.sureness is None:
        raise ConfigError(f"picks of {drawn.label}: a classifier chooses them, the evaluator is none")
    if not 1 <= kept <= candidates or candidates * classes > len(drawn.asked):
        raise ConfigError(
            f"picks: {kept} of {candidates} candidates for each of {classes} classes, from "
            f"{len(drawn.asked)} samples; expected 1 ≤ picks ≤ candidates, and so many samples"
        )
    # Sample seed = candidate · classes + class.
    sureness = drawn.sureness[: candidates * classes].reshape(candidates, classes)
    best = sureness.argsort(dim=0, descending=True, stable=True)[:kept]
    return (best * classes + torch.arange(classes)).flatten().tolist()


def draw_curated(
    drawn: Sequence[Drawn], row: Profile, folder: Path, *, candidates: int = 20, kept: int = 5
) -> Path:
    """Draw what ``pick`` chooses from each run, by itself, side by side; returns the picture.

    Args:
        drawn: of the runs, one training seed.
        row: the profile.
        folder: where ``samples_curated.png`` and its sidecar go.
        candidates, kept: see ``pick``.
    """
    facts = {"item": "samples", "candidates": candidates, "kept": kept, **sample_facts(row, drawn)}
    grids, classes = {}, drawn[0].num_classes
    for run, each in zip(facts["runs"], drawn, strict=True):
        picks = pick(each, candidates, kept)
        grids[each.label] = each.images[picks]
        shown = each.agreement(picks)
        assert shown is not None  # a classifier has picked them
        assert each.sureness is not None
        run |= {
            "picks": picks,
            "agreement_of_candidates": plain(each.agreement(range(candidates * classes))),
            # Picked by the classifier that judges them: a share, and no estimate of anything.
            "agreement_of_picks": {"value": shown.value, "n": shown.n},
            "least_probability": float(each.sureness[picks].exp().min()),
        }
    shared = len(set.intersection(*(set(run["picks"]) for run in facts["runs"])))
    facts["shared_picks"] = shared
    title = (
        f"Picked: of {candidates} candidates for each class, the {kept} of which the evaluator's classifier "
        f"is surest, best above.\nChosen for each model by itself, from the same noise; {shared} of "
        f"{classes * kept} are the same noise in both. {facts['sampler']}"
    )
    return save_drawn(samples_figure(grids, title), folder / "samples_curated", facts, stamp=row.stamp)


def other_baseline(row: Profile, seed: int, num: int, *, guidance: float = 1.0) -> Drawn | None:
    """What the baseline of a training seed draws; None if it isn't trained on this machine."""
    cell = next(cell for cell in item("large_pair", row.name, (seed,)) if cell.label == "baseline")
    there = cell.spec.num_steps in saved_steps(run_folder(cell.spec) / "checkpoints")
    return draw_from(cell, row, num, guidance=guidance) if there else None


def pixel_distances(first: Tensor, second: Tensor) -> list[float]:
    """Root mean square over pixels of each pair's difference; 2 is black against white."""
    return (first - second).flatten(1).double().square().mean(1).sqrt().tolist()


def pair_distances(base: Drawn, term: Drawn, other: Drawn | None, num: int) -> dict[str, list[float]]:
    """What is compared → distance of each pair: by the term, by the training seed, by the noise.

    The last compares the baseline with itself on other noise: as far as two images of one class are apart
    when nothing is shared.
    """
    classes, own = base.num_classes, base.images[:num]
    by_term, by_seed, by_noise = KINDS
    found = {by_term: pixel_distances(own, term.images[:num])}
    if other is not None:
        found[by_seed] = pixel_distances(own, other.images[:num])
    half = len(own) // (2 * classes) * classes  # of each class as many in either half, in the same order
    if half:
        found[by_noise] = pixel_distances(own[:half], own[half : 2 * half])
    return found


def over_noises(distances: list[float]) -> Estimate:
    """Mean over noises of one pair of runs; its interval says nothing of other runs."""
    estimate = mean_over_seeds(distances)
    return replace(estimate, method=estimate.method.replace("seeds", "noises").replace("seed", "noise"))


def pairs_figure(
    base: Drawn, term: Drawn, other: Drawn | None, distances: dict[str, list[float]], *, shown: int = 10
) -> Figure:
    """Above, column by column, what the same noise becomes; below, how far the images of a pair are apart.

    Args:
        base, term: baseline and dispersive run of one training seed.
        other: baseline of another training seed, or none.
        distances: of ``pair_distances``.
        shown: sample seeds 0 to shown−1 are drawn.
    """
    rows = [
        (base, name_of(base.label), COLORS["baseline"]),
        (term, name_of(term.label), COLORS["infonce-l2"]),
    ]
    if other is not None:
        rows.append((other, f"baseline, seed {other.spec.seed}", OTHER))
    figure, (above, below) = new_figure(COLUMN, 4.8, rows=2)
    columns = min(shown, len(base.images))
    above.imshow(tile(torch.cat([run.images[:columns] for run, *_ in rows]), columns),
                 cmap="gray", vmin=-1, vmax=1)  # fmt: skip
    height = base.images.shape[2]
    above.set_yticks(
        [(height + 1) * k + (height - 1) / 2 for k in range(len(rows))], [name for _, name, _ in rows]
    )
    for text, (*_, color) in zip(above.get_yticklabels(), rows, strict=True):
        text.set_color(color)
    above.set(xticks=[], title="Column by column, what the same noise becomes")
    above.tick_params(length=0)
    above.spines[:].set_visible(False)
    _distances(below, distances)
    return figure


def _distances(ax: Axes, distances: dict[str, list[float]]) -> None:
    """A dot for each pair, and the mean with its interval over noises."""
    for y, (name, values) in enumerate(distances.items()):
        color = KINDS[name]
        spread = np.linspace(-0.22, 0.22, len(values)) if len(values) > 1 else np.zeros(1)
        ax.scatter(values, y + spread, s=9, color=color, alpha=0.35, linewidth=0)
        mean = over_noises(values)
        bar = [[mean.value - mean.low], [mean.high - mean.value]] if np.isfinite(mean.low) else None
        ax.errorbar(mean.value, y, xerr=bar, fmt="o", color=color, capsize=4, markersize=8, mec="black")
    names = [f"{fill(name, 16)}\n(n = {len(values)})" for name, values in distances.items()]
    ax.set_yticks(range(len(distances)), names)
    ax.set_ylim(len(distances) - 0.5, -0.5)
    ax.set_xlim(left=0)
    ax.set(title="How far apart?", xlabel="rms difference over pixels (black against white: 2)")


def draw_pairs(
    drawn: Sequence[Drawn], row: Profile, folder: Path, *, other: Drawn | None = None, num: int = 100
) -> Path:
    """Draw pairs from the same noise, and how far they are apart; returns the picture.

    Args:
        drawn: baseline and dispersive run of one training seed.
        row: the profile.
        folder: where ``samples_pairs.png`` and its sidecar go.
        other: baseline of another training seed; none, or the same, is left out.
        num: pairs that are measured, sample seeds 0 to num−1.
    """
    base, term = drawn
    if other and other.spec == base.spec:
        other = None
    distances = pair_distances(base, term, other, num)
    everything = [*drawn, *([other] if other else [])]
    facts = {
        "item": "samples",
        "distance": "root mean square of the difference over pixels",
        "distances": {name: plain(over_noises(values)) for name, values in distances.items()},
        "values": plain(distances),
        **sample_facts(row, everything),
    }
    figure = pairs_figure(base, term, other, distances, shown=min(10, num))
    return save_drawn(figure, folder / "samples_pairs", facts, stamp=row.stamp)
