"""A closer look: runs that items have trained, evaluated at their end in other ways too."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import unknown
from ..evaluation import Protocol
from ..store import (
    Record,
    evaluate_run,
    is_complete,
    published,
    record_key,
    records,
    run_folder,
    select,
)
from .items import ITEMS, Cell, item
from .profiles import Profile, profile
from .runner import cells_of, complete_all

GUIDANCE = 1.5  # of the paper's comparison of systems


@dataclass(frozen=True)
class Look:
    """What is looked at, and how.

    Attributes:
        items: whose runs.
        protocols: profile, kind of objective → how they are evaluated; none: not at all.
        labels: of the runs; empty: all of the items.
        seeds: how many training seeds are looked at when results are published.
    """

    items: tuple[str, ...]
    protocols: Callable[[Profile, str], list[Protocol]]
    labels: tuple[str, ...] = ()
    seeds: int = 3

    def wants(self, cell: Cell) -> bool:
        """Whether a cell of the items is looked at."""
        return not self.labels or cell.label in self.labels


def convergence(row: Profile, kind: str) -> list[Protocol]:
    """The protocol at a quarter, half, once, twice and four times its steps, by Heun and by Euler.

    The profile may name a number of steps in the place of half.
    """
    steps = [max(round(row.sampler_steps * factor), 1) for factor in (0.25, 0.5, 1, 2, 4)]
    steps[1] = row.second_steps or steps[1]
    grid = [("heun", n) for n in steps] + [("euler", 2 * n) for n in steps]
    return [_changed(row, kind, solver=solver, num_steps=n) for solver, n in grid]


def guided(row: Profile, kind: str) -> list[Protocol]:
    """The protocol under guidance; a MeanFlow model has its guidance learned, and takes none."""
    return [] if kind == "meanflow" else [_changed(row, kind, guidance=GUIDANCE)]


def few_steps(row: Profile, kind: str) -> list[Protocol]:
    """Few network evaluations: MeanFlow in 1, 2 and 4, SiT by Euler in 1 to 16, DiT not at all."""
    if kind == "dit":
        return []
    solver, steps = ("meanflow", (1, 2, 4)) if kind == "meanflow" else ("euler", (1, 2, 4, 8, 16))
    return [_changed(row, kind, solver=solver, num_steps=n) for n in steps]


def against_training(row: Profile, kind: str) -> list[Protocol]:
    """The protocol, and what was learned by heart: nearest images, losses and gradients by noise level."""
    return [_changed(row, kind, against_training=True)]


LOOKS = {
    "sampler": Look(("pair",), convergence, labels=("baseline", "infonce-l2")),
    "systems": Look(("large_pair", "systems_tour"), guided),
    "one_step": Look(("large_pair", "systems_tour"), few_steps),
    "against_training": Look(("pair", "scale_of_effect"), against_training),
}


def _changed(row: Profile, kind: str, **changes: Any) -> Protocol:
    own = row.protocol_of(kind)
    return own.model_copy(update={"guided_samples": 0, **changes})


def find_look(name: str) -> Look:
    """A look by name.

    Raises:
        ConfigError: unknown name.
    """
    if name not in LOOKS:
        raise unknown("look", name, LOOKS)
    return LOOKS[name]


def seen_by(name: str, pool: list[Record], cell: Cell, row: Profile) -> list[Record]:
    """Records of a run at its end under the protocols of a look, in their order, as far as they are there."""
    spec = cell.spec.replace(milestones=())
    protocols = find_look(name).protocols(row, spec.objective.kind)
    return [record for protocol in protocols for record in select(pool, spec, protocol)]


def look(name: str, cells: list[Cell], row: Profile, *, source: str = "runs") -> list[Record]:
    """Evaluations of runs at their end under a look; what is missing is trained and evaluated.

    Args:
        name: of the look.
        cells: runs.
        row: the profile.
        source: as of ``results``.

    Raises:
        ConfigError: unknown look.
        RunFailedError: a run failed.
    """
    pool = published(row.name) if source == "published" else []
    missing = [cell.spec for cell in cells if not _is_complete(name, pool, cell, row)]
    complete_all(missing, row)
    found = [record for cell in cells for record in seen_by(name, pool, cell, row)]
    return found + [
        evaluate_run(run_folder(spec), spec.num_steps, protocol, device=spec.device)
        for spec in missing
        for protocol in find_look(name).protocols(row, spec.objective.kind)
    ]


def look_cells(name: str, profile_name: str, num_seeds: int, *, items: tuple[str, ...] = ()) -> list[Cell]:
    """Runs of a look: of seeds 0 to ``num_seeds`` − 1; with 0, those that are published under it.

    Where nothing of an item is, its runs of seed 0. Runs of a kind that the look has no protocol for are
    left out. ``items``: of the look; all by default.
    """
    own, row, pool = find_look(name), profile(profile_name), published(profile_name)
    cells = []
    for each in items or own.items:
        every = cells_of((each,), profile_name, num_seeds)
        wanted = [c for c in every if own.wants(c) and own.protocols(row, c.spec.objective.kind)]
        there = [c for c in wanted if _is_complete(name, pool, c, row)]
        cells += wanted if num_seeds else there or [c for c in wanted if c.spec.seed == 0]
    return cells


def _is_complete(name: str, pool: list[Record], cell: Cell, row: Profile) -> bool:
    protocols = find_look(name).protocols(row, cell.spec.objective.kind)
    return len(seen_by(name, pool, cell, row)) == len(protocols)


def finished(profile_name: str, num_seeds: int) -> list[Record]:
    """This machine's finished evaluations of every item of a profile, and under every look."""
    row, seeds = profile(profile_name), tuple(range(num_seeds))
    every = [cell.spec for name in ITEMS for cell in item(name, profile_name, seeds)]
    # The longest spec of a run covers the milestones of the shorter ones.
    specs = {spec.fingerprint: spec for spec in sorted(every, key=lambda spec: spec.num_steps)}
    found = [r for spec in specs.values() for r in records(spec, row.protocol_of(spec.objective.kind))]
    for own in LOOKS.values():
        for cell in (cell for name in own.items for cell in item(name, profile_name, seeds)):
            for protocol in own.protocols(row, cell.spec.objective.kind):
                found += records(cell.spec.replace(milestones=()), protocol)
    return list({record_key(record): record for record in found}.values())


def look_at_finished(profile_name: str, num_seeds: int) -> None:
    """Take every look at the runs that are finished on this machine, so that they are published with it."""
    row = profile(profile_name)
    for name, own in LOOKS.items():
        seeds = tuple(range(min(num_seeds, own.seeds)))
        cells = [cell for each in own.items for cell in item(each, profile_name, seeds)]
        done = [c for c in cells if is_complete(c.spec, row.protocol_of(c.spec.objective.kind))]
        look(name, [c for c in done if own.wants(c)], row)
