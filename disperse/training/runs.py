"""The run store: where runs lie, and which of them a name means."""

import json
from pathlib import Path
from typing import Any

from ..device import resolve_device
from ..errors import ConfigError, StorageError
from ..folders import home
from ..models import DiffusionTransformer
from ..models.checkpoints import load_model_file
from .checkpoint import saved_steps
from .folder import evaluated_steps, latest_step, load_weights, read_spec


def run_folders() -> list[Path]:
    """Every folder of the store that holds a run, by name and seed."""
    folders = [path.parent for path in (home() / "runs").glob("*/spec.json")]
    return sorted(folders, key=lambda folder: (run_name(folder), str(_facts(folder).get("seed")).zfill(20)))


def run_name(folder: Path) -> str:
    """A run's name: that of its folder, before the fingerprint."""
    return folder.name.rpartition("-")[0]


def find_run(name: str | Path, seed: int | None = None) -> Path:
    """A run folder by path, by ``<name>-<fingerprint>``, by ``<name>``, or by a part of either.

    The first of these that any run fits decides; a folder without ``spec.json`` is no run.

    Args:
        name: what to look for.
        seed: takes only runs of that training seed.

    Raises:
        StorageError: none or several fit; the message names those with their seeds and lengths.
    """
    path, text = Path(name), str(name)
    if (path / "spec.json").is_file():
        return path
    runs = [folder for folder in run_folders() if seed is None or _facts(folder).get("seed") == seed]
    fits = (
        [folder for folder in runs if folder.name == text],
        [folder for folder in runs if run_name(folder) == text],
        [folder for folder in runs if text in folder.name],
    )
    matches = next(filter(None, fits), [])
    if len(matches) == 1:
        return matches[0]
    if not matches and path.is_dir():
        raise StorageError(f"{path}: not a run folder (no spec.json); `disperse train` makes one")
    found = ", ".join(map(_described, matches[:5])) + (", ..." if matches[5:] else "")
    what = f"run {text!r}" + ("" if seed is None else f" with seed {seed}")
    cure = "choose by --seed, or by the whole name" if matches else "`disperse list` names what there is"
    raise StorageError(
        f"{what}: expected one folder in {home() / 'runs'} to match, found {found or 'none'}; {cure}"
    )


def load_model(
    run: str | Path,
    *,
    step: int | None = None,
    weights: str | None = None,
    device: str = "cpu",
    seed: int | None = None,
) -> DiffusionTransformer:
    """The model of a run or of a model file, ready to sample from.

    Args:
        run: its folder, as ``disperse train`` prints it; its name in the store, as in ``find_run``; or a
            file that ``disperse import`` made, which holds one set of weights (leave the rest out).
        step: which checkpoint; the newest by default.
        weights: ``"raw"`` or an average that the run keeps; by default its first average.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``...
        seed: chooses among runs of one name.

    Raises:
        StorageError: no run or several fit, or it has no checkpoint.
        CheckpointError: the checkpoint is missing or damaged.
    """
    if Path(run).is_file():
        if step is not None or weights is not None:
            raise ConfigError(f"{run}: a model file holds one set of weights; leave step and weights out")
        return load_model_file(run).to(resolve_device(device))
    path = find_run(run, seed)
    spec = read_spec(path)
    chosen = weights or (spec.ema[0] if spec.ema else "raw")
    step = latest_step(path) if step is None else step
    return load_weights(path, spec, step, chosen, resolve_device(device))


def list_runs() -> list[str]:
    """One line for each run of the store: name, seed, steps done and asked for, evaluations."""
    rows = [("run", "seed", "steps", "evaluations")]
    for folder in run_folders():
        facts, steps = _facts(folder), saved_steps(folder / "checkpoints")
        done = f"{steps[-1] if steps else 0} of {facts.get('num_steps', '?')}"
        evaluations = len(list((folder / "evaluations").glob("step_*.json")))
        at = sorted(evaluated_steps(folder))
        told = f"{evaluations} at {', '.join(map(str, at))}" if at else "none"
        rows.append((folder.name, str(facts.get("seed", "?")), done, told))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join([*map(str.ljust, row, widths), row[3]]) for row in rows]


def _described(folder: Path) -> str:
    facts = _facts(folder)
    return f"{folder.name} (seed {facts.get('seed', '?')}, {facts.get('num_steps', '?')} steps)"


def _facts(folder: Path) -> dict[str, Any]:
    """What ``spec.json`` says, unchecked: a damaged run must not hide the others."""
    try:
        values = json.loads((folder / "spec.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
