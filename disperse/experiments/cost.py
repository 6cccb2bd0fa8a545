"""How long runs will take: an estimate from operations, scaled by what finished runs took here."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from ..evaluation import Protocol
from ..spec import RunSpec
from ..store import Evaluations, evaluation_path, is_complete, run_folder, wanted
from ..training import home
from .operations import evaluation_operations, training_operations

# Operations a second of one core on the small models of the ladder, training and sampling alike: what
# 250 runs of 2400 steps gave. Large models come nearer to a core's peak.
CORE_RATE = 40e9
# A job's start: Python, PyTorch and the data.
START_S = 4.0


def remaining_core_hours(runs: Sequence[tuple[RunSpec, Protocol | Evaluations]]) -> list[float]:
    """Estimated core-hours of what isn't trained and evaluated yet, of each run and its evaluations."""
    each = [
        0.0 if is_complete(spec, how) else _training_s(spec, _trained(spec)) + _evaluation_s(spec, how)
        for spec, how in runs
    ]
    slowness = _slowness()
    return [(seconds * slowness + START_S * (seconds > 0)) / 3600 for seconds in each]


def core_hours(spec: RunSpec, evaluations: Evaluations) -> float:
    """Estimated core-hours of a whole run, whatever is there."""
    operations = sum(evaluation_operations(spec, protocol) for _, protocol in evaluations)
    return (_training_s(spec, 0) + operations / CORE_RATE) / 3600


def _training_s(spec: RunSpec, done: int) -> float:
    return training_operations(spec, max(spec.num_steps - done, 0)) / CORE_RATE


def _evaluation_s(spec: RunSpec, how: Protocol | Evaluations) -> float:
    """Of the evaluations that aren't there."""
    folder = run_folder(spec)
    missing = [each for each in wanted(spec, how) if not evaluation_path(folder, *each).exists()]
    return sum(evaluation_operations(spec, protocol) for _, protocol in missing) / CORE_RATE


def _trained(spec: RunSpec) -> int:
    """Newest saved step of a run; 0 without one."""
    folders = (run_folder(spec) / "checkpoints").glob("step_*")
    return max((int(path.name[5:]) for path in folders if path.name[5:].isdecimal()), default=0)


def _slowness() -> float:
    """How many times longer this machine's runs took than estimated: their median; 1 without any."""
    found = []
    for path in (home() / "runs").glob("*/spec.json"):
        newest = max(path.parent.glob("checkpoints/step_*/manifest.json"), default=None)
        factor = _factor(path, newest) if newest else None
        if factor:
            found.append(factor)
    return statistics.median(found) if found else 1.0


def _factor(spec_path: Path, manifest: Path) -> float | None:
    """Seconds taken over seconds estimated; None for a run that can't be read or is too short to say."""
    try:
        spec = RunSpec.parse(json.loads(spec_path.read_text(encoding="utf-8")))
        saved = json.loads(manifest.read_text(encoding="utf-8"))
        step, elapsed = int(saved["step"]), float(saved["progress"]["elapsed_s"])
    except (OSError, ValueError, KeyError, TypeError):  # a damaged run is for its own job to tell
        return None
    if step < 200:
        return None
    return elapsed / _training_s(spec.replace(num_steps=step, milestones=()), 0)
