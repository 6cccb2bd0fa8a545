"""Samples on disk: resumed by seed, never twice, never mixed."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from disperse import atomic
from disperse.errors import ConfigError, LockedError, StorageError
from disperse.models import DiffusionTransformer
from disperse.sampling import SamplerConfig, files, labels_for_seeds, read_samples, sample, sample_to_folder

SOURCE = {"run": "baseline-0123", "step": 100, "weights": "power-0.1"}
Make = Callable[..., int]


@pytest.fixture
def make(small: DiffusionTransformer, tmp_path: Path) -> Make:
    """``make(num, **changes)`` samples into ``tmp_path/"out"``."""

    def run(num: int, **changes: Any) -> int:
        options = {"config": SamplerConfig("euler", 2), "source": SOURCE, "device": "cpu", "progress": False}
        return sample_to_folder(small, tmp_path / "out", num, **{**options, **changes})

    return run


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


def test_a_folder_equals_one_call(make: Make, small: DiffusionTransformer, tmp_path: Path) -> None:
    assert make(7, batch_size=3) == 7
    assert sorted(shards(tmp_path / "out")) == [
        "seeds_00000000-00000002.safetensors",
        "seeds_00000003-00000005.safetensors",
        "seeds_00000006-00000006.safetensors",
    ]
    found = read_samples(tmp_path / "out")
    assert found["seeds"].tolist() == list(range(7))
    assert torch.equal(found["labels"], labels_for_seeds(range(7), 10))
    expected = sample(small, range(7), solver="euler", num_steps=2)
    torch.testing.assert_close(found["images"], expected, rtol=0, atol=1e-5)


def test_only_what_is_missing_is_made(make: Make, tmp_path: Path) -> None:
    make(9, batch_size=3)
    out, whole = tmp_path / "out", read_samples(tmp_path / "out")
    (out / "seeds_00000003-00000005.safetensors").unlink()
    kept = shards(out)
    assert make(11, batch_size=2) == 5
    assert shards(out).items() >= kept.items()  # not touched
    again = read_samples(out)
    assert again["seeds"].tolist() == list(range(11))
    assert torch.equal(again["labels"][:9], whole["labels"])
    torch.testing.assert_close(again["images"][:9], whole["images"], rtol=0, atol=1e-5)
    assert make(11, batch_size=4) == make(3) == make(0) == 0


def test_shards_are_written_as_they_come(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = files.sample_batch, []

    def fails_on_the_third(*args: Any, **options: Any) -> torch.Tensor:
        seen.append(len(shards(tmp_path / "out")))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(files, "sample_batch", fails_on_the_third)
    with pytest.raises(KeyboardInterrupt):
        make(8, batch_size=2)
    assert seen == [0, 1, 2]
    assert read_samples(tmp_path / "out")["seeds"].tolist() == [0, 1, 2, 3]
    assert make(8, batch_size=2) == 4


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"source": SOURCE | {"step": 200}}, "source"),
        ({"source": SOURCE | {"weights": "raw"}}, "source"),
        ({"config": SamplerConfig("heun", 2)}, "sampler"),
        ({"config": SamplerConfig("euler", 2, guidance=1.5)}, "sampler"),
        ({"label": 3}, "label"),
    ],
)
def test_a_folder_of_others_is_refused(
    make: Make, tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    make(2)
    before = shards(tmp_path / "out")
    with pytest.raises(ConfigError, match=f"another {named}"):
        make(4, **changes)
    assert shards(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("num", "changes"),
    [(4, {"batch_size": 0}), (4, {"batch_size": -1}), (4, {"batch_size": True}), (-1, {}), ("4", {}),
     (4, {"label": 11}), (4, {"label": -1}), (4, {"label": True}), (4, {"label": "3"})],
)  # fmt: skip
def test_bad_settings_leave_no_folder(
    make: Make, tmp_path: Path, num: object, changes: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError):
        make(num, **changes)
    assert not (tmp_path / "out").exists()


def test_what_another_process_finished_meanwhile_is_not_made_again(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = atomic.locked

    @contextlib.contextmanager
    def late(path: Path) -> Iterator[None]:
        monkeypatch.setattr(atomic, "locked", real)
        make(6, batch_size=2)  # another process, between our start and our lock
        with real(path):
            yield

    monkeypatch.setattr(atomic, "locked", late)
    assert make(6, batch_size=4) == 0
    assert read_samples(tmp_path / "out")["seeds"].tolist() == list(range(6))


def test_a_folder_in_use_is_left_alone(make: Make, tmp_path: Path) -> None:
    with atomic.locked(tmp_path / "out" / "lock"), pytest.raises(LockedError):
        make(2)
    assert not shards(tmp_path / "out")
    assert make(2) == 2


def test_damage_is_named(make: Make, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no samples"):
        read_samples(tmp_path / "out")
    make(4, batch_size=2)
    shard = tmp_path / "out" / "seeds_00000002-00000003.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])
    with pytest.raises(StorageError, match=f"{shard.name}: .*delete") as caught:
        read_samples(tmp_path / "out")
    assert "\n" not in str(caught.value)
    shard.unlink()
    assert make(4) == 2
    (tmp_path / "out" / "samples.json").write_text("{")
    with pytest.raises(StorageError, match=r"samples\.json"):
        make(4)
