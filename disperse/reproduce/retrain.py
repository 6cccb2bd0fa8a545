"""Train a published entry again, beside the store, and compare its numbers with the published ones."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import atomic
from ..errors import ConfigError, check_count
from ..evaluation import Protocol
from ..experiments import evaluate_run
from ..rng import stream
from ..spec import RunSpec
from ..store import Record
from ..training import train

# Where bits can't be expected to agree. Other rounding grows over training: with AVX2 instead of AVX-512,
# 600 steps of the baseline ended 0.5% away in fd and 0.003 in the shares. Longer runs and other devices
# were not measured, so these leave much room; seeds differ by as much.
FD_TOLERANCE = 0.15  # of distances and held-out losses, relative
LOSS_TOLERANCE = 0.15  # of the losses of each noise level, relative
SHARE_TOLERANCE = 0.05  # of precision, recall and agreement, absolute
SAME, NEAR, FAR = "bit-equal", "within tolerance", "differs"


@dataclass(frozen=True)
class Comparison:
    """A published entry beside the same entry trained here: one of ``SAME``, ``NEAR``, ``FAR``, and why."""

    state: str
    detail: str


def choose(pool: list[Record], count: int, seed: int) -> list[Record]:
    """``count`` different entries at random, the same ones for the same seed and results.

    Raises:
        ConfigError: there aren't so many.
    """
    check_count("retrain", count, 1, len(pool))
    order = stream("retrain", check_count("seed", seed, 0)).permutation(len(pool))
    return [pool[index] for index in order[:count]]


def spec_of(record: Record) -> RunSpec:
    """The run of an entry, as long as the entry's step."""
    values: dict[str, Any] = {**record["spec"], "name": record["name"], "num_steps": record["step"]}
    # On another device the bits would differ for no reason that matters.
    return RunSpec.parse({**values, "device": "cpu" if record["device"] == "cpu" else "auto"})


def retrain(record: Record, *, progress: bool = True) -> Record:
    """Train and evaluate an entry in a temporary folder; ``runs/`` is neither read nor written."""
    spec = spec_of(record)
    if spec.fingerprint != record["fingerprint"]:
        raise ConfigError(
            f"{record['name']}-{record['fingerprint']}: its specification has the fingerprint "
            f"{spec.fingerprint}; retrain it with the version that published it"
        )
    with tempfile.TemporaryDirectory(prefix="disperse-retrain-") as folder, _one_thread():
        train(spec, Path(folder) / spec.run_id, progress=progress)
        return evaluate_run(
            Path(folder) / spec.run_id, record["step"], Protocol.parse(record["protocol"]), device=spec.device
        )


def compare(published: Record, here: Record) -> Comparison:
    """Judge a retrained entry: every number bit for bit, else its metrics within the tolerance.

    Bits are expected with the same device and version of PyTorch, on the same kind of processor (which no
    entry names), so other bits within the tolerance are said, not condemned.
    """
    # A newer version measures more; what was published is what must come out again.
    here = {**here, "metrics": {k: v for k, v in here["metrics"].items() if k in published["metrics"]}}
    parts = [part for part in ("metrics", "blocks", "terms", "levels") if part in published or part in here]
    changed = [
        part
        for part in parts
        if atomic.canonical_json(published.get(part)) != atomic.canonical_json(here.get(part))
    ]
    if not changed:
        noise = ", and every noise level" if "levels" in parts else ""
        return Comparison(SAME, f"every metric and every measure of the features{noise}")
    worst, beyond = "", []
    for name, entry in published["metrics"].items():
        value, other = entry["value"], here["metrics"].get(name, {}).get("value", math.nan)
        relative = name.startswith("fd") or name == "held_out_loss"
        allowed = FD_TOLERANCE * abs(value) if relative else SHARE_TOLERANCE
        text = f"{name} {other:.6g}, published {value:.6g}"
        worst += f"; {text}" if worst else text
        if not abs(other - value) <= allowed:
            beyond.append(name)
    if "levels" in changed and not _losses_agree(published.get("levels", []), here.get("levels", [])):
        beyond.append("losses by noise level")
    bounds = f"tolerance {FD_TOLERANCE:.0%} of fd and losses, {SHARE_TOLERANCE} of shares"
    where = f"other bits in {', '.join(changed)}; {_difference_of_machines(published, here)}"
    if beyond:
        return Comparison(FAR, f"{', '.join(beyond)} beyond the tolerance: {worst} ({bounds}; {where})")
    return Comparison(NEAR, f"{worst} ({bounds}; {where})")


def _losses_agree(published: list[dict[str, Any]], here: list[dict[str, Any]]) -> bool:
    """Whether the same noise levels were measured, with the same losses to the tolerance."""
    if [each["level"] for each in published] != [each["level"] for each in here]:
        return False
    pairs = [
        (old[name], new[name])
        for old, new in zip(published, here, strict=True)
        for name in ("seen_loss", "unseen_loss")
    ]
    return all(
        old == new if old is None or new is None else math.isclose(old, new, rel_tol=LOSS_TOLERANCE)
        for old, new in pairs
    )


def _difference_of_machines(published: Record, here: Record) -> str:
    pairs = [(key, published[key], here[key]) for key in ("device", "torch") if published[key] != here[key]]
    if not pairs:
        return "same device and torch, so another kind of processor, or other code"
    return ", ".join(f"{key} {ours} here, {theirs} published" for key, theirs, ours in pairs)


@contextmanager
def _one_thread() -> Iterator[None]:
    """As the runs of the store are trained: the number of threads decides the order of sums."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
