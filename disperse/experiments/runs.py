"""The table of a notebook's runs: what is published or done here is used, what is missing is trained."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import unknown
from ..evaluation import Protocol
from ..spec import RunSpec
from ..store import Evaluations, Record, at_every_step, published, record_key, records, select
from .profiles import Profile, profile
from .runner import complete_jobs

if TYPE_CHECKING:
    import pandas as pd


def seeds_of(profile_name: str, num_seeds: int = 0) -> tuple[int, ...]:
    """Training seeds 0 to ``num_seeds`` − 1; with 0, all that are published, or seed 0 where none is."""
    if num_seeds:
        return tuple(range(num_seeds))
    return tuple(sorted({record["seed"] for record in published(profile_name)})) or (0,)


def evaluations(
    runs: Sequence[RunSpec],
    profile_name: str,
    *,
    source: str = "published",
    protocols: Sequence[Protocol] = (),
    missing: str = "train",
) -> "pd.DataFrame":
    """A row per evaluation of these runs, in their order; see ``results.table``. ``final`` marks a run's end.

    Args:
        runs: any number of specifications.
        profile_name: whose protocol evaluates every milestone and the end, and whose published results count.
        source: ``"published"`` takes runs from the published results; of a setting and length that isn't
            there at all, the first seed is trained here. ``"runs"`` takes this machine's runs alone.
        protocols: evaluates the end of each run under these instead.
        missing: ``"leave"`` trains nothing: what isn't there isn't in the table.

    Raises:
        ConfigError: unknown source.
        RunFailedError: a run failed.
    """
    from ..results import table  # pandas is of the notebooks' extra, and no training needs it

    records = records_of(runs, profile_name, source=source, protocols=protocols, missing=missing)
    found, ends = table(records), {(spec.fingerprint, spec.num_steps) for spec in runs}
    if found.empty:
        return found
    return found.assign(final=[key in ends for key in zip(found.fingerprint, found.step, strict=True)])


def records_of(
    runs: Sequence[RunSpec],
    profile_name: str,
    *,
    source: str = "published",
    protocols: Sequence[Protocol] = (),
    missing: str = "train",
) -> list[Record]:
    """The records of that table, for the long tables of blocks and levels; arguments and errors alike."""
    for name, value, options in (
        ("source", source, ("published", "runs")), ("missing", missing, ("train", "leave"))
    ):  # fmt: skip
        if value not in options:
            raise unknown(name, value, options)
    row, pool = profile(profile_name), published(profile_name) if source == "published" else []
    wanted = {(spec.fingerprint, spec.num_steps): (spec, _how(spec, row, protocols)) for spec in runs}
    there = {key: _published(pool, *job) for key, job in wanted.items()}
    settings: dict[tuple[str, int], list[tuple[str, int]]] = {}
    for key, (spec, _) in wanted.items():
        settings.setdefault((spec.replace(seed=0).fingerprint, spec.num_steps), []).append(key)
    lacking = []
    for same in settings.values():
        if source == "runs":
            lacking += same
        elif not any(there[key] for key in same):
            lacking += same[:1]
    if missing == "train":
        complete_jobs([wanted[key] for key in lacking])
    found: list[Record] = []
    for key, (spec, how) in wanted.items():
        found += records(spec, how) if key in lacking else there[key]
    return list({record_key(record): record for record in found}.values())


def _how(spec: RunSpec, row: Profile, protocols: Sequence[Protocol]) -> Evaluations:
    if protocols:
        return tuple((spec.num_steps, protocol) for protocol in protocols)
    return at_every_step(spec, row.protocol_of(spec.objective.kind))


def _published(pool: list[Record], spec: RunSpec, how: Evaluations) -> list[Record]:
    """Published records of a run, if all are there."""
    found = []
    for step, protocol in how:
        found += select(pool, spec.replace(num_steps=step, milestones=()), protocol)
    return found if len(found) == len(how) else []
