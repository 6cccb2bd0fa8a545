"""What there is to do: each run once, at its longest; notebooks wait for what they draw on."""

import dataclasses
import math
import re
from pathlib import Path

import pytest

from disperse import atomic
from disperse.arguments import parser
from disperse.errors import ConfigError
from disperse.experiments import ITEMS, PROFILES, Profile, item, publish, resources, run_folder
from disperse.experiments.cost import core_hours, remaining_core_hours
from disperse.experiments.resources import span
from disperse.reproduce import check_parameters, cluster, find_spec, jobs, make_plan, plan, worker
from disperse.reproduce.notebooks import notebook_path
from disperse.reproduce.summary import failed, forget_failures, summary, waiting

from ..experiments.cases import TOY, record, toy

__all__ = ["toy"]
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
pytestmark = pytest.mark.usefixtures("home", "toy")


def store_run(job: jobs.RunJob) -> None:
    for path, step in zip(job.outputs, sorted({*job.spec.milestones, job.spec.num_steps}), strict=True):
        atomic.write_json(path, record(job.spec, step, job.protocol))


def test_a_run_that_items_share_is_one_job_at_its_longest() -> None:
    found = make_plan("toy", "variants,longer", 2)
    shared = [run for run in found.runs if run.spec.fingerprint == TOY.spec("baseline", 1).fingerprint]
    assert len(shared) == 1
    (run,) = shared
    assert run.spec.num_steps == 16
    assert run.spec.milestones == (2, 4, 8, 12)
    assert [path.name[:13] for path in run.outputs] == [f"step_{step:08d}" for step in (2, 4, 8, 12, 16)]
    assert {path.parents[1] for path in run.outputs} == {run_folder(run.spec)}
    assert run.arguments == (
        "run", "--profile", "toy", "--item", "longer", "--label", "baseline", "--seed", "1",
    )  # fmt: skip
    keys = [run.spec.fingerprint for run in found.runs]
    assert len(keys) == len(set(keys))


def test_lengths_that_do_not_cover_each_other_are_all_evaluated() -> None:
    short, long = TOY.spec("baseline", 0), TOY.spec("baseline", 0).replace(num_steps=9, milestones=(3,))
    merged = jobs.longest([short, long, short])
    assert (merged.num_steps, merged.milestones) == (9, (2, 3, 4))
    assert merged.fingerprint == short.fingerprint


@pytest.mark.parametrize("items", ["headline", "all", "blocks,longer"])
def test_every_command_names_its_own_run(items: str) -> None:
    found = make_plan("toy", items, 2)
    wanted = [
        cell.spec.fingerprint for name in jobs.chosen_items(items) for cell in item(name, "toy", (0, 1))
    ]
    assert {*wanted} <= {run.spec.fingerprint for run in found.runs}
    for run in found.runs:
        options = parser().parse_args(run.arguments)
        assert find_spec(options.profile, options.item, options.label, options.seed) == run.spec


def test_a_run_keeps_the_folder_that_it_has() -> None:
    renamed = TOY.spec("another-name", 0)
    atomic.write_json(run_folder(renamed) / "spec.json", renamed.model_dump(mode="json"))
    found = {run.spec.fingerprint: run for run in make_plan("toy").runs}
    assert {path.parents[1] for path in found[renamed.fingerprint].outputs} == {run_folder(renamed)}


def test_what_is_published_is_not_trained_for_a_notebook() -> None:
    def names(items: str) -> set[str]:
        return {run.arguments[4] for run in make_plan("toy", items).runs}

    def make_public(name: str) -> None:
        for cell in item(name, "toy", (0,)):
            how = TOY.protocol_of(cell.spec.objective.kind)
            steps = {*cell.spec.milestones, cell.spec.num_steps}
            publish("toy", [record(cell.spec, step, how) for step in steps])

    everything = names("norm_cost")
    assert {"variants", "norm_cost", "pair_longer", "model_size", "blocks"} <= everything
    for name in ITEMS:
        if name != "blocks":
            make_public(name)
    assert names("headline") == {"variants", "blocks"}  # no one else has trained what `blocks` shows
    make_public("blocks")
    assert names("headline") == {"variants"}
    assert names("norm_cost") == {"variants", "norm_cost", "pair_longer"}  # what it is compared with, as well
    found = {job.title: job for job in make_plan("toy", "norm_cost", 3).notebooks}
    assert found["norm_cost"].parameters == {"profile": "toy", "num_seeds": 3, "source": "runs"}
    assert found["variants"].parameters == {"profile": "toy", "source": "published"}
    # 01_train goes on with a run of `variants`: not both at once.
    assert found["01_train"].needs
    assert not found["00_start_here"].needs


def test_on_accelerators_only_what_was_asked_for_and_its_comparison_is_trained() -> None:
    def trained(items: str) -> set[str]:
        return {run.arguments[4] for run in make_plan("paper", items).runs}

    def left_out(items: str) -> dict[str, tuple[str, ...]]:
        return make_plan("paper", items).left_out

    assert trained("headline") == {"variants"}
    assert trained("blocks") == {"blocks", "pair"}  # with the baseline that it is compared with
    assert trained("all") == {run.arguments[4] for run in make_plan("paper", ",".join(ITEMS)).runs}
    assert left_out("all") == {}
    assert left_out("headline")["lambda_tau"] == ("lambda_tau",)
    assert "blocks" in left_out("headline")
    assert "blocks" not in left_out("blocks")
    every = {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    for items in ("headline", "blocks"):
        found = make_plan("paper", items)
        assert {job.title for job in found.notebooks} | set(found.left_out) == every
        assert not {job.title for job in found.notebooks} & set(found.left_out)
    line = "left out: lambda_tau; not all is published of lambda_tau (ITEMS=lambda_tau trains it)"
    assert line in summary(make_plan("paper"))
    assert f"  {line}\n" in plan("paper", "headline", 1)
    # Where a run takes seconds to minutes, every notebook is executed.
    assert make_plan("toy", "blocks").left_out == {}
    assert make_plan("smoke").left_out == make_plan("cpu").left_out == {}


def test_a_notebook_waits_for_a_run_that_it_goes_on_with_whichever_item_asks_for_it() -> None:
    for cell in item("pair", "toy", (0,)) + item("systems_tour", "toy", (0,)):
        how = TOY.protocol_of(cell.spec.objective.kind)
        for step in {*cell.spec.milestones, cell.spec.num_steps}:
            publish("toy", [record(cell.spec, step, how)])
    found = make_plan("toy", "headline")
    (tour,) = [job for job in found.notebooks if job.title == "systems_tour"]
    trained = {TOY.spec("baseline", 0).fingerprint} & {run.spec.fingerprint for run in found.runs}
    assert trained <= {run.spec.fingerprint for run in tour.needs}
    assert trained


@pytest.mark.parametrize("items", ["headline", "all"])
def test_notebooks_take_their_parameters(items: str) -> None:
    found = make_plan("smoke", items, 2).notebooks
    assert found[0].title == "00_start_here"  # the first picture soon
    assert {job.title for job in found} == {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    for job in found:
        check_parameters(notebook_path(job.title), job.parameters)
    if items == "all":
        (variants,) = [job for job in found if job.title == "variants"]
        assert variants.parameters["contrastive_seeds"] == 2


def test_the_table_names_every_notebook_that_draws_on_runs() -> None:
    for path in NOTEBOOKS.glob("*.ipynb"):
        text = path.read_text(encoding="utf-8")
        draws = jobs.NOTEBOOKS.get(path.stem, jobs.Draws())
        if re.search(r"\b(results|look)\(", text):
            assert draws.own in ITEMS or draws.beside
        assert set(re.findall(r'\blook\(\\"(\w+)', text)) == {draws.look} - {""}


def test_only_what_a_notebook_depends_on_makes_it_stale(store: Path) -> None:
    def depends() -> dict[str, dict[str, str]]:
        return {job.title: job.depends for job in make_plan("toy").notebooks}

    before = depends()
    path = store / "notebooks" / "sampler.ipynb"
    path.touch()
    assert depends() == before
    path.write_text(path.read_text() + "\n")
    after = depends()
    assert {name for name in after if after[name] != before[name]} == {"sampler"}
    publish("toy", [record(TOY.spec("baseline", 7), 4, TOY.protocol)])
    assert all(depends()[name]["published"] != after[name]["published"] for name in after)


def test_several_accelerators_are_a_torchrun(toy: Profile) -> None:
    big = dataclasses.replace(toy, gpus=8, cores=4, memory_gb=64, hours=12)  # hours: far more than it takes
    found = make_plan("toy")
    run, notebook = found.runs[0], found.notebooks[1]
    assert jobs.shell_command(run, big).startswith(
        "torchrun --standalone --nproc-per-node 8 -m disperse run --profile toy --item "
    )
    assert jobs.shell_command(run, big).endswith(f"&& {jobs.shell_command(run, toy)}")  # one evaluates
    assert cluster.asked(run, big) == {"gpu": 8, "mem_mb": 65536, "runtime": 720}
    assert "torchrun" not in jobs.shell_command(run, toy)
    assert "torchrun" not in jobs.shell_command(notebook, big)
    assert cluster.asked(notebook, big)["gpu"] == 1


def test_a_job_asks_for_the_hours_that_it_is_computed_to_take() -> None:
    row = PROFILES["paper"]
    asked, computed = {}, {}
    for run in make_plan("paper", "all").runs:
        (asked[run.title],) = {cluster.asked(run, row)["runtime"]}
        computed[run.title] = resources(row, run.spec).hours[1]
        assert cluster.asked(run, row)["gpu"] == 8
    # Half as much again, and no less than the profile's two hours: small runs wait for no large gap.
    for title, hours in computed.items():
        assert asked[title] == math.ceil(60 * max(2, 0.25 + 1.5 * hours))
    assert asked["sit-S-baseline, seed 0"] < 3 * 60
    assert asked["meanflow-larger-infonce-l2, seed 0"] > 60 * 58
    # A look is taken by one process: 10 protocols, NFE 7720 together, of two runs of 23 GMAC.
    (sampler,) = [job for job in make_plan("paper", "pair").notebooks if job.title == "sampler"]
    most = 2 * 50_000 * 2 * 23.01e9 * 7720 / (0.25 * 989e12) / 3600
    assert cluster.asked(sampler, row)["runtime"] == pytest.approx(60 * (0.25 + 1.5 * most), rel=1e-3)
    assert cluster.cell_seconds("sampler", {}, row, least=7200) == pytest.approx(1.5 * 3600 * most, rel=1e-3)
    assert cluster.cell_seconds("norms", {}, row, least=7200) == 7200
    # Rows without GPUs: what a core takes.
    cpu = PROFILES["cpu"]
    for run in make_plan("cpu", "longer").runs:
        least = cluster.asked(run, dataclasses.replace(cpu, hours=0))["runtime"]
        assert least == math.ceil(60 * (0.25 + 1.5 * core_hours(run.spec, run.protocol)))
        assert cluster.asked(run, cpu)["runtime"] == max(least, 240)


def test_a_notebook_may_take_as_long_as_its_look(monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, int] = {}

    def execute(name: str, parameters: dict[str, object], *, timeout_s: int) -> float:
        given[name] = timeout_s
        return 0.0

    monkeypatch.setattr(worker, "execute", execute)
    for name in ("sampler", "norms"):
        worker.execute_notebook(name, {"profile": "paper"})
    assert given["norms"] == 7200 < given["sampler"]


def test_the_plan_prices_each_run_and_sums_them() -> None:
    row = PROFILES["paper"]
    found, text = make_plan("paper", "model_size,pair"), plan("paper", "model_size,pair", 1)
    total = 0.0
    for run in found.runs:
        (line,) = [line for line in text.splitlines() if run.spec.run_id in line]
        hours = cluster.asked_hours(run, row)
        assert line.endswith(f"{span(resources(row, run.spec).hours)}, asks for {hours:.1f} h of 8 GPUs")
        total += 8 * hours
    assert f"the jobs ask for {total:.0f})" in text.splitlines()[-1]
    low, high = (8 * sum(resources(row, run.spec).hours[end] for run in found.runs) for end in (0, 1))
    assert f"runs, {low:.0f} to {high:.0f} GPU-hours (computed; " in text.splitlines()[-1]
    store_run(found.runs[0])
    assert f"the jobs ask for {total - 8 * cluster.asked_hours(found.runs[0], row):.0f})" in plan(
        "paper", "model_size,pair", 1
    )
    (line,) = [line for line in text.splitlines() if "notebook sampler" in line]
    assert line.endswith("h of 1 GPU")
    assert f"  not published, so ours: {'; '.join(row.unpublished)}\n" in text
    on_cores = [line for line in plan("toy", "headline", 1).splitlines() if "evaluations to do" in line]
    assert all(line.endswith("core-minutes") for line in on_cores)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("toy", "variant", 1), 'did you mean "variants"'),
        (("toy", "variants,", 1), "--items = ''"),
        (("tpy", "all", 1), 'did you mean "toy"'),
        (("toy", "all", 0), "--seeds 0: expected ≥ 1"),
    ],
)
def test_mistakes(arguments: tuple[str, str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_plan(*arguments)


def test_a_label_that_is_none() -> None:
    with pytest.raises(ConfigError, match=r"--label = 'hinje'.*did you mean .hinge"):
        find_spec("toy", "variants", "hinje", 0)


def test_the_plan_says_what_is_done(store: Path) -> None:
    found = make_plan("toy", seeds=2)
    before = plan("toy", "headline", 2)
    assert before.count("evaluations to do") == len(found.runs)
    assert f"to do: {len(found.runs)} of {len(found.runs)} runs, about " in before
    assert not (store / "runs").exists()  # only looks
    store_run(found.runs[0])
    after = plan("toy", "headline", 2)
    (line,) = [line for line in after.splitlines() if found.runs[0].spec.run_id in line]
    assert "finished" in line
    assert f"to do: {len(found.runs) - 1} of" in after
    found.runs[1].outputs[0].parent.mkdir(parents=True)
    found.runs[1].outputs[0].touch()
    assert f"{len(found.runs[1].outputs) - 1} of {len(found.runs[1].outputs)} evaluations" in plan(
        "toy", "headline", 2
    )


def test_the_estimate_counts_what_remains() -> None:
    found = make_plan("toy")
    pairs = [(run.spec, run.protocol) for run in found.runs]
    whole = remaining_core_hours(pairs)
    assert min(whole) > 0
    store_run(found.runs[0])
    atomic.write_json(
        run_folder(found.runs[0].spec) / "spec.json", found.runs[0].spec.model_dump(mode="json")
    )
    steps = run_folder(found.runs[0].spec) / "checkpoints" / f"step_{found.runs[0].spec.num_steps:08d}"
    atomic.write_json(steps / "manifest.json", {})
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
