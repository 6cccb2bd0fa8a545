"""What is published is checked against its results; whatever was edited, lost or left behind is named."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from disperse import atomic
from disperse.cli import main
from disperse.errors import ConfigError, StorageError
from disperse.experiments import PROFILES, item, publish, published, records, run_folder
from disperse.experiments.verdicts import verdicts
from disperse.figures import draw_published
from disperse.figures.published import BEGIN, END, with_claims
from disperse.reproduce import verify as module
from disperse.reproduce.retrain import FAR, NEAR, SAME, choose, compare, retrain, spec_of
from disperse.reproduce.verify import first_difference, verify
from disperse.store import Record, complete, seal

from ..experiments.cases import TOY, record
from ..experiments.test_store import toy
from ..figures.looked import looked
from ..figures.test_published import convergence, evaluations

__all__ = ["toy"]


def quickly(figure: Figure) -> np.ndarray:
    """Instead of the picture, its size: what is compared is bytes with their digest."""
    return np.full((1, 8, 3), figure.get_figheight() / 100)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with made-up results of two seeds, drawn once for all tests."""
    home = tmp_path_factory.mktemp("drawn")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPERSE_HOME", str(home))
        patch.setattr(sys.modules["disperse.figures.theme"], "_pixels", quickly)
        publish("smoke", [*evaluations("variants", "contrastive", "norm_cost", "longer"), *convergence()])
        draw_published("smoke")
    return home


@pytest.fixture
def folder(store: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``figures/smoke`` as drawn; drawing again is copying, as long as the results are the same."""
    shutil.copytree(drawn, store)
    monkeypatch.setattr(
        module, "draw_published", lambda _, into: shutil.copytree(drawn / "figures", into, dirs_exist_ok=True)
    )
    return store / "figures" / "smoke"


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Exit code 3 and what is wrong: item → state and detail."""
    capsys.readouterr()
    assert main(["verify", "--profile", "smoke"]) == 3
    told = capsys.readouterr()
    assert told.err.count("\n") == 1
    assert "not what the results make them" in told.err
    lines = [line for line in told.out.splitlines() if not line.startswith("ok")]
    assert told.err.startswith(f"disperse verify: {len(lines)} of ")
    rows = [(line[8:].partition(": "), line[:8].strip()) for line in lines]
    return {item.removeprefix("figures/"): f"{state} {detail}" for (item, _, detail), state in rows}


def test_what_was_just_drawn_is_fine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--profile", "smoke"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("verified: ")
    assert all(line.startswith("ok ") for line in lines[:-1])
    named = {line.split()[1].rstrip(":").removeprefix("figures/") for line in lines[:-1]}
    on_disk = {f"smoke/{path.name}" for path in folder.iterdir()} | {"README.md"}
    assert named == on_disk  # nothing is left unlooked at


def test_the_index_of_another_profile_is_not_judged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "README.md").write_text("[`cpu/results.jsonl`](cpu/results.jsonl)")
    assert main(["verify", "--profile", "smoke"]) == 0
    assert "README" not in capsys.readouterr().out


def test_edits_and_losses_are_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = folder / "variants.md"
    table.write_text(table.read_text().replace("worse", "improves", 1).replace("can't tell", "improves", 1))
    sidecar = folder / "variants.json"
    facts = json.loads(sidecar.read_text())
    facts["rows"][1]["metrics"]["fd"]["value"] *= 0.9
    sidecar.write_text(json.dumps(facts))
    resealed = folder / "norm_cost.json"
    facts = json.loads(resealed.read_text())
    facts["noise_floor"] *= 0.9
    resealed.write_text(json.dumps(seal(facts)))
    (folder / "sampler.png").unlink()
    (folder / "variants_grid.json").unlink()
    (folder / "variants_grid.md").unlink()
    (folder / "learning_curves.png").write_bytes((folder / "norm_cost.png").read_bytes())
    (folder / "best.md").write_text("| ours | best |")
    index = folder.parent / "README.md"
    index.write_text(index.read_text() + "And ours is best.\n")
    found = findings(capsys)
    assert found.pop("smoke/variants.json").startswith("EDITED rows.1.metrics.fd.value: ")
    assert found.pop("smoke/norm_cost.json").startswith("DIFFERS noise_floor: ")
    assert found.pop("smoke/variants.md").startswith("DIFFERS first in line ")
    assert found.pop("README.md").startswith("DIFFERS in length")
    assert found == {
        "smoke/sampler.png": "MISSING ",
        "smoke/variants_grid.json": "MISSING ",
        "smoke/variants_grid.md": "MISSING ",
        "smoke/variants_grid.png": "STALE no SHA-256 of it in its sidecar: drawn by an earlier version",
        "smoke/learning_curves.png": "EDITED not the picture that its sidecar was written with",
        "smoke/best.md": "STRAY nothing draws it",
    }


def test_a_table_of_claims_that_was_edited_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    readme = folder.parents[1] / "README.md"
    claims = verdicts(published("smoke"), PROFILES["smoke"])
    good = with_claims(f"# disperse\n\n{BEGIN}{END}\nmore\n", claims)
    assert "10. Regularising one block" in good
    readme.write_text(good)
    assert verify("smoke").startswith("verified")
    assert "README.md: its table of claims" in capsys.readouterr().out
    readme.write_text(good.replace("**not trained yet**", "**agrees**", 1))
    (number,) = [n for n, line in enumerate(readme.read_text().splitlines(), 1) if "**agrees**" in line]
    found = findings(capsys)
    assert list(found) == ["README.md"]
    assert found["README.md"].startswith(f"DIFFERS its table of claims, first in line {number}; ")
    readme.write_text(good.replace(BEGIN, ""))
    assert findings(capsys)["README.md"].startswith("MISSING no table of claims")
    (folder.parent / "README.md").write_text("[`cpu/results.jsonl`](cpu/results.jsonl)")
    assert main(["verify", "--profile", "smoke"]) == 0  # the claims are of the profile of the index


def test_rounding_of_another_machine_is_no_edit(folder: Path) -> None:
    path = folder / "norm_cost.json"
    facts = json.loads(path.read_text())
    facts["noise_floor"] *= 1 + 1e-7
    path.write_text(json.dumps(seal(facts)))
    assert verify("smoke").startswith("verified")


def test_samples_are_held_by_their_seal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = folder / "samples.png"
    picture.write_bytes(b"samples")
    run = {key: published("smoke")[0][key] for key in ("fingerprint", "step")} | {"label": "baseline"}
    facts = seal({"runs": [run], "picture_sha256": atomic.sha256_file(picture)})
    path = folder / "samples.json"
    path.write_text(json.dumps(facts))
    assert verify("smoke").startswith("verified")
    path.write_text(json.dumps({**facts, "weights": "raw"}))
    assert findings(capsys)["smoke/samples.json"] == "EDITED content does not fit its SHA-256"
    path.write_text(json.dumps(seal({**facts, "runs": [{**run, "step": 3}]})))
    assert findings(capsys)["smoke/samples.json"].startswith("STALE not among the results any more: baseline")
    path.write_text("{")
    assert set(findings(capsys)) == {"smoke/samples.json", "smoke/samples.png"}


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


def test_figures_are_stale_after_new_results(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "draw_published", draw_published)
    monkeypatch.setattr(sys.modules["disperse.figures.theme"], "_pixels", quickly)
    assert publish("smoke", evaluations("variants", seeds=(2,))) == 10
    found = findings(capsys)
    stale = {"variants.md", "variants.json", "variants_grid.json", "norm_cost.md", "learning_curves.json"}
    assert all(found[f"smoke/{name}"].startswith("STALE") for name in stale)
    assert found["README.md"].startswith("STALE")
    assert "smoke/sampler.json" not in found  # shows none of the new
    assert not any(name.endswith(".png") for name in found)


def test_nothing_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--profile", "smoke"]) == 3
    assert "nothing published; run `disperse publish --profile smoke`" in capsys.readouterr().err


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
    cell = item("variants", "toy", (0,))[1]
    complete(cell.spec.replace(device="cpu"), TOY.protocol)
    entries = records(cell.spec, TOY.protocol)
    shutil.rmtree(store / "runs")
    again = retrain(entries[0], progress=False)
    assert again["step"] == 2
    assert compare(entries[0], again).state == SAME
    assert spec_of(entries[0]).fingerprint == entries[0]["fingerprint"]
    assert not (store / "runs").exists()
    assert not run_folder(cell.spec).exists()

    edited = json.loads(json.dumps(entries[1]))
    edited["metrics"]["fd"]["value"] *= 0.5
    publish("toy", [edited])  # sealed anew, as who edits with care would do
    monkeypatch.setattr(module, "compare_folders", lambda *_: [])
    monkeypatch.setattr(module, "draw_published", lambda *_: None)
    assert main(["verify", "--profile", "toy", "--retrain", "1", "--seed", "5"]) == 3
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith(f"train   {cell.label}-{cell.spec.fingerprint}, step 4")
    assert out[1].endswith("chosen by --seed 5")
    assert out[2].startswith("DIFFERS")
    assert "fd beyond the tolerance" in out[2]
    assert not (store / "runs").exists()


def entries(count: int) -> list[Record]:
    return [record(TOY.spec("baseline", seed), 4, TOY.protocol) for seed in range(count)]


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
    entry = looked(item("variants", "smoke", (0,))[0], PROFILES["smoke"])
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
