"""Run folders: what they are the run of, and the models in them."""

import json
from pathlib import Path

import torch

from .. import atomic
from ..device import resolve_device
from ..errors import CheckpointError, ConfigError, StorageError
from ..models import DiffusionTransformer, from_config, model_config
from ..models.checkpoints import load_model_file
from ..spec import RunSpec
from . import checkpoint as checkpoints
from .state import load_strictly


def claim_folder(folder: Path, spec: RunSpec) -> None:
    """Write ``spec.json``, or check that the folder's own describes the same run.

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
    atomic.remove_temporaries(folder)
    atomic.write_json(path, spec.model_dump(mode="json"))


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
    part = "model" if weights == "raw" else f"ema.{weights}"
    saved = checkpoints.load(folder / "checkpoints", step, spec.fingerprint, only={part})
    if part not in saved.tensors:
        raise CheckpointError(
            f'weights = "{weights}": the run keeps "raw" and {", ".join(map(repr, spec.ema))}'
        )
    model = from_config(model_config(spec.model, **spec.overrides), objective=spec.objective)
    load_strictly(model, saved.tensors[part])
    return model.to(device).eval().requires_grad_(False)


def load_model(
    folder: str | Path, *, step: int | None = None, weights: str | None = None, device: str = "cpu"
) -> DiffusionTransformer:
    """The model of a run folder or of a model file, ready to sample from.

    Args:
        folder: of a run, as ``disperse train`` prints it; or a file that ``disperse import`` made, which
            holds one set of weights (``step`` and ``weights`` then have no meaning and must be None).
        step: which checkpoint; the newest by default.
        weights: ``"raw"`` or an average that the run keeps; by default its first average.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``...

    Raises:
        StorageError: not a run folder, or it has no checkpoint.
        CheckpointError: the checkpoint is missing or damaged.
    """
    path = Path(folder)
    if path.is_file():
        if step is not None or weights is not None:
            raise ConfigError(f"{path}: a model file holds one set of weights; leave step and weights out")
        return load_model_file(path).to(resolve_device(device))
    spec = read_spec(path)
    chosen = weights or (spec.ema[0] if spec.ema else "raw")
    step = latest_step(path) if step is None else step
    return load_weights(path, spec, step, chosen, resolve_device(device))
