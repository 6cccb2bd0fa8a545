"""What is published is checked by executing the notebooks again; whatever was edited, lost or left is named."""

import json
import shutil
from pathlib import Path

import pytest

from disperse import atomic
from disperse.cli import main
from disperse.errors import ConfigError, StorageError
from disperse.experiments import PROFILES, dispersive_term, publish, records, run_folder
from disperse.reproduce import verify as module
from disperse.reproduce.index import BEGIN, END
from disperse.reproduce.publishing import draw_published
from disperse.reproduce.retrain import FAR, NEAR, SAME, choose, compare, retrain, spec_of
from disperse.reproduce.verify import first_difference, verify
from disperse.store import Record, complete, seal

from ..experiments.cases import TOY, record
from ..experiments.test_store import toy
from .toys import PAIR, write

__all__ = ["toy"]
SMOKE = PROFILES["smoke"]
DRAW = """
from disperse import plot, results
from disperse.experiments import evaluations
table, here = evaluations(runs, profile, source=source)
ends = table[table.final]
found = results.pairs(ends[ends.regularizers != "none"], ends[ends.regularizers == "none"], "fd")
changes = results.changes(ends[ends.regularizers != "none"], ends[ends.regularizers == "none"], "fd", by="variant")
picture = plot.save(plot.changes(plot.axes(), changes, "variant"), "variants", profile, alt="changes",
                    values={"changes": changes})
verdict = results.judge([results.Claim.of(1, found)])
print("mean", changes.value[0])
"""
LAST = """
from disperse.reproduce import finish
finish("variants", profile, claims=verdict)
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with made-up results of three seeds and one notebook, drawn once for all tests."""
    home = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPERSE_HOME", str(home))
        write(home, "variants", DRAW, LAST, runs=PAIR, finish=False)
        (home / "README.md").write_text(f"# disperse\n\n{BEGIN}{END}\nmore\n")
        publish("smoke", [
            record(spec, step, SMOKE.protocol, fd=1 + len(spec.regularizers) * (0.1 + 0.01 * seed))
            for seed in range(3) for spec in (SMOKE.run(seed), SMOKE.run(seed, dispersive_term()))
            for step in (20, 40)
        ])  # fmt: skip
        draw_published("smoke")
    return home


@pytest.fixture
def folder(store: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``figures/smoke`` as drawn; executing again is copying, as long as the results are the same."""
    shutil.copytree(drawn, store)

    def again(profile: str, into: Path, *, progress: bool = True) -> dict[str, str]:
        shutil.copytree(drawn / "figures" / profile, into / profile)
        shutil.copytree(drawn / "papermill_runs" / profile, into / "notebooks")
        return {}

    monkeypatch.setattr(module, "execute_published", again)
    return store / "figures" / "smoke"


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Exit code 5 and what is wrong: item → state and detail."""
    capsys.readouterr()
    assert main(["verify", "--profile", "smoke"]) == 5
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "not what the results make them" in told.err
    lines = [line for line in told.out.splitlines() if not line.startswith("ok")]
    assert told.err.startswith(f"disperse verify: {len(lines)} of ")
    rows = [(line[8:].partition(": "), line[:8].strip()) for line in lines]
    return {item.removeprefix("figures/"): f"{state} {detail}" for (item, _, detail), state in rows}


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_what_is_drawn(drawn: Path) -> None:
    assert {path.name for path in (drawn / "figures" / "smoke").iterdir()} == {
        "results.jsonl", "variants.json", "variants.png", "variants.svg", "variants.claims.json",
    }  # fmt: skip
    notebook = json.loads((drawn / "papermill_runs" / "smoke" / "variants.ipynb").read_text())
    assert notebook["metadata"]["papermill"] == {"parameters": {"profile": "smoke", "source": "published"}}
    assert not any("papermill" in cell["metadata"] for cell in notebook["cells"])
    index = (drawn / "figures" / "README.md").read_text()
    assert "![changes](smoke/variants.png)" in index
    assert "](../papermill_runs/smoke/variants.ipynb)" in index
    assert "12 evaluations of 6 runs" in index
    readme = (drawn / "README.md").read_text()
    assert (
        "| 1. Every dispersive variant improves on the baseline. [`variants`](notebooks/variants.ipynb) |"
        in readme
    )
    assert "0 of 1 as claimed, 1 against | 3 | **disagrees**" in readme
    assert (
        "At this scale, of 1 claims of the paper: agrees 0, disagrees 1, open 0. The paper's own setting"
        in readme
    )
    assert "+11% [" in readme
    assert readme.endswith(f"{END}\nmore\n")


def test_drawing_again_makes_the_same_and_removes_what_no_notebook_makes(store: Path, drawn: Path) -> None:
    shutil.copytree(drawn, store)
    (store / "figures" / "smoke" / "old.md").write_text("old")
    before = {
        path: path.read_bytes() for path in store.rglob("*") if path.is_file() and path.name != "old.md"
    }
    draw_published("smoke")
    (store / "build").rmdir()
    assert {path for path in store.rglob("*") if path.is_file()} == set(before)
    assert {path.name for path, content in before.items() if path.read_bytes() != content} == set()


def test_what_was_just_drawn_is_fine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--profile", "smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("verified: ")
    assert all(line.startswith("ok ") for line in lines[:-1])
    named = {line.split()[1].rstrip(":") for line in lines[:-1]}
    on_disk = {f"figures/smoke/{path.name}" for path in folder.iterdir()}
    # Nothing is left unlooked at.
    assert named == on_disk | {"figures/README.md", "README.md", "papermill_runs/smoke/variants.ipynb"}


def test_edits_and_losses_are_named(folder: Path, store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder / "variants.json", '"n": 3', '"n": 6')
    (folder / "variants.png").write_bytes((folder / "variants.png").read_bytes() + b"edited")
    (folder / "variants.svg").unlink()
    (folder / "best.md").write_text("| ours | best |")
    change(folder / "variants.claims.json", "disagrees", "agrees")
    change(folder.parent / "README.md", "Drawn by", "Painted by")
    change(store / "papermill_runs" / "smoke" / "variants.ipynb", "mean 0.1", "mean 0.2")
    found = findings(capsys)
    assert found.pop("smoke/variants.json").startswith("DIFFERS changes.0.n: 6, the results make 3")
    assert found.pop("smoke/variants.claims.json").startswith("DIFFERS ")
    assert found.pop("README.md").startswith("DIFFERS first in line ")
    assert found == {
        "smoke/variants.png": "EDITED not what its values were kept with",
        "smoke/variants.svg": "MISSING ",
        "smoke/best.md": "STRAY no notebook keeps it",
        "papermill_runs/smoke/variants.ipynb": "DIFFERS cell 4: it prints another text",
    }


def test_a_changed_notebook_and_a_lost_copy_are_named(
    folder: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store / "papermill_runs" / "smoke" / "variants.ipynb"
    change(path, 'by=\\"variant\\"', 'by=\\"seed\\"')
    assert findings(capsys) == {
        "papermill_runs/smoke/variants.ipynb": "DIFFERS cell 4: its source is that of another version"
    }
    path.unlink()
    assert findings(capsys)["papermill_runs/smoke/variants.ipynb"] == "MISSING "


def test_a_table_of_claims_that_was_edited_is_named(
    folder: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme = store / "README.md"
    good = readme.read_text()
    readme.write_text(good.replace("**disagrees**", "**agrees**", 1))
    found = findings(capsys)
    assert list(found) == ["README.md"]
    assert found["README.md"].startswith("DIFFERS first in line ")
    readme.write_text(good.replace(BEGIN, ""))
    assert findings(capsys)["README.md"].startswith("MISSING its table of claims has lost its marks")
    (folder.parent / "README.md").write_text("[`cpu/results.jsonl`](cpu/results.jsonl)")
    assert main(["verify", "--profile", "smoke"]) == 0  # the claims are of the profile of the index


def test_rounding_of_another_machine_is_no_edit(folder: Path) -> None:
    path = folder / "variants.json"
    facts = json.loads(path.read_text())
    facts["changes"][0]["value"] *= 1 + 1e-9
    path.write_text(json.dumps(facts))
    assert verify("smoke").startswith("verified")


@pytest.mark.parametrize(
    ("old", "new", "state"),
    [('"seed":1', '"seed":3', "EDITED content does not fit"), ('"numerics":', '"numerics":1', "STALE of numerics 1")],
)  # fmt: skip
def test_a_bad_line_of_the_results_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, state: str
) -> None:
    path = folder / "results.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    number = next(n for n, line in enumerate(lines) if old in line)
    lines[number] = lines[number].replace(old, new, 1)
    if state.startswith("STALE"):
        lines[number] = atomic.canonical_json(seal(json.loads(lines[number]))) + "\n"
    path.write_text("".join(lines))
    found = findings(capsys)
    assert list(found) == [f"smoke/results.jsonl:{number + 1}"]  # and nothing is computed from it
    assert found.popitem()[1].startswith(state)


def test_a_last_line_that_was_cut_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "results.jsonl"
    path.write_text(path.read_text()[:-20])
    assert findings(capsys)["smoke/results.jsonl"].startswith("EDITED the last line is cut short")


def test_nothing_published(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("verify", "figures"):
        assert main([command, "--profile", "smoke"]) == 3
        assert "nothing published; run `disperse publish --profile smoke`" in capsys.readouterr().err


def test_a_notebook_that_fails_replaces_nothing(
    folder: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.read_bytes() for path in folder.iterdir()}
    write(store, "variants", "1 / 0", runs=PAIR, finish=False)
    assert main(["figures", "--profile", "smoke"]) == 5
    assert "nothing was replaced: variants: ZeroDivisionError" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("kept", "fresh", "told"),
    [
        ({"a": [1, 2.0]}, {"a": [1, 2.0 + 1e-9]}, ""),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "a.b: 1, the results make 2"),
        ({"a": [1]}, {"a": [1, 2]}, "a: 1 entries, the results make 2"),
        ({"a": 1}, {}, "a: nothing makes it"),
        ({}, {"a": 1}, "a: not there"),
        ({"a": None}, {"a": 0.0}, "a: None, the results make 0.0"),
        ({"a": True}, {"a": 1}, "a: True, the results make 1"),
        ({"a": "1"}, {"a": 1}, "a: '1', the results make 1"),
    ],
)
def test_the_first_difference(kept: dict, fresh: dict, told: str) -> None:
    assert first_difference(kept, fresh) == told


def test_a_published_entry_is_trained_again_bit_for_bit(
    toy: object, store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = TOY.run(0, dispersive_term())
    complete(spec.replace(device="cpu"), TOY.protocol)
    entries = records(spec, TOY.protocol)
    shutil.rmtree(store / "runs")
    again = retrain(entries[0], progress=False)
    assert again["step"] == 2
    assert compare(entries[0], again).state == SAME
    assert spec_of(entries[0]).fingerprint == entries[0]["fingerprint"]
    assert not (store / "runs").exists()
    assert not run_folder(spec).exists()

    edited = json.loads(json.dumps(entries[1]))
    edited["metrics"]["fd"]["value"] *= 0.5
    publish("toy", [edited])  # sealed anew, as who edits with care would do
    monkeypatch.setattr(module, "execute_published", lambda *_, **__: {})
    for name in ("compare_figures", "compare_executed", "check_index"):
        monkeypatch.setattr(module, name, lambda *_: [])
    assert main(["verify", "--profile", "toy", "--retrain", "1", "--seed", "5"]) == 5
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith(f"train   {spec.run_id}, step 4")
    assert out[1].endswith("chosen by --seed 5")
    assert out[2].startswith("DIFFERS")
    assert "fd beyond the tolerance" in out[2]
    assert not (store / "runs").exists()


def entries(count: int) -> list[Record]:
    return [record(TOY.run(seed), 4, TOY.protocol) for seed in range(count)]


def test_the_choice_is_a_function_of_its_seed() -> None:
    pool = entries(9)
    chosen = choose(pool, 3, 7)
    assert chosen == choose(pool, 3, 7)
    assert len({entry["seed"] for entry in chosen}) == 3
    assert any(choose(pool, 3, seed) != chosen for seed in range(5))
    with pytest.raises(ConfigError, match="retrain = 10: expected an integer from 1 to 9"):
        choose(pool, 10, 0)


@pytest.mark.parametrize(
    ("changes", "state"),
    [({}, SAME), ({"fd": 1.1}, NEAR), ({"fd": 1.2}, FAR), ({"recall": 0.29}, NEAR), ({"recall": 0.31}, FAR),
     ({"fd": float("nan")}, FAR)],
)  # fmt: skip
def test_other_bits_are_judged_by_the_tolerance(changes: dict[str, float], state: str) -> None:
    (entry,) = entries(1)
    here = json.loads(json.dumps({**entry, "torch": "3"}))
    for name, value in changes.items():
        here["metrics"][name]["value"] = value
    if changes.get("fd", 0) != changes.get("fd", 0):
        here["metrics"]["fd"] = {}
    result = compare(entry, here)
    assert result.state == state
    assert (state == SAME) or "torch 3 here, 2 published" in result.detail


@pytest.mark.parametrize(
    ("change", "state", "told"),
    [
        ({}, SAME, "every noise level"),
        ({"gradient_cosine": 0.3}, NEAR, "other bits in levels"),
        ({"seen_loss": 1.1}, NEAR, "other bits in levels"),
        ({"seen_loss": 1.3}, FAR, "losses by noise level beyond"),
        ({"unseen_loss": None}, FAR, "losses by noise level beyond"),
        ({"level": 0.5}, FAR, "losses by noise level beyond"),
        (None, FAR, "losses by noise level beyond"),
    ],
)
def test_noise_levels_are_compared_where_they_are_published(
    change: dict[str, float | None] | None, state: str, told: str
) -> None:
    levels = [{"level": level / 10, "seen_loss": 1.0, "unseen_loss": 1.1, "gradient_cosine": 0.1,
               "gradient_ratio": 0.5} for level in range(1, 11)]  # fmt: skip
    entry = seal(record(SMOKE.run(0), 40, SMOKE.protocol) | {"levels": levels})
    here = json.loads(json.dumps(entry))
    if change is None:
        del here["levels"]
    else:
        here["levels"][3] |= change
    result = compare(entry, here)
    assert result.state == state
    assert told in result.detail


def test_results_of_other_code_are_not_trained(toy: object) -> None:
    (entry,) = entries(1)
    with pytest.raises((ConfigError, StorageError), match="retrain it with the version that published it"):
        retrain({**entry, "fingerprint": "0" * 12})
