"""Items of the paper as lists of runs."""

from dataclasses import dataclass

from ..errors import unknown
from ..spec import DispersiveSpec, RunSpec, Variant
from .profiles import profile

DISPERSIVE: tuple[Variant, ...] = ("infonce-l2", "infonce-cosine", "hinge", "covariance")


@dataclass(frozen=True)
class Cell:
    """One entry of a table or curve: its label and its run for one seed."""

    label: str
    spec: RunSpec


def variants(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """Baseline and the four dispersive variants, λ = 0.5, τ = 0.5, a quarter of the depth.

    Source: paper, ablation of variants. λ of hinge and covariance is unpublished: 0.5 too.
    """
    row = profile(profile_name)
    return [
        cell
        for seed in seeds
        for cell in [
            Cell("baseline", row.spec("baseline", seed)),
            *(Cell(name, row.spec(name, seed, DispersiveSpec(variant=name))) for name in DISPERSIVE),
        ]
    ]


ITEMS = {"variants": variants}


def item(name: str, profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """Runs of an item of the paper.

    Raises:
        ConfigError: unknown item.
    """
    if name not in ITEMS:
        raise unknown("item", name, ITEMS)
    return ITEMS[name](profile_name, seeds)
