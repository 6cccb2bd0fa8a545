"""Samples of two processes are those of one, file by file."""

from pathlib import Path

import pytest

from disperse.errors import ConfigError
from disperse.models import build_model
from disperse.sampling import SamplerConfig, sample_to_folder

from ..ranks import Ranks


def make(folder: Path, num: int, **changes: object) -> int:
    model = build_model("SiT-Nano/2", hidden_size=16, depth=2, num_heads=2, num_classes=10, input_size=8)
    options = {"config": SamplerConfig("euler", 2), "source": {"run": "a"}, "batch_size": 3, "device": "cpu"}
    return sample_to_folder(model, folder, num, progress=False, **{**options, **changes})


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}


def test_files_are_those_of_one_process(ranks: Ranks, tmp_path: Path) -> None:
    make(tmp_path / "one", 11)
    assert ranks(make, tmp_path / "two", 11) == [11, 11]
    assert len(files(tmp_path / "one")) == 4 * 2 + 1  # shards, hashes, what they are
    assert files(tmp_path / "two") == files(tmp_path / "one")


def test_what_is_missing_is_shared_out(ranks: Ranks, tmp_path: Path) -> None:
    make(tmp_path / "one", 6)
    make(tmp_path / "one", 11)
    make(tmp_path / "two", 6)
    assert ranks(make, tmp_path / "two", 11) == [5, 5]
    assert files(tmp_path / "two") == files(tmp_path / "one")


def refused(folder: Path, num: int) -> str:
    with pytest.raises(ConfigError) as caught:
        make(folder, num, label=3)
    return str(caught.value)


def test_a_folder_of_others_is_refused_by_all(ranks: Ranks, tmp_path: Path) -> None:
    make(tmp_path, 2)
    first, second = ranks(refused, tmp_path, 4)
    assert first == second
    assert "another label" in first
