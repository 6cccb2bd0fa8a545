"""The command line: exit codes, one-line messages, examples."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from disperse import __version__, training
from disperse.atomic import sha256_file
from disperse.cli import main
from disperse.data import digits
from disperse.experiments import dispersive_term, profile, sweeps
from disperse.objectives import DiTSpec, MeanFlowSpec, SiTSpec
from disperse.regularizers import ContrastiveSpec, DispersiveSpec
from disperse.reproduce.jobs import Plan, RunJob, write_jobs
from disperse.sampling import read_samples
from disperse.spec import RunSpec
from disperse.store import at_every_step
from disperse.training import read_spec

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
        (["train", "--name", ""], 2, "name = ''"),
        (["train", "--lam", "0.5"], 2, "--lam: the baseline has no term; name its --variant"),
        (["train", "--local-batch", "0"], 2, "--local-batch: the baseline has no term"),
        (["train", "--variant", "hinge", "--tau", "1"], 2, "--tau: hinge has none; its own option is --eps"),
        (
            ["train", "--variant", "infonce-l2", "--eps", "1"],
            2,
            "--eps: infonce-l2 has none; its own option is --tau",
        ),
        (
            ["train", "--variant", "covariance", "--eps", "1"],
            2,
            "--eps: covariance has none; it has no option",
        ),
        (["train", "--variant", "hinge", "--local-batch", "-1"], 2, "regularizer.local_batch = -1"),
        (["train", "--variant", "hinge", "--local-batch", "7"], 2, "7: does not divide batch_size = 128"),
        (
            ["train", "--variant", "hinge", "--blocks", "first"],
            2,
            "--blocks first: expected quarter, last, all",
        ),
        (["train", "--variant", "hinge", "--blocks", "1.5"], 2, "blocks = 1.5: a fraction of the depth"),
        (["train", "--variant", "hinge", "--blocks", "0,0"], 2, "each once"),
        (["train", "--variant", "hinge", "--blocks", "4"], 2, "4 is not a block; expected 0 to 3"),
        (["train", "--objective", "siT"], 2, 'did you mean "sit"'),
        (["train", "--view", "restricted"], 2, "--view: the baseline has no term; name its --variant"),
        (["train", "--variant", "hinge", "--view", "restrict"], 2, 'did you mean "restricted"'),
        (
            ["train", "--variant", "hinge", "--view", "independent", "--max-dt", "1"],
            2,
            "--max-dt: bounds the second view of --view restricted alone",
        ),
        (
            ["train", "--variant", "hinge", "--view", "restricted", "--max-dt", "2"],
            2,
            "regularizer.max_dt = 2.0",
        ),
        (["train", "--objective", "meanflow", "--set", "objective.omega=-1"], 2, "objective.omega = -1"),
        (["train", "--objective", "dit", "--set", "objective.omega=1"], 2, "objective.field = 'omega'"),
        (["train", "--set", "num_steps=1000"], 2, "beyond num_steps = 1000, never reached"),
        (["run", "none.json"], 2, "none.json: no job of a run"),
        (["run"], 2, "required: file"),
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


@pytest.mark.parametrize(
    "command",
    ["train", "sample", "evaluate", "list", "reproduce", "run", "notebook", "figures", "publish"],
)
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
    code, error = call(capsys, *options, 9, "--guidance", 3)
    assert code == 2
    assert error == (
        f"disperse sample: {out}: holds samples with another sampler (guidance: 1.0 there, 3.0 asked); "
        "choose another --out"
    )
    weights = trained / "checkpoints" / "step_00000003" / "ema.power-0.1.safetensors"
    assert json.loads((out / "samples.json").read_text())["source"] == {
        "run": trained.name, "step": 3, "weights": "power-0.1", "sha256": sha256_file(weights),
    }  # fmt: skip
    assert main(["evaluate", "hinge", "--num", "50", "--steps", "2", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    for part in ("fd", "precision", "recall", "guided_agreement", "noise floor", "EMA power-0.1", "4 NFE",
                 "fd_selfsup", "fd_pixels", "held_out_loss", "noise floor of fd_pixels"):  # fmt: skip
        assert part in printed
    assert "memoriser" not in printed
    assert list((trained / "evaluations").glob("step_00000003-*.json"))


def test_a_run_on_few_images_is_told_what_a_memoriser_of_them_scores(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "train", *SMALL, "--set", "data=digits:160", "--name", "few")[0] == 0
    assert main(["evaluate", "few", "--num", "50", "--steps", "2", "--device", "cpu"]) == 0
    printed = capsys.readouterr().out
    for name in ("fd", "fd_selfsup", "fd_pixels"):
        assert f"memoriser of {name} " in printed
    assert "20 draws of 160 training images" in printed


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
    spec = read_spec(folder)
    assert spec.regularizers == (DispersiveSpec(lam=0.25, tau=2.0, blocks=(1,), local_batch=16),)
    assert (spec.seed, spec.optimizer.lr, spec.num_steps, spec.batch_size) == (4, 0.5, 3, 16)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[RunSpec]:
    """The runs that ``disperse train`` would have begun."""
    specs: list[RunSpec] = []

    def pretend(spec: RunSpec, folder: Path) -> object:
        specs.append(spec)
        return type("State", (), {"step": spec.num_steps, "elapsed_s": 0.0})

    monkeypatch.setattr(training, "train", pretend)
    return specs


def test_plain_options_are_the_runs_of_the_table(asked: list[RunSpec]) -> None:
    row = profile("cpu")
    specs = [spec for seed in (0, 2) for spec in (
        *sweeps.variants(row, seed), *sweeps.contrastive(row, seed), row.run(seed, system="dit"),
        row.run(seed, dispersive_term(), system="meanflow"),
    )]  # fmt: skip
    for spec in specs:
        options = ["--name", spec.name, "--seed", str(spec.seed), "--objective", spec.objective.kind]
        for term in spec.regularizers:
            options += ["--variant", term.variant]
            options += ["--view", term.view] if isinstance(term, ContrastiveSpec) else []
        assert main(["train", *options]) == 0
    assert [spec.fingerprint for spec in asked] == [spec.fingerprint for spec in specs]


@pytest.mark.parametrize(
    ("options", "term"),
    [
        ("--local-batch 0", {"local_batch": None}),
        ("--local-batch 8", {"local_batch": 8}),
        ("--eps 2.5", {"eps": 2.5}),
        ("--lam 0", {"lam": 0.0}),
        ("--blocks last", {"blocks": "last"}),
        ("--blocks all", {"blocks": "all"}),
        ("--blocks 0.5", {"blocks": 0.5}),
        ("--blocks 1", {"blocks": (1,)}),
        ("--blocks 0,2", {"blocks": (0, 2)}),
    ],
)
def test_options_of_the_term(asked: list[RunSpec], options: str, term: dict[str, object]) -> None:
    assert main(["train", "--variant", "hinge", *options.split()]) == 0
    assert asked[0].regularizers == (DispersiveSpec(**{"variant": "hinge", "local_batch": 16, **term}),)


def test_options_of_a_contrastive_term(asked: list[RunSpec]) -> None:
    assert (
        main(["train", "--variant", "infonce-l2", "--view", "restricted", "--max-dt", "0.01", "--tau", "1"])
        == 0
    )
    assert asked[0].regularizers == (ContrastiveSpec(max_dt=0.01, tau=1.0, local_batch=16),)
    assert asked[0].name == "infonce-l2-restricted"


@pytest.mark.parametrize(
    ("options", "model", "objective"),
    [
        ("--set objective.path=gvp", "SiT-Nano/2", SiTSpec(path="gvp")),
        ("--objective sit --set objective.prediction=noise", "SiT-Nano/2", SiTSpec(prediction="noise")),
        ("--objective dit", "DiT-Nano/2", DiTSpec()),
        ("--objective meanflow --set objective.omega=2", "MF-Nano/2", MeanFlowSpec(omega=2.0)),
        ("--objective meanflow --set model=MF-Tiny/2", "MF-Tiny/2", MeanFlowSpec()),
    ],
)
def test_objectives(asked: list[RunSpec], options: str, model: str, objective: object) -> None:
    assert main(["train", *options.split()]) == 0
    assert (asked[0].model, asked[0].objective) == (model, objective)


def test_an_objective_that_is_named_trains(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "train", *SMALL, "--objective", "dit")[0] == 0
    (folder,) = (home / "runs").iterdir()
    assert read_spec(folder).objective == DiTSpec()


def test_a_run_that_is_longer_says_so(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["train", *SMALL, "--variant", "hinge", "--steps", "2"])
    assert f"{trained}: already at step 3, asked for 2" in capsys.readouterr().out
    assert read_spec(trained).num_steps == 3


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"disperse {__version__}\n"


def test_a_reader_that_is_gone(home: Path) -> None:
    """As ``disperse reproduce --plan | head`` has it: no traceback, though nobody reads on."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "disperse", "reproduce", "--profile", "cpu", "--plan"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_list(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["run", "seed", "steps", "evaluations"]
    assert row.split() == [trained.name, "0", "3", "of", "3", "none"]


def test_one_of_several_seeds(trained: Path, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "train", *SMALL, "--variant", "hinge", "--seed", 1)[0] == 0
    options = ["--num", 2, "--steps", 1, "--device", "cpu", "--out", home / "out"]
    code, error = call(capsys, "sample", "hinge", *options)
    assert code == 3
    assert "(seed 0, 3 steps), hinge-" in error
    assert "choose by --seed" in error
    assert call(capsys, "sample", "hinge", *options, "--seed", 1)[0] == 0
    (second,) = set((home / "runs").iterdir()) - {trained}
    assert second.name in (home / "out" / "samples.json").read_text()


def test_how_many_samples_can_be_measured(
    trained: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["evaluate", trained, "--steps", 1, "--device", "cpu", "--num"]
    code, error = call(capsys, *options, 64)
    assert code == 0
    assert error == (
        "disperse: warning: 64 samples for 64 features: their covariance is singular; the distance says little"
    )
    assert call(capsys, *options, 65) == (0, "")
    monkeypatch.setattr("disperse.evaluation.protocol.sample", lambda *_, **__: pytest.fail("sampled"))
    most = 10 * int(digits("train").labels.bincount().min())
    code, error = call(capsys, *options, most + 1)
    assert code == 2
    assert f"take at most {most} samples" in error


@pytest.mark.parametrize("command", [["reproduce", "--plan"], ["reproduce"], ["figures"]])
@pytest.mark.parametrize("package", ["matplotlib", "papermill", "nbformat", "pandas"])
def test_without_the_notebooks_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: list[str], package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert call(capsys, *command) == (
        2, f"disperse {command[0]}: {package} not installed: pip install 'disperse[notebooks]'"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["variant"], "did you mean variants?"),
        (["variants", "-p", "num_seeds"], "-p num_seeds: expected NAME=VALUE"),
        (["variants", "-p", "num_seed=1"], "did you mean num_seeds?"),
        (["variants", "-p", "num_seeds=one"], "num_seeds = 'one': expected int"),
        (["variants", "--profile", "smoek"], 'did you mean "smoke"'),
    ],
)
def test_mistakes_about_a_notebook(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    code, error = call(capsys, "notebook", *arguments)
    assert code == 2
    assert message in error
    assert error.count("\n") == 0


def test_seeds_that_are_none(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "reproduce", "--seeds", "0") == (2, "disperse reproduce: --seeds 0: expected ≥ 1")


def test_without_snakemake(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "snakemake", None)
    assert call(capsys, "reproduce") == (
        2, "disperse reproduce: snakemake not installed: pip install 'disperse[workflow]'"
    )  # fmt: skip
    assert call(capsys, "reproduce", "--plan") == (0, "")  # looks only


def test_one_run_alone(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = profile("smoke")
    spec = row.run(1, dispersive_term("hinge"))
    job = RunJob(spec, at_every_step(spec, row.protocol), "smoke", network=True)
    write_jobs(Plan(row, 1, (job,), ()))
    assert main(["run", str(job.file)]) == 0
    (folder,) = (store / "runs").iterdir()
    assert "hinge, seed 1: 40 steps, 2 evaluations, " in capsys.readouterr().out
    assert sorted(path.name[:13] for path in (folder / "evaluations").iterdir()) == [
        "step_00000020",
        "step_00000040",
        "trained_00000",
    ]
    assert all(path.exists() for path in job.outputs)
    assert read_spec(folder).seed == 1


def test_a_home_without_notebooks(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = call(capsys, "reproduce", "--profile", "smoke")
    assert code == 2
    assert error.startswith(f"disperse reproduce: {store / 'notebooks'}: no notebooks; they come with")
    assert not (store / "runs").exists()
