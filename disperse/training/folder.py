"""Run folders: what they are the run of, and the models in them."""

import json
import re
from pathlib import Path

import torch

from .. import atomic
from ..data import base_name
from ..errors import CheckpointError, ConfigError, DataError, StorageError
from ..models import DiffusionTransformer, config_of, from_config
from ..spec import RunSpec
from . import checkpoint as checkpoints
from .state import load_strictly

_EVALUATION = re.compile(r"step_(\d{8,})-")


def claim_folder(folder: Path, spec: RunSpec, content: str = "") -> RunSpec:
    """Write ``spec.json``, or check that the folder's own describes the same run.

    ``content`` is the SHA-256 of data that a user brought: the name in the specification does not say which
    pixels those were, so it stands beside, in ``data.json``, and a run goes on with the same alone.

    It never shrinks: of two lengths the longer one stays, and every milestone and end that was asked
    for before is a milestone. Evaluations and notebooks load those steps.

    Returns:
        What was written.

    Raises:
        ConfigError: it describes another run; the message names the fields that differ.
        StorageError: it cannot be read.
    """
    path = folder / "spec.json"
    if path.exists():
        known = read_spec(folder)
        if known.fingerprint != spec.fingerprint:
            ours, theirs = spec.model_dump(mode="json"), known.model_dump(mode="json")
            differ = [
                f"{key}: {theirs[key]} there, {ours[key]} asked"
                for key in ours
                if key not in spec.NOT_IDENTITY and ours[key] != theirs[key]
            ]
            raise ConfigError(f"{folder}: holds another run ({'; '.join(differ)}); choose another folder")
        longest = max(spec.num_steps, known.num_steps)
        steps = {*spec.milestones, *known.milestones, spec.num_steps, known.num_steps} - {0, longest}
        spec = spec.replace(num_steps=longest, milestones=tuple(sorted(steps)))
    if content:
        check_content(folder, spec, content)
    atomic.remove_temporaries(folder)
    if content:  # before spec.json: no run without it
        atomic.write_json(folder / "data.json", {"data": spec.data, "sha256": content})
    atomic.write_json(path, spec.model_dump(mode="json"))
    return spec


def check_content(folder: Path, spec: RunSpec, content: str) -> None:
    """Refuse other data than those a run began with.

    Raises:
        DataError: its ``data.json`` names another content, or is missing or damaged beside a ``spec.json``.
    """
    path = folder / "data.json"
    if not path.exists() and not (folder / "spec.json").exists():
        return
    try:
        known = json.loads(path.read_text(encoding="utf-8"))["sha256"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path}: cannot be read ({error}); delete the run's folder to train it again"
        ) from None
    if known != content:
        base = base_name(spec.data)
        raise DataError(
            f"{folder}: trained on {base}@{str(known)[:12]}, the images found are others; bring those "
            f"back, or train another run with data = {base}@{content[:12]}"
        )


def evaluated_steps(folder: Path) -> set[int]:
    """Steps of a run that have an evaluation file, under any protocol."""
    matches = (_EVALUATION.match(path.name) for path in (folder / "evaluations").glob("step_*.json"))
    return {int(match[1]) for match in matches if match}


def read_spec(folder: Path) -> RunSpec:
    """The spec of a run folder.

    Raises:
        StorageError: no ``spec.json``, or it cannot be read.
        ConfigError: it is of another version, or was edited.
    """
    path = folder / "spec.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StorageError(f"{folder}: not a run folder (no spec.json); `disperse train` makes one") from None
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{path}: cannot be read ({error}); delete the folder to train the run again"
        ) from None
    if not isinstance(values, dict):
        raise StorageError(f"{path}: expected an object; delete the folder to train the run again")
    try:
        return RunSpec.parse(values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def latest_step(folder: Path) -> int:
    """The newest saved step of a run.

    Raises:
        StorageError: the run has no checkpoint.
    """
    steps = checkpoints.saved_steps(folder / "checkpoints")
    if not steps:
        raise StorageError(f"{folder}: no checkpoint yet; run `disperse train` to make one")
    return steps[-1]


def load_weights(
    folder: Path, spec: RunSpec, step: int, weights: str, device: torch.device | str
) -> DiffusionTransformer:
    """The model of a run's checkpoint, for sampling: ``"raw"`` weights or an average such as ``"power-0.1"``.

    Raises:
        CheckpointError: there is no such checkpoint or average, or it is damaged.
    """
    part = _part(weights)
    try:
        saved = checkpoints.load(folder / "checkpoints", step, spec.fingerprint, only={part})
    except checkpoints.DamagedCheckpointError as error:
        others = [other for other in checkpoints.saved_steps(folder / "checkpoints") if other != step]
        choice = f"take another step ({', '.join(map(str, others))}), or " if others else ""
        raise checkpoints.DamagedCheckpointError(
            f"{error}; {choice}delete this checkpoint's folder and train the run again"
        ) from None
    if part not in saved.tensors:
        raise CheckpointError(
            f'weights = "{weights}": the run keeps "raw" and {", ".join(map(repr, spec.ema))}'
        )
    model = from_config(config_of(spec), objective=spec.objective)
    load_strictly(model, saved.tensors[part])
    return model.to(device).eval().requires_grad_(False)


def weights_sha256(folder: Path, step: int, weights: str) -> str:
    """SHA-256 of the file that ``load_weights`` reads: what samples were made from, whatever it is called."""
    path = checkpoints.folder_of(folder / "checkpoints", step) / f"{_part(weights)}.safetensors"
    return atomic.sha256_file(path)


def _part(weights: str) -> str:
    return "model" if weights == "raw" else f"ema.{weights}"
