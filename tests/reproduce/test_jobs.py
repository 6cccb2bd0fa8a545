"""What there is to do: each run once, at its longest; notebooks declare their runs, and wait for them."""

import dataclasses
import math
from pathlib import Path

import pytest

from disperse import atomic
from disperse.arguments import parser
from disperse.errors import ConfigError
from disperse.experiments import PROFILES, Profile, dispersive_term, publish, resources, run_folder
from disperse.experiments.cost import core_hours, remaining_core_hours
from disperse.experiments.resources import span
from disperse.experiments.runs import network_path
from disperse.reproduce import check_parameters, cluster, jobs, make_plan, plan
from disperse.reproduce.declared import declared
from disperse.reproduce.notebooks import notebook_path
from disperse.reproduce.summary import failed, forget_failures, summary, waiting

from ..experiments.cases import TOY, record, toy
from .toys import COARSE, LONGER, PAIR, PARAMETERS, write

__all__ = ["toy"]
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
pytestmark = pytest.mark.usefixtures("toys", "toy")


@pytest.fixture
def toys(store: Path) -> Path:
    """A store with four notebooks."""
    write(store, "variants", runs=PAIR)
    write(store, "longer", runs=LONGER)
    write(store, "sampler", runs=COARSE)
    write(store, "plain")
    return store


def store_run(job: jobs.RunJob) -> None:
    for path, (step, protocol) in zip(job.outputs, job.evaluations, strict=False):
        atomic.write_json(path, record(job.spec, step, protocol))
    if job.network:
        atomic.write_json(job.outputs[-1], {})


def publish_pair(seeds: tuple[int, ...] = (0,)) -> None:
    publish("toy", [
        record(spec, step, TOY.protocol)
        for seed in seeds for spec in (TOY.run(seed), TOY.run(seed, dispersive_term())) for step in (2, 4)
    ])  # fmt: skip


def test_a_run_that_notebooks_share_is_one_job_at_its_longest() -> None:
    found = make_plan("toy", "all", 2)
    keys = [run.spec.fingerprint for run in found.runs]
    assert sorted(keys) == sorted(
        {TOY.run(s, *t).fingerprint for s in (0, 1) for t in ((), (dispersive_term(),))}
    )
    (run,) = [run for run in found.runs if run.spec.fingerprint == TOY.run(1).fingerprint]
    assert run.spec.num_steps == 16
    assert run.spec.milestones == (2, 4, 8, 12)
    coarse = [TOY.protocol.model_copy(update={"num_steps": n}) for n in (1, 2)]
    usual = [(step, TOY.protocol) for step in (2, 4, 8, 12, 16)]
    assert set(run.evaluations) == {*usual, *((4, protocol) for protocol in coarse)}
    assert len(run.outputs) == 7
    assert {path.parents[1] for path in run.outputs} == {run_folder(run.spec)}
    first = next(run for run in found.runs if run.spec.fingerprint == TOY.run(0).fingerprint)
    assert first.network
    assert first.outputs[-1].parts[-2:] == ("evaluations", "trained_00000016.json")


def test_every_command_names_its_own_run() -> None:
    found = make_plan("toy", "all", 2)
    jobs.write_jobs(found)
    for run in found.runs:
        options = parser().parse_args(run.arguments)
        assert jobs.read_job(options.file) == run
    with pytest.raises(ConfigError, match=r"none\.json: no job of a run"):
        jobs.read_job(Path("none.json"))


def test_a_run_keeps_the_folder_that_it_has() -> None:
    renamed = TOY.run(0, name="another-name")
    atomic.write_json(run_folder(renamed) / "spec.json", renamed.model_dump(mode="json"))
    found = {run.spec.fingerprint: run for run in make_plan("toy").runs}
    outputs = found[renamed.fingerprint].outputs
    assert outputs
    assert all(run_folder(renamed) in path.parents for path in outputs)


def test_what_is_published_is_not_trained_for_a_notebook() -> None:
    publish_pair((0, 1))
    found = make_plan("toy", "variants", 1)
    by_seed = {run.spec.seed for run in found.runs}
    assert by_seed == {0}
    shown = {job.title: job.parameters for job in found.notebooks}
    # This machine's runs stand over the published ones; where nothing is published they stand alone.
    assert shown["variants"] == {"profile": "toy"}
    assert make_plan("toy", "longer", 2).notebooks[0].parameters == {
        "profile": "toy", "num_seeds": 2, "source": "runs",
    }  # fmt: skip
    (run,) = [run for run in found.runs if not run.spec.regularizers]
    assert (4, TOY.protocol) in run.evaluations
    assert any(step == 16 for step, _ in run.evaluations), (
        "`longer` isn't published, so its first seed is trained"
    )
    waits = {job.title: job.needs for job in found.notebooks}
    assert set(waits["longer"]) == set(waits["variants"]) == set(found.runs)
    assert not waits["plain"]


def test_a_published_network_is_not_trained() -> None:
    publish_pair()
    assert any(run.network for run in make_plan("toy").runs)
    atomic.write_text(network_path(TOY.run(0), "toy"), "")
    assert not any(run.network for run in make_plan("toy").runs)


def test_on_accelerators_only_what_was_asked_for_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "toy", dataclasses.replace(TOY, gpus=8))
    found = make_plan("toy")
    assert found.left_out == {"longer": 2, "sampler": 3}
    assert {job.title for job in found.notebooks} == {"variants", "plain"}
    line = "left out: longer; 2 of its runs aren't published (--train longer trains them)"
    assert line in summary(found)
    assert f"  {line}\n" in plan("toy", "headline", 1)
    assert make_plan("toy", "all").left_out == {}


def test_what_a_notebook_declares(toys: Path) -> None:
    assert len(declared("variants", {"profile": "toy", "num_seeds": 3}).runs) == 6
    assert declared("plain", {"profile": "toy"}).runs == ()
    write(toys, "broken", runs="runs = [1 / 0]")
    with pytest.raises(ConfigError, match=r"broken\.ipynb: its cell runs fails: ZeroDivisionError"):
        declared("broken", {})
    write(toys, "wrong", runs=PAIR)
    with pytest.raises(ConfigError, match=r"wrong: num_seeds = 1\.5: expected int"):
        declared("wrong", {"num_seeds": 1.5})


@pytest.mark.parametrize("profile", ["smoke", "cpu", "paper"])
def test_the_notebooks_declare_their_runs(store: Path, monkeypatch: pytest.MonkeyPatch, profile: str) -> None:
    monkeypatch.setenv("DISPERSE_HOME", str(NOTEBOOKS.parent))
    names = {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    found = make_plan(profile, "all", 1)
    assert found.notebooks[0].title == "00_start_here"  # the first picture soon
    assert {job.title for job in found.notebooks} == names
    for job in found.notebooks:
        check_parameters(notebook_path(job.title), job.parameters)
    keys = [run.spec.fingerprint for run in found.runs]
    assert len(keys) == len(set(keys))
    if profile == "cpu":  # all is published, so that a fresh clone trains what it is asked for alone
        assert {run.spec.seed for run in make_plan("cpu", "variants", 1).runs} == {0}
        assert len(make_plan("cpu", "variants", 1).runs) == 5


def test_only_what_a_notebook_depends_on_makes_it_stale(toys: Path) -> None:
    def depends() -> dict[str, dict[str, str]]:
        return {job.title: job.depends for job in make_plan("toy").notebooks}

    before = depends()
    path = toys / "notebooks" / "sampler.ipynb"
    path.touch()
    assert depends() == before
    path.write_text(path.read_text() + "\n")
    after = depends()
    assert {name for name in after if after[name] != before[name]} == {"sampler"}
    publish("toy", [record(TOY.run(7), 4, TOY.protocol)])
    assert all(depends()[name]["published"] != after[name]["published"] for name in after)


def test_several_accelerators_are_a_torchrun(toy: Profile) -> None:
    big = dataclasses.replace(toy, gpus=8, cores=4, memory_gb=64, hours=12)  # hours: far more than it takes
    found = make_plan("toy")
    run, notebook = found.runs[0], found.notebooks[1]
    assert jobs.shell_command(run, big).startswith(
        f"torchrun --standalone --nproc-per-node 8 -m disperse run {run.file}"
    )
    assert jobs.shell_command(run, big).endswith(f"&& {jobs.shell_command(run, toy)}")  # one evaluates
    assert cluster.asked(run, big) == {"gpu": 8, "mem_mb": 65536, "runtime": 720}
    assert "torchrun" not in jobs.shell_command(run, toy)
    assert "torchrun" not in jobs.shell_command(notebook, big)
    assert cluster.asked(notebook, big)["gpu"] == 1


def test_a_job_asks_for_the_hours_that_it_is_computed_to_take(toys: Path) -> None:
    row = PROFILES["paper"]
    for run in make_plan("paper", "variants,longer").runs:
        hours = cluster.run_hours(run, row)[1]
        assert hours == pytest.approx(resources(row, run.spec).hours[1])
        # Half as much again, and no less than the profile's two hours: small runs wait for no large gap.
        assert cluster.asked(run, row)["runtime"] == math.ceil(60 * max(2, 0.25 + 1.5 * hours))
        assert cluster.asked(run, row)["gpu"] == 8
    # Rows without GPUs: what a core takes.
    cpu = PROFILES["cpu"]
    for run in make_plan("cpu", "longer").runs:
        least = cluster.asked(run, dataclasses.replace(cpu, hours=0))["runtime"]
        assert least == math.ceil(60 * (0.25 + 1.5 * core_hours(run.spec, run.evaluations)))
        assert cluster.asked(run, cpu)["runtime"] == max(least, 240)


def test_the_plan_prices_each_run_and_sums_them() -> None:
    row = PROFILES["paper"]
    found, text = make_plan("paper", "variants"), plan("paper", "variants", 1)
    total = 0.0
    for run in found.runs:
        (line,) = [line for line in text.splitlines() if run.spec.run_id in line]
        hours = cluster.asked_hours(run, row)
        assert line.endswith(f"{span(resources(row, run.spec).hours)}, asks for {hours:.1f} h of 8 GPUs")
        total += 8 * hours
    assert f"the jobs ask for {total:.0f})" in text.splitlines()[-1]
    low, high = (8 * sum(resources(row, run.spec).hours[end] for run in found.runs) for end in (0, 1))
    assert f"runs, {low:.0f} to {high:.0f} GPU-hours (computed; " in text.splitlines()[-1]
    assert f"  not published, so ours: {'; '.join(row.unpublished)}\n" in text
    on_cores = [line for line in plan("toy", "headline", 1).splitlines() if "results to do" in line]
    assert all(line.endswith("core-minutes") for line in on_cores)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("toy", "variant", 1), 'did you mean "variants"'),
        (("toy", "variants,", 1), "--train = ''"),
        (("tpy", "all", 1), 'did you mean "toy"'),
        (("toy", "all", 0), "--seeds 0: expected ≥ 1"),
    ],
)
def test_mistakes(arguments: tuple[str, str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(*arguments)


def test_the_plan_says_what_is_done(store: Path) -> None:
    found = make_plan("toy", seeds=2)
    before = plan("toy", "headline", 2)
    assert before.count("results to do") == len(found.runs)
    assert f"to do: {len(found.runs)} of {len(found.runs)} runs, about " in before
    assert not (store / "runs").exists()  # only looks
    store_run(found.runs[0])
    after = plan("toy", "headline", 2)
    (line,) = [line for line in after.splitlines() if found.runs[0].spec.run_id in line]
    assert "finished" in line
    assert f"to do: {len(found.runs) - 1} of" in after


def test_the_estimate_counts_what_remains() -> None:
    found = make_plan("toy")
    pairs = [(run.spec, run.evaluations) for run in found.runs]
    whole = remaining_core_hours(pairs)
    assert min(whole) > 0
    store_run(found.runs[0])
    assert remaining_core_hours(pairs) == pytest.approx([0, *whole[1:]])


def test_the_summary_says_what_failed_and_how_to_run_it_alone() -> None:
    found = make_plan("toy")
    *good, bad = found.runs
    for run in good:
        store_run(run)
        atomic.write_text(run.log, "fine\n")
    atomic.write_text(bad.log, "warning: of old\ndisperse run: step 3: loss is not finite\n\n")
    assert failed(found) == [bad]
    assert bad in [run for _, run in waiting(found)]
    lines = summary(found).splitlines()
    assert lines[:3] == [
        f"FAILED {bad.title}: step 3: loss is not finite",
        f"  log: {bad.log}",
        f"  alone: disperse {' '.join(bad.arguments)}",
    ]
    assert lines[-1].startswith(f"done: {len(good)} of {len(found.runs)} runs, 0 of {len(found.notebooks)}")
    forget_failures(found)
    assert failed(found) == []
    assert good[0].log.exists()


def test_a_parameter_that_a_notebook_lacks_is_not_given(toys: Path) -> None:
    write(toys, "simple", runs=PAIR.replace("num_seeds", "1"), parameters='profile = "cpu"')
    found = {job.title: job.parameters for job in make_plan("toy", "simple", 3).notebooks}
    assert found["simple"] == {"profile": "toy"}
    assert PARAMETERS.count("=") == 3
