"""Whatever happens while a checkpoint is saved, the newest one that verifies is the old or the new one."""

import contextlib
import os
import resource
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from disperse import atomic
from disperse.errors import CheckpointError, StorageError
from disperse.training import checkpoint as checkpoints

from ..training.cases import TINY, changed, run, tensors

WORD = TINY.fingerprint


class Killed(BaseException):
    """The process is gone: no handler of errors runs, nothing is cleaned up."""


def small(step: int) -> checkpoints.Checkpoint:
    """A checkpoint whose values say its step."""
    parts = {name: {"w": torch.full((40,), float(step))} for name in ("model", "optimizer")}
    return checkpoints.Checkpoint(step, WORD, parts, {"elapsed_s": 1.0})


@contextlib.contextmanager
def killed_at(point: int) -> Iterator[list[str]]:
    """Die just before the ``point``-th thing that a save does to the disk; yields what it did."""
    done: list[str] = []
    with pytest.MonkeyPatch.context() as patch:

        def guard(module: Any, name: str) -> None:
            call = getattr(module, name)

            def guarded(*args: Any, **kwargs: Any) -> Any:
                if len(done) == point:
                    patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # the dead don't clean up
                    patch.setattr(Path, "unlink", lambda *_, **__: None)
                    raise Killed
                done.append(name)
                return call(*args, **kwargs)

            patch.setattr(module, name, guarded)

        guard(checkpoints, "save_file")
        guard(Path, "mkdir")
        guard(Path, "write_text")
        for name in ("fsync", "rename", "replace"):
            guard(os, name)
        yield done


def test_a_crash_at_any_point_of_a_save_leaves_the_old_or_the_new_one(tmp_path: Path) -> None:
    found = []
    for point in range(100):
        folder = tmp_path / str(point)
        checkpoints.save(folder, small(10))
        try:
            with killed_at(point) as done:
                checkpoints.save(folder, small(20))
        except Killed:
            pass
        else:
            break
        latest = checkpoints.load_latest(folder, WORD)
        assert latest is not None
        assert latest.tensors["model"]["w"].equal(torch.full((40,), float(latest.step)))
        found.append(latest.step)
        checkpoints.save(folder, small(20))  # the same command again
        checkpoints.prune(folder, {20})
        again = checkpoints.load_latest(folder, WORD)
        assert again is not None
        assert again.step == 20
        assert {path.name for path in folder.iterdir()} == {"step_00000010", "step_00000020"}
    assert {"save_file", "write_text", "fsync", "replace", "rename"} <= set(done)
    assert found.count(10) >= len(set(done))
    assert found == sorted(found)
    assert found[-1] == 20  # died after the rename


@contextlib.contextmanager
def disk_of(size: int) -> Iterator[None]:
    """No file may grow beyond ``size`` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [2000, 200_000], ids=["log", "weights"])
def test_a_full_disk_stops_with_the_old_checkpoint_whole(tmp_path: Path, size: int) -> None:
    wide = {**TINY.overrides, "hidden_size": 32}
    folder = tmp_path / "run"
    run(folder, num_steps=5, overrides=wide)
    with disk_of(size), pytest.raises(StorageError, match="cannot be written") as caught:
        run(folder, num_steps=25, overrides=wide)
    assert caught.value.exit_code == 3
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    if size > 2000:
        assert "bytes of model.safetensors" in str(caught.value)
    assert checkpoints.saved_steps(folder / "checkpoints") == [5]
    assert not list(folder.rglob(".tmp-*"))
    resumed, whole = (
        run(folder, num_steps=25, overrides=wide),
        run(tmp_path / "w", num_steps=25, overrides=wide),
    )
    assert not changed(tensors(resumed), tensors(whole))


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_run_folder_that_cannot_be_made_fails_before_the_first_step(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="choose another folder"):
        run(tmp_path / place)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_folder_that_vanishes_is_a_storage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = checkpoints.save

    def vanish(folder: Path, saved: checkpoints.Checkpoint) -> None:
        original(folder, saved)
        shutil.rmtree(folder.parent)

    monkeypatch.setattr(checkpoints, "save", vanish)
    with pytest.raises(StorageError, match=r"metrics\.jsonl: cannot be written"):
        run(tmp_path / "run")


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path: Path) -> None:
    run(tmp_path, num_steps=2)
    for path in (tmp_path / ".tmp-1.jsonl", tmp_path / "checkpoints" / ".tmp-2" / "model.safetensors"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    run(tmp_path, num_steps=4)
    assert not list(tmp_path.rglob(".tmp-*"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    checkpoints.save(folder, small(10))
    return folder


@settings(max_examples=150, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(data=st.data())
def test_a_changed_folder_loads_the_original_or_nothing(
    saved: Path, tmp_path: Path, data: st.DataObject
) -> None:
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    folder = checkpoints.folder_of(shutil.copytree(saved, tmp_path / "copy"), 10)
    path = folder / data.draw(st.sampled_from(sorted(p.name for p in folder.iterdir())))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "rename", "link", "folder", "duplicate"]))
    if kind == "flip":
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del content[at:]
    elif kind == "insert":
        content[at:at] = data.draw(st.binary(min_size=1, max_size=9))
    path.unlink()
    if kind == "rename":
        path.with_name("other.safetensors").write_bytes(content)
    elif kind == "link":
        outside = tmp_path / "outside"
        outside.write_bytes(content)
        path.symlink_to(outside)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(content)
        if kind == "duplicate":
            path.with_suffix(".safetensors.1").write_bytes(content)
    found, message = None, ""
    try:
        found = checkpoints.load(tmp_path / "copy", 10, WORD)
    except CheckpointError as error:
        message = str(error)
    assert "\n" not in message
    if found is None:
        return
    assert kind != "link"  # nothing is read outside
    assert path.name == "manifest.json"  # its own form may change; what it vouches for may not
    assert found.step == 10
    assert found.tensors.keys() == {"model", "optimizer"}
    for part in found.tensors.values():
        assert part["w"].equal(torch.full((40,), 10.0))


@pytest.mark.parametrize("where", ["model.safetensors", "manifest.json"])
def test_a_header_that_claims_a_terabyte_is_refused(tmp_path: Path, where: str) -> None:
    checkpoints.save(tmp_path, small(10))
    path = checkpoints.folder_of(tmp_path, 10) / where
    path.write_bytes((2**40).to_bytes(8, "little") + path.read_bytes()[8:])
    manifest = path.with_name("manifest.json")
    if where != "manifest.json":  # a manifest that vouches for it
        old = atomic.sha256_file(path)
        text = manifest.read_text()
        start = text.index('"sha256": "', text.index(where)) + len('"sha256": "')
        manifest.write_text(text[:start] + old + text[start + 64 :])
    with pytest.raises(CheckpointError):
        checkpoints.load(tmp_path, 10, WORD)


def test_every_reason_is_given_when_no_checkpoint_verifies(tmp_path: Path) -> None:
    for step in (10, 20):
        checkpoints.save(tmp_path, small(step))
        (checkpoints.folder_of(tmp_path, step) / "model.safetensors").write_bytes(b"x")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", checkpoints.DamagedCheckpointWarning)
        with pytest.raises(CheckpointError, match="delete the run folder to start again") as caught:
            checkpoints.load_latest(tmp_path, WORD)
    assert "step_00000010" in str(caught.value)
    assert "step_00000020" in str(caught.value)
