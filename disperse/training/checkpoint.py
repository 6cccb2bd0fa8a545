"""Checkpoints: folders of safetensors with a manifest of hashes, either whole or absent.

``checkpoints/step_00001000/``: ``model.safetensors``, ``ema.<name>.safetensors``,
``optimizer.safetensors`` and ``manifest.json`` (format, step, fingerprint, SHA-256 of each file). A
folder is written under a temporary name, flushed and renamed, so a crash leaves the old one or the
new one. Nothing is loaded that its manifest doesn't vouch for.
"""

import json
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..atomic import new_folder, remove_temporaries, sha256_file, write_json
from ..errors import CheckpointError

FORMAT = 1
_FOLDER = re.compile(r"step_(\d{8})$")
_FILE = re.compile(r"[a-z0-9.\-]+\.safetensors$")
# What reading gives when a file is not what it should be.
_DAMAGE = (
    IsADirectoryError, NotADirectoryError, ValueError, KeyError, TypeError, AttributeError, SafetensorError,
)  # fmt: skip


class DamagedCheckpointWarning(UserWarning):
    """A checkpoint did not match its manifest and was set aside."""


class DamagedCheckpointError(CheckpointError):
    """A checkpoint's own files are incomplete or not what its manifest says (exit code 3)."""


@dataclass(frozen=True)
class Checkpoint:
    """What a run needs to go on: tensors by file name, and how far it has come."""

    step: int
    fingerprint: str
    tensors: dict[str, dict[str, Tensor]]
    progress: dict[str, Any]


def folder_of(checkpoints: Path, step: int) -> Path:
    """Where the checkpoint of a step lies."""
    return checkpoints / f"step_{step:08d}"


def saved_steps(checkpoints: Path) -> list[int]:
    """Steps that have a checkpoint folder, in order; damaged ones set aside don't count."""
    if not checkpoints.is_dir():
        return []
    matches = (_FOLDER.fullmatch(path.name) for path in checkpoints.iterdir())
    return sorted(int(match[1]) for match in matches if match)


def save(checkpoints: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically; if the step has a folder already, do nothing.

    The folder is not verified here: ``load_latest`` has set aside what is damaged before training goes on.

    Raises:
        StorageError: it cannot be written; nothing is left of it.
    """
    target = folder_of(checkpoints, checkpoint.step)
    if target.exists():
        return
    with new_folder(target) as folder:
        files = {}
        for name, tensors in checkpoint.tensors.items():
            path = folder / f"{name}.safetensors"
            try:
                save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, path)
            except SafetensorError as error:  # what a full disk gives
                size = sum(value.nbytes for value in tensors.values())
                raise OSError(f"{size} bytes of {path.name}: {error}") from error
            files[path.name] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
        write_json(
            folder / "manifest.json",
            {
                "format": FORMAT,
                "step": checkpoint.step,
                "fingerprint": checkpoint.fingerprint,
                "progress": checkpoint.progress,
                "files": files,
            },
        )


def load(checkpoints: Path, step: int, fingerprint: str, only: set[str] | None = None) -> Checkpoint:
    """Read the checkpoint of a step, verifying every byte that is read.

    Args:
        checkpoints: the run's checkpoint folder.
        step: which one.
        fingerprint: of the run that asks; a checkpoint of another run is refused.
        only: names of the parts to read (``{"model"}``); None reads all.

    Raises:
        DamagedCheckpointError: files are missing, cut, or not those of the manifest.
        CheckpointError: there is none of that step, it is of another run or format, or may not be read.
    """
    folder = folder_of(checkpoints, step)
    if not folder.exists():
        there = ", ".join(map(str, saved_steps(checkpoints))) or "none"
        raise CheckpointError(f"{folder}: no checkpoint at step {step}; there are {there}")
    try:
        if (folder / "manifest.json").is_symlink():
            raise DamagedCheckpointError(f"{folder}: the manifest is a link, not a plain file")
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        form = manifest["format"]  # before all else, which another format may not have
        if isinstance(form, int) and form != FORMAT:
            raise CheckpointError(
                f"{folder}: format {form}, this version reads {FORMAT}; use the version that wrote it"
            )
        files = manifest["files"]
        if manifest["step"] != step or manifest["fingerprint"] != fingerprint:
            raise CheckpointError(
                f"{folder}: belongs to step {manifest['step']} of run "
                f"{manifest['fingerprint']}, expected step {step} of {fingerprint}"
            )
        if form != FORMAT:
            raise DamagedCheckpointError(f"{folder}: format {form!r} is no number")
        present = {path.name for path in folder.iterdir()} - {"manifest.json"}
        if present != set(files):
            raise DamagedCheckpointError(
                f"{folder}: holds {sorted(present)}, the manifest names {sorted(files)}"
            )
        tensors = {}
        for name, facts in files.items():
            part = name.removesuffix(".safetensors")
            if only is not None and part not in only:
                continue
            if not _FILE.fullmatch(name) or (folder / name).is_symlink():
                raise DamagedCheckpointError(f"{folder}: {name!r} is not the name of a plain file")
            found = sha256_file(folder / name)
            if found != facts["sha256"]:
                raise DamagedCheckpointError(
                    f"{folder / name}: SHA-256 {found[:12]}, the manifest says {str(facts['sha256'])[:12]}"
                )
            tensors[part] = load_file(folder / name)
        return Checkpoint(step, fingerprint, tensors, dict(manifest["progress"]))
    except FileNotFoundError as error:
        raise DamagedCheckpointError(f"{folder}: {Path(error.filename).name} is missing") from None
    except _DAMAGE as error:
        raise DamagedCheckpointError(f"{folder}: cannot be read ({type(error).__name__}: {error})") from None
    except OSError as error:  # the file may be whole: permissions, a disk that is away
        raise CheckpointError(f"{error.filename or folder}: cannot be read ({error.strerror})") from None


def load_latest(checkpoints: Path, fingerprint: str) -> Checkpoint | None:
    """The newest checkpoint that verifies; None if there never was one.

    A damaged one is renamed aside with a warning, and the one before it is used.

    Raises:
        CheckpointError: there are checkpoints but none verifies (never a silent start from 0), or the
            newest is whole but of another run or format, or may not be read.
    """
    reasons = []
    for step in reversed(saved_steps(checkpoints)):
        try:
            return load(checkpoints, step, fingerprint)
        except DamagedCheckpointError as error:
            reasons.append(str(error))
            aside = _set_aside(folder_of(checkpoints, step))
            warnings.warn(f"{error}; set aside as {aside.name}", DamagedCheckpointWarning, stacklevel=2)
    damaged = sorted(checkpoints.glob("damaged-*")) if checkpoints.is_dir() else []
    if damaged:
        raise CheckpointError(
            f"{checkpoints}: no checkpoint verifies ({'; '.join(reasons) or 'all set aside before'}); "
            "delete the run folder to start again from step 0"
        )
    return None


def prune(checkpoints: Path, keep: set[int], newest: int = 2) -> None:
    """Delete all but the steps in ``keep`` and the ``newest`` ones, and what a crash left behind."""
    steps = saved_steps(checkpoints)
    for step in steps[: max(len(steps) - newest, 0)]:
        if step not in keep:
            shutil.rmtree(folder_of(checkpoints, step), ignore_errors=True)
    remove_temporaries(checkpoints)


def _set_aside(folder: Path) -> Path:
    for number in range(10_000):
        aside = folder.with_name(f"damaged-{folder.name}-{number}")
        if not aside.exists():
            return folder.rename(aside)
    raise CheckpointError(f"{folder}: too many damaged copies; clean the folder up")


def flatten_optimizer(optimizer: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """Optimiser state as one flat mapping ``<entry>.<parameter name>`` → tensor."""
    state = optimizer.state_dict()["state"]
    return {
        f"{entry}.{names[index]}": value
        for index, entries in state.items()
        for entry, value in entries.items()
    }


def expected_optimizer(parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What ``flatten_optimizer`` gives for AdamW after a step: names, shapes and dtypes, on ``meta``."""
    moments = {
        f"{entry}.{name}": torch.empty_like(value, device="meta")
        for name, value in parameters.items()
        for entry in ("exp_avg", "exp_avg_sq")
    }
    return moments | {f"step.{name}": torch.empty((), device="meta") for name in parameters}


def restore_optimizer(optimizer: torch.optim.Optimizer, names: list[str], tensors: dict[str, Tensor]) -> None:
    """Put back what ``flatten_optimizer`` gave."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        entry, _, name = key.partition(".")
        state.setdefault(names.index(name), {})[entry] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
