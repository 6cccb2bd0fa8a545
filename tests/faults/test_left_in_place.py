"""Only a damaged checkpoint is set aside; one that is whole but can't be used here stops the run."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from disperse import load_model
from disperse.errors import CheckpointError
from disperse.training import checkpoint as checkpoints

from ..training.cases import TINY, run
from .test_saving import small

WORD = TINY.fingerprint


def edit(folder: Path, **changes: object) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changes}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: edit(folder, format=2), "format 2, this version reads 1; use the version that wrote"),
        (
            lambda folder: (folder / "manifest.json").write_text('{"format": 2, "parts": []}'),
            "format 2, this version reads 1",
        ),
        (lambda folder: edit(folder, fingerprint="0" * 12), "belongs to step 20 of run 000000000000"),
        (lambda folder: edit(folder, step=30), "belongs to step 30"),
    ],
    ids=["newer format", "newer form", "another run", "another step"],
)
def test_what_is_whole_is_left_in_place(
    tmp_path: Path, change: Callable[[Path], object], message: str
) -> None:
    for step in (10, 20):
        checkpoints.save(tmp_path, small(step))
    change(checkpoints.folder_of(tmp_path, 20))
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoints.load_latest(tmp_path, WORD)
    assert not isinstance(caught.value, checkpoints.DamagedCheckpointError)
    assert checkpoints.saved_steps(tmp_path) == [10, 20]


@pytest.mark.parametrize(
    "error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")]
)
def test_what_may_not_be_read_is_left_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    checkpoints.save(tmp_path, small(10))

    def refuse(path: Path) -> str:
        raise type(error)(error.errno, error.strerror, str(path))

    monkeypatch.setattr(checkpoints, "sha256_file", refuse)
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: cannot be read \({error.strerror}\)"):
        checkpoints.load_latest(tmp_path, WORD)
    assert checkpoints.saved_steps(tmp_path) == [10]


@pytest.mark.parametrize("form", ["one", None, [1]])
def test_a_format_that_is_no_number_is_damage(tmp_path: Path, form: object) -> None:
    checkpoints.save(tmp_path, small(10))
    edit(checkpoints.folder_of(tmp_path, 10), format=form)
    with pytest.raises(checkpoints.DamagedCheckpointError, match="no number"):
        checkpoints.load(tmp_path, 10, WORD)


def test_damaged_weights_say_what_to_do(tmp_path: Path) -> None:
    run(tmp_path, num_steps=4, milestones=(2,))
    path = checkpoints.folder_of(tmp_path / "checkpoints", 4) / "ema.power-0.1.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        CheckpointError, match=r"take another step \(2\), or delete.*train the run again"
    ) as caught:
        load_model(tmp_path)
    assert "\n" not in str(caught.value)
    load_model(tmp_path, step=2)
    load_model(tmp_path, weights="raw")  # of the same checkpoint: its own file is whole
    with pytest.raises(CheckpointError, match=r"no checkpoint at step 7; there are 2, 4$"):
        load_model(tmp_path, step=7)
