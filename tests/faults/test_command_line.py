"""Bad input at the command line: one line that names it, the right exit code, nothing made."""

import json
from pathlib import Path

import pytest

from disperse import atomic
from disperse.cli import main
from disperse.experiments import run_folder, seeds_of

from ..training.cases import TINY, run


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    """Exit code, and the lines on stderr."""
    try:
        code = main([str(part) for part in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--set regularizers.0.lam=1", "--set regularizers.0.lam: 0 does not exist"),
        ("--set regularizers.one.lam=1", "--set regularizers.one.lam: one does not exist"),
        ("--set regularizers.²=1", "name a field of an entry"),
        ("--set seed.x=1", "--set seed.x: seed does not exist or has no fields"),
        ("--set nothing.x=1", "--set nothing.x: nothing does not exist or has no fields"),
        ("--set overrides.dept=3", 'did you mean "depth"'),
        ("--set optimizer.lr=-1", "optimizer.lr = -1: input should be greater than 0"),
        ("--set optimizer.lr=NaN", "optimizer.lr = nan"),
        ("--set seed=true", "seed = True"),
        ("--set numerics=1", "numerics = 1: this version computes numerics 2"),
        ("--variant hinge --lam nan", "regularizer.lam = nan"),
        ("--variant hinge --lam=-1", "regularizer.lam = -1.0"),
        ("--variant hinge --set regularizers.0.blocks=[9]", "9 is not a block; expected 0 to 3"),
        ("--set=__class__=1", "field = '__class__'"),
        ("--set=name=../x", "name = '../x'"),
        ('--set=name="a\\nb"', "name = 'a\\nb'"),
        ('--set=ema=["power-0.5"]', "no power profile is longer than 0.28"),
        ('--set=ema=["power-0.1_"]', 'expected "power-0.1"'),
        ('--set=ema=["power- 0.1"]', 'expected "power-0.1"'),
        ('--set=ema=["constant-0.9_9"]', 'expected "power-0.1"'),
        ('--set=ema=["constant-1e-3"]', 'expected "power-0.1"'),
    ],
)
def test_bad_settings(capsys: pytest.CaptureFixture[str], store: Path, arguments: str, message: str) -> None:
    parts = arguments.split(" ") if not arguments.startswith("--set=") else [arguments]
    code, lines = call(capsys, "train", "--profile", "smoke", *parts)
    assert code == 2
    assert len(lines) == 1
    assert message in lines[0]
    assert not (store / "runs").exists()


def test_a_file_where_a_folder_should_be(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    run(tmp_path / "run", num_steps=1)
    train = ["train", "--profile", "smoke", "--steps", 1, "--device", "cpu"]
    sample = ["sample", tmp_path / "run", "--num", 1, "--steps", 1, "--device", "cpu"]
    for arguments in (train, sample):
        for place in ("file", "file/deeper"):
            code, lines = call(capsys, *arguments, "--out", tmp_path / place)
            assert code == 3
            assert len(lines) == 1
            assert "cannot be written" in lines[0]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("command", ["sample", "evaluate"])
@pytest.mark.parametrize("step", [0, 7, -1])
def test_a_step_without_a_checkpoint(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str, step: int
) -> None:
    run(tmp_path / "run", num_steps=1)
    more = ["--out", tmp_path / "out"] if command == "sample" else []
    code, lines = call(capsys, command, tmp_path / "run", f"--step={step}", "--num", 20, *more)
    assert code == 3
    assert len(lines) == 1
    assert f"no checkpoint at step {step}; there are 1" in lines[0]


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        ("{garbage", 3, "cannot be read"),
        ("[]", 3, "expected an object"),
        ("\udcff", 3, "cannot be read"),
        ('{"self": 1}', 2, "field = 'self'"),
        ('{"__class__": 1}', 2, "field = '__class__'"),
        ('{"seed": "0"}', 2, "seed = '0'"),
        ('{"numerics": 0}', 2, "train it again"),
        ('{"optimizer": {"lr": Infinity}}', 2, "optimizer.lr = inf"),
    ],
)
def test_a_damaged_spec_names_its_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str, code: int, message: str
) -> None:
    (tmp_path / "spec.json").write_bytes(content.encode(errors="surrogateescape"))
    got, lines = call(capsys, "sample", tmp_path, "--num", 1, "--out", tmp_path / "out")
    assert got == code
    assert len(lines) == 1
    assert message in lines[0]
    assert str(tmp_path / "spec.json") in lines[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["tiny", "../no-such-run", "{a.__class__}", "\0", "*", "a\nb"])
def test_a_run_that_is_not_there_or_not_the_only_one(
    capsys: pytest.CaptureFixture[str], store: Path, tmp_path: Path, name: str
) -> None:
    for seed in (0, 1):
        spec = TINY.replace(seed=seed)
        atomic.write_json(run_folder(spec) / "spec.json", spec.model_dump(mode="json"))
    code, lines = call(capsys, "sample", name, "--num", 1, "--out", tmp_path / "out")
    assert code == 3
    assert len(lines) == 1
    assert "expected one folder" in lines[0]
    assert not (tmp_path / "out").exists()


def test_the_log_of_a_run_that_was_damaged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(tmp_path, num_steps=2)
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n{"st\xff\n')
    values = {**TINY.model_dump(mode="json"), "num_steps": 3}
    changes = [f"--set={key}={json.dumps(value)}" for key, value in values.items() if key != "device"]
    code, lines = call(capsys, "train", "--profile", "smoke", "--device", "cpu", "--out", tmp_path, *changes)
    assert code == 3
    assert "metrics.jsonl: cannot be read" in lines[-1]


def test_where_nothing_is_published_there_is_one_seed() -> None:
    assert seeds_of("smoke") == (0,)
    assert seeds_of("smoke", 3) == (0, 1, 2)
