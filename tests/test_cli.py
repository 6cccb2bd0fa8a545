"""The command line: exit codes, one-line messages, examples."""

from pathlib import Path

import pytest

from disperse.cli import main
from disperse.sampling import read_samples
from disperse.spec import DispersiveSpec, RunSpec

SMALL = ["--profile", "smoke", "--steps", "3", "--set", "batch_size=16", "--device", "cpu"]


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code, and what went to stderr without progress bars."""
    try:
        code = main([str(part) for part in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("disperse")]
    return code, "\n".join(lines)


@pytest.fixture
def trained(home: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert call(capsys, "train", *SMALL, "--variant", "hinge")[0] == 0
    (folder,) = (home / "runs").iterdir()
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--variant", "hinje"], 2, "regularizer.variant = 'hinje'"),
        (["train", "--lam", "much"], 2, "--lam: invalid float value: 'much'"),
        (
            ["train", "--variant", "hinge", "--set", "regularizers.0.lam=much"],
            2,
            "regularizers.0.lam = 'much'",
        ),
        (["train", "--profile", "cpuu"], 2, 'did you mean "cpu"'),
        (["train", "--set", "optimizer.lrr=1"], 2, 'did you mean "lr"'),
        (["train", "--set", "optimizer"], 2, "FIELD=VALUE"),
        (["train", "--device", "cuda:99"], 2, "not usable here"),
        (["sample", "nothing", "--num", "1", "--out", "x"], 3, "found none"),
        (["evaluate", "."], 3, "not a run folder"),
        (["reproduce", "--seeds", "0"], 2, "expected ≥ 1"),
        (["figures", "--profile", "smoke"], 3, "nothing published"),
        (["trian"], 2, "invalid choice: 'trian'"),
    ],
)
def test_mistakes_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    got, error = call(capsys, *arguments)
    assert got == code
    assert message in error
    assert error.count("\n") == 0


@pytest.mark.parametrize("command", ["train", "sample", "evaluate", "reproduce", "figures", "publish"])
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    assert f"example: disperse {command}" in capsys.readouterr().out.replace("\n", " ")


def test_train_sample_evaluate(trained: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trained.name.startswith("hinge-")
    out = home / "samples"
    options = ["sample", "hinge", "--batch", 4, "--steps", 2, "--device", "cpu", "--out", out, "--num"]
    assert call(capsys, *options, 6)[0] == 0
    main([str(part) for part in [*options, 9]])
    assert "3 images made, 6 were there" in capsys.readouterr().out
    assert read_samples(out)["seeds"].tolist() == list(range(9))
    assert call(capsys, *options, 9, "--guidance", 3) == (2, f"disperse sample: {out}: holds samples with "
                                                         "another sampler; choose another --out")  # fmt: skip
    assert main(["evaluate", "hinge", "--num", "50", "--steps", "2", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    for part in ("fd", "precision", "recall", "guided_agreement", "noise floor", "EMA power-0.1", "4 NFE"):
        assert part in printed
    assert list((trained / "evaluations").glob("step_00000003-*.json"))


@pytest.mark.parametrize(
    ("file", "content"), [("spec.json", "{"), ("spec.json", "[]"), ("spec.json", '{"seed": 1.5}')]
)
def test_a_damaged_run_folder(
    trained: Path, capsys: pytest.CaptureFixture[str], file: str, content: str
) -> None:
    (trained / file).write_text(content)
    code, error = call(capsys, "sample", trained, "--num", 1, "--out", trained / "out")
    assert code in (2, 3)
    assert error.count("\n") == 0
    assert "expected" in error or "delete the folder" in error or "input should be" in error


def test_an_edited_evaluation_is_noticed(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["evaluate", trained, "--num", 50, "--steps", 2, "--device", "cpu"]
    assert call(capsys, *options)[0] == 0
    (path,) = (trained / "evaluations").iterdir()
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    code, error = call(capsys, *options)
    assert code == 3
    assert "edited or damaged" in error


def test_options_reach_the_spec(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _ = call(capsys, "train", *SMALL, "--variant", "infonce-l2", "--lam", "0.25", "--tau", "2", "--seed", "4",
                   "--set", "regularizers.0.blocks=[1]", "--set", "optimizer.lr=0.5")  # fmt: skip
    assert code == 0
    (folder,) = (home / "runs").iterdir()
    spec = RunSpec.parse(__import__("json").loads((folder / "spec.json").read_text()))
    assert spec.regularizers == (DispersiveSpec(lam=0.25, tau=2.0, blocks=(1,)),)
    assert (spec.seed, spec.optimizer.lr, spec.num_steps, spec.batch_size) == (4, 0.5, 3, 16)
