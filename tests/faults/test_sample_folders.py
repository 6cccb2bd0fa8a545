"""A folder of samples is trusted byte by byte: what is damaged is named, and made again."""

import contextlib
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from disperse import build_model
from disperse.errors import ConfigError, StorageError
from disperse.models import DiffusionTransformer
from disperse.sampling import SamplerConfig, files, read_samples, sample_to_folder
from disperse.sampling.files import DamagedSamplesWarning, finished_seeds

SOURCE = {"run": "baseline-0123", "step": 100, "weights": "raw", "sha256": "ab12"}
SECOND = "seeds_00000002-00000003.safetensors"


@pytest.fixture(scope="module")
def model() -> DiffusionTransformer:
    return build_model("SiT-Nano/2", hidden_size=16, num_heads=2, depth=1)


def make(model: DiffusionTransformer, folder: str | Path, num: int = 6, **changes: Any) -> int:
    options = {"config": SamplerConfig("euler", 1), "source": SOURCE, "device": "cpu", "batch_size": 2}
    return sample_to_folder(model, folder, num, progress=False, **{**options, **changes})


@pytest.fixture
def out(model: DiffusionTransformer, tmp_path: Path) -> Path:
    """Three shards of two images."""
    assert make(model, tmp_path / "out") == 6
    return tmp_path / "out"


@contextlib.contextmanager
def noticed() -> Iterator[None]:
    with pytest.warns(DamagedSamplesWarning, match="made again") as caught:
        yield
    assert len(caught) == 1
    assert "\n" not in str(caught[0].message)


def flip(path: Path) -> None:
    """One bit of one pixel."""
    content = bytearray(path.read_bytes())
    content[-300] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "flipped bit": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-10]),
    "empty": lambda path: path.write_bytes(b""),
    "another shard": lambda path: shutil.copy(path.with_name("seeds_00000000-00000001.safetensors"), path),
    "another shard and its hash": lambda path: [
        shutil.copy(path.with_name(f"seeds_00000000-00000001{end}"), path.with_suffix(end))
        for end in (".safetensors", ".sha256")
    ],
    "no hash": lambda path: path.with_suffix(".sha256").unlink(),
    "empty hash": lambda path: path.with_suffix(".sha256").write_text(""),
    "hash of junk": lambda path: path.with_suffix(".sha256").write_bytes(b"\xff\n"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_shard_is_named_and_made_again(model: DiffusionTransformer, out: Path, kind: str) -> None:
    before = read_samples(out)
    DAMAGE[kind](out / SECOND)
    assert finished_seeds(out) == {0, 1, 4, 5}
    with pytest.raises(StorageError, match=f"{SECOND}: .*delete it, or sample again") as caught:
        read_samples(out)
    assert "\n" not in str(caught.value)
    with noticed():
        assert make(model, out) == 2
    after = read_samples(out)
    assert all(after[key].equal(before[key]) for key in before)
    assert make(model, out) == 0


def test_the_hashes_are_those_of_the_usual_tool(out: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum here")
    names = sorted(path.name for path in out.glob("*.sha256"))
    assert len(names) == 3
    subprocess.run(["sha256sum", "--strict", "--check", *names], cwd=out, check=True, capture_output=True)


def test_files_that_only_look_like_shards(model: DiffusionTransformer, out: Path) -> None:
    for name in ("seeds_abc.safetensors", "seeds_1-2.safetensors", "seeds_.safetensors", "seeds_00000006-.safetensors",
                 "seeds_00000006-00000007.safetensors.bak", "notes.txt"):  # fmt: skip
        (out / name).write_text("mine")
    assert finished_seeds(out) == set(range(6))
    assert len(read_samples(out)["seeds"]) == 6
    assert make(model, out, 8) == 2
    assert (out / "seeds_abc.safetensors").read_text() == "mine"
    assert read_samples(out)["seeds"].tolist() == list(range(8))


def test_junk_under_the_name_of_a_shard_does_not_count(model: DiffusionTransformer, tmp_path: Path) -> None:
    (tmp_path / "seeds_00000000-99999999.safetensors").write_text("junk")
    with noticed():
        assert make(model, tmp_path, 2) == 2
    assert read_samples(tmp_path)["seeds"].tolist() == [0, 1]


@pytest.mark.parametrize("content", ["[]", "3", "null", "{", "\udcff"])
def test_a_record_that_is_none(model: DiffusionTransformer, out: Path, content: str) -> None:
    (out / "samples.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(StorageError, match=r"samples\.json: .*delete the folder to sample again") as caught:
        make(model, out)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"config": SamplerConfig("heun", 1)},
            r"another sampler \(solver: euler there, heun asked\); choose",
        ),
        (
            {"config": SamplerConfig("euler", 2, guidance=1.5)},
            r"another sampler \(guidance: 1\.0 there, 1\.5 asked; num_steps: 1 there, 2 asked\)",
        ),
        ({"source": {**SOURCE, "sha256": "cd34"}}, r"another source \(sha256: ab12 there, cd34 asked\)"),
        ({"source": {"run": "x"}}, r"another source \(run: .*; step: 100 there, None asked"),
        ({"label": 3}, r"another label \(None there, 3 asked\)"),
    ],
)
def test_what_differs_is_named(
    model: DiffusionTransformer, out: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        make(model, out, **changes)


def test_what_a_killed_run_left_is_removed(model: DiffusionTransformer, out: Path) -> None:
    (out / ".tmp-0123.safetensors").write_text("half")
    make(model, out)
    assert not list(out.glob(".tmp-*"))


def test_killed_between_a_hash_and_its_shard(
    model: DiffusionTransformer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = files.atomic.write_text

    def killed(path: Path, text: str) -> None:
        write(path, text)
        if path.name == Path(SECOND).with_suffix(".sha256").name:
            raise KeyboardInterrupt

    monkeypatch.setattr(files.atomic, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        make(model, tmp_path)
    monkeypatch.undo()
    assert read_samples(tmp_path)["seeds"].tolist() == [0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert make(model, tmp_path) == 4


def test_a_folder_may_be_named_by_text(model: DiffusionTransformer, tmp_path: Path) -> None:
    assert make(model, str(tmp_path / "out"), 2) == 2
    assert len(read_samples(str(tmp_path / "out"))["seeds"]) == 2
    with pytest.raises(StorageError, match="no samples"):
        read_samples(str(tmp_path / "nowhere"))
