"""Results live by specification: computed once, found again, sealed, published once."""

import json
from pathlib import Path

import pytest

from disperse import atomic, load_model, store
from disperse.errors import ConfigError, RunFailedError, StorageError
from disperse.experiments import (
    evaluate_run,
    find_run,
    home,
    profile,
    publish,
    published,
    records,
    run_folder,
    runner,
    select,
)
from disperse.experiments.runner import complete_jobs
from disperse.regularizers import DispersiveSpec
from disperse.spec import RunSpec
from disperse.store import at_every_step, seal
from disperse.training import checkpoint as checkpoints
from disperse.training import list_runs, train

from .cases import TOY, record, toy

__all__ = ["toy"]
SPEC = TOY.spec("baseline", 0)
PROTOCOL = TOY.protocol


def test_complete_trains_and_evaluates_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store_module = runner.complete.__globals__
    assert records(SPEC, PROTOCOL) == []
    runner.complete(SPEC, PROTOCOL)
    found = records(SPEC, PROTOCOL)
    assert [entry["step"] for entry in found] == [2, 4]
    assert [entry["seen_images"] for entry in found] == [32, 64]
    assert {entry["fingerprint"] for entry in found} == {SPEC.fingerprint}
    assert found[0]["metrics"]["fd"]["value"] != found[1]["metrics"]["fd"]["value"]
    assert {"rms", "effective_rank", "mean_cosine"} <= found[0]["blocks"][0].keys()
    assert found[0]["card"] == PROTOCOL.card()
    assert found[0]["spec"] == SPEC.identity

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("done again")

    for name in ("train", "evaluate", "load_weights"):
        monkeypatch.setitem(store_module, name, fail)
    runner.complete(SPEC, PROTOCOL)
    complete_jobs([(SPEC, at_every_step(SPEC, PROTOCOL))])  # not even a worker
    assert evaluate_run(run_folder(SPEC), 4, PROTOCOL) == found[1]
    with pytest.raises(AssertionError, match="done again"):  # another protocol is another result
        evaluate_run(run_folder(SPEC), 4, PROTOCOL.model_copy(update={"num_steps": 3}))


@pytest.mark.parametrize("damage", ["edited", "sealed as before", "cut", "list", "no seal"])
def test_a_stored_evaluation_that_was_changed_is_refused(damage: str) -> None:
    folder = run_folder(SPEC)
    atomic.write_json(folder / "spec.json", SPEC.model_dump(mode="json"))
    path = store.evaluation_path(folder, 4, PROTOCOL)
    good = record(SPEC, 4, PROTOCOL)
    atomic.write_json(path, good)
    assert evaluate_run(folder, 4, PROTOCOL) == good
    text = path.read_text()
    bad = {
        "edited": text.replace('"value": 1.0', '"value": 0.9'),
        "sealed as before": text.replace('"seed": 0', '"seed": 0, "note": "better"'),
        "cut": text[:-9],
        "list": "[]",
        "no seal": json.dumps({key: value for key, value in good.items() if key != "sha256"}),
    }[damage]
    assert bad != text
    path.write_text(bad)
    for read in (lambda: evaluate_run(folder, 4, PROTOCOL), lambda: records(SPEC, PROTOCOL)):
        with pytest.raises(StorageError, match="delete it to evaluate again") as caught:
            read()
        assert path.name in str(caught.value)


def test_publishing_is_idempotent_and_checks_what_is_there(store: Path) -> None:
    new = [record(SPEC, 2, PROTOCOL), record(SPEC, 4, PROTOCOL)]
    assert publish("toy", [*new, record(SPEC, 2, PROTOCOL, fd=9.0)]) == 2  # of two in one go, the first
    path = store / "figures" / "toy" / "results.jsonl"
    before = path.read_bytes()
    assert published("toy") == new
    assert publish("toy", new) == 0
    assert path.read_bytes() == before
    assert publish("toy", [record(SPEC, 4, PROTOCOL, fd=9.0)]) == 0  # the first result stands
    other = PROTOCOL.model_copy(update={"num_steps": 3})
    assert publish("toy", [record(SPEC, 4, other), record(TOY.spec("baseline", 1), 4, PROTOCOL)]) == 2
    assert path.read_bytes().startswith(before)
    path.write_bytes(path.read_bytes().replace(b'"seed":1', b'"seed":2'))
    for read in (lambda: published("toy"), lambda: publish("toy", new)):
        with pytest.raises(StorageError, match=r"results\.jsonl:4: content does not fit"):
            read()


def test_results_of_an_older_stamp_are_dropped(store: Path) -> None:
    old, new = record(SPEC, 2, PROTOCOL), record(SPEC, 4, PROTOCOL)
    old = seal({**old, "spec": {**old["spec"], "numerics": 0}})
    path = store / "figures" / "toy" / "results.jsonl"
    atomic.write_text(path, atomic.canonical_json(old) + "\n")
    assert publish("toy", []) == 0
    assert published("toy") == [old]  # nothing to stand in their place
    assert publish("toy", [new]) == 1
    assert published("toy") == [new]


def test_select_takes_the_run_the_protocol_and_the_steps_of_the_spec() -> None:
    other = PROTOCOL.model_copy(update={"guidance": 2.0})
    pool = [
        record(SPEC, 8, PROTOCOL),
        record(SPEC, 4, PROTOCOL, fd=4.0),
        record(SPEC, 2, PROTOCOL, fd=2.0),
        record(SPEC, 4, other),
        record(TOY.spec("baseline", 1), 4, PROTOCOL),
    ]
    assert select(pool, SPEC, PROTOCOL) == [pool[2], pool[1]]
    assert select(pool, SPEC.replace(num_steps=8, milestones=()), PROTOCOL) == [pool[0]]
    assert select(pool, SPEC.replace(name="renamed"), PROTOCOL) == [pool[2], pool[1]]
    assert select(pool, SPEC, other) == [pool[3]]
    assert select([], SPEC, PROTOCOL) == []


class Threads:
    """A pool whose workers start at the same moment, in this process."""

    def __new__(cls, processes: int, **_: object) -> object:
        from concurrent.futures import ThreadPoolExecutor

        return ThreadPoolExecutor(processes)


def test_one_run_at_two_lengths_is_not_trained_twice_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "ProcessPoolExecutor", Threads)
    short, long = SPEC, SPEC.replace(num_steps=12, milestones=(2, 4, 8))
    jobs = [(spec, at_every_step(spec, PROTOCOL)) for spec in (short, long, long)]
    complete_jobs(jobs, processes=3, progress=False)
    assert len(records(short, PROTOCOL)) == 2
    assert len(records(long, PROTOCOL)) == 4


def test_a_run_that_fails_is_named_and_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "ProcessPoolExecutor", Threads)
    bad = TOY.spec("hinge", 0, DispersiveSpec(variant="hinge", lam=1e300))
    with pytest.raises(RunFailedError, match=r"1 of 2 runs failed: hinge-.*not finite") as caught:
        complete_jobs(
            [(spec, at_every_step(spec, PROTOCOL)) for spec in (bad, SPEC)], processes=1, progress=True
        )
    assert caught.value.exit_code == 5
    assert len(records(SPEC, PROTOCOL)) == 2
    assert not checkpoints.saved_steps(run_folder(bad) / "checkpoints")


def test_home_is_the_variable_or_the_repository(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home() == store
    assert run_folder(SPEC) == store / "runs" / SPEC.run_id
    monkeypatch.delenv("DISPERSE_HOME")
    assert home() == Path(__file__).parents[2]


def stored(*specs: RunSpec) -> list[Path]:
    for spec in specs:
        atomic.write_json(run_folder(spec) / "spec.json", spec.model_dump(mode="json"))
    return [run_folder(spec) for spec in specs]


def test_a_run_is_found_by_path_name_or_part(store: Path) -> None:
    folders = stored(TOY.spec("hinge", 0, DispersiveSpec(variant="hinge")), TOY.spec("baseline", 0))
    for name in ("hinge", folders[0].name, folders[0].name[2:-4], str(folders[0]), folders[0]):
        assert find_run(name) == folders[0]
    for name, found in (
        ("cov", "none; `disperse list`"),
        ("e", rf"{folders[1].name} \(seed 0, 4 steps\), hinge-"),
    ):
        with pytest.raises(StorageError, match=f"found {found}"):
            find_run(name)


def test_a_run_has_one_folder_under_whatever_name() -> None:
    (folder,) = stored(SPEC)
    assert run_folder(SPEC.replace(name="another")) == folder
    assert run_folder(SPEC.replace(seed=1)) != folder


def test_a_whole_name_comes_before_a_part() -> None:
    plain, long, other, renamed = stored(
        SPEC, SPEC.replace(name="baseline-long", batch_size=8), SPEC.replace(name="my-baseline", batch_size=4),
        SPEC.replace(name=f"{SPEC.run_id}-x", batch_size=2),
    )  # fmt: skip
    assert find_run("baseline") == plain
    assert find_run(SPEC.run_id) == plain
    assert find_run("baseline-long") == find_run("line-lo") == long
    assert find_run("my") == other
    assert find_run(f"{SPEC.run_id}-x") == renamed


def test_runs_of_one_name_are_told_apart_by_their_seeds() -> None:
    folders = stored(*(TOY.spec("baseline", seed) for seed in (0, 1)))
    with pytest.raises(
        StorageError, match=r"\(seed 0, 4 steps\).*\(seed 1, 4 steps\); choose by --seed"
    ) as caught:
        find_run("baseline")
    assert "\n" not in str(caught.value)
    assert [find_run("baseline", seed) for seed in (0, 1)] == folders
    assert find_run("base", 1) == folders[1]
    with pytest.raises(StorageError, match=r"run 'baseline' with seed 7: .*found none"):
        find_run("baseline", 7)


def test_a_folder_without_a_spec_is_no_run(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (plain,) = stored(SPEC)
    (store / "runs" / "baseline-notes").mkdir()
    (tmp_path / "baseline").mkdir()  # someone's folder of that name, where the command is typed
    monkeypatch.chdir(tmp_path)
    assert find_run("baseline") == plain
    with pytest.raises(StorageError, match="not a run folder"):
        find_run(tmp_path / "baseline" / "..")
    (plain / "spec.json").write_text("{")  # damaged: found, and named when it is read
    assert find_run("baseline") == plain
    assert any(line.startswith(plain.name) for line in list_runs())


def test_load_model_knows_runs_by_name() -> None:
    train(SPEC, run_folder(SPEC), progress=False)
    model = load_model("baseline", step=2)
    assert load_model("base", step=2, seed=0).final_layer.linear.weight.equal(model.final_layer.linear.weight)
    with pytest.raises(StorageError, match="run 'hinge': expected one folder"):
        load_model("hinge")


def test_the_list_of_runs() -> None:
    assert [line.split() for line in list_runs()] == [["run", "seed", "steps", "evaluations"]]
    train(SPEC, run_folder(SPEC), progress=False)
    stored(TOY.spec("hinge", 3))
    atomic.write_json(store.evaluation_path(run_folder(SPEC), 4, PROTOCOL), record(SPEC, 4, PROTOCOL))
    lines = list_runs()
    assert lines[1].split() == [SPEC.run_id, "0", "4", "of", "4", "1", "at", "4"]
    assert lines[2].split()[1:] == ["3", "0", "of", "4", "none"]
    assert len({line.index(part) for line, part in zip(lines, ("evaluations", "1 at", "none"))}) == 1


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match='did you mean "smoke"'):
        profile("smok")
