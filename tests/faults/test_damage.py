"""A checkpoint that was damaged, or is of another run, is never used; the one before it is."""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from disperse.errors import CheckpointError
from disperse.training import checkpoint as checkpoints
from disperse.training.checkpoint import DamagedCheckpointWarning

from ..training.cases import TINY, content, run


def flip(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)


def truncate(folder: Path) -> None:
    path = folder / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:100])


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped bit": flip,
    "truncated": truncate,
    "empty": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "garbage manifest": lambda folder: (folder / "manifest.json").write_text("[1"),
    "extra file": lambda folder: (folder / "extra.bin").write_bytes(b"x"),
    "missing file": lambda folder: (folder / "model.safetensors").unlink(),
}


@pytest.fixture
def folder(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return shutil.copytree(undisturbed, tmp_path / "run")


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_set_aside(undisturbed: Path, folder: Path, kind: str) -> None:
    DAMAGE[kind](checkpoints.folder_of(folder / "checkpoints", 30))
    with pytest.warns(DamagedCheckpointWarning, match="set aside") as caught:
        run(folder)
    assert len(caught) == 1
    assert content(folder) == content(undisturbed)
    assert len(list((folder / "checkpoints").glob("damaged-*"))) == 1


def test_all_checkpoints_damaged_is_never_a_silent_start(folder: Path) -> None:
    for step in checkpoints.saved_steps(folder / "checkpoints"):
        flip(checkpoints.folder_of(folder / "checkpoints", step))
    for _ in range(2):  # the second time there is nothing left to set aside
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamagedCheckpointWarning)
            with pytest.raises(CheckpointError, match="no checkpoint verifies") as caught:
                run(folder)
        assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a/b.safetensors"])
def test_a_manifest_cannot_name_other_places(folder: Path, name: str) -> None:
    path = checkpoints.folder_of(folder / "checkpoints", 30) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = manifest["files"]["model.safetensors"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError):
        checkpoints.load(folder / "checkpoints", 30, TINY.fingerprint)


def test_a_checkpoint_of_another_run_is_refused(undisturbed: Path) -> None:
    with pytest.raises(CheckpointError, match="belongs to"):
        checkpoints.load(undisturbed / "checkpoints", 30, "0" * 12)
