"""What two executions of the same notebooks have in common, and what differs is named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from disperse.reproduce.same import main

PUBLISHED = Path(__file__).parents[2] / "figures" / "cpu"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The published sidecars twice, of another day and commit; in the first each in a folder of its own."""
    first, second = tmp_path / "first", tmp_path / "second"
    shutil.copytree(PUBLISHED, second, ignore=shutil.ignore_patterns("*.png"))
    for path in PUBLISHED.glob("*.json"):
        (first / path.stem).mkdir(parents=True)
        facts = {
            **json.loads(path.read_text()),
            "date": "2001",
            "commit": "0",
            "sha256": "",
            "picture_sha256": "",
        }
        for run in facts.get("runs", []):
            run["commits"] = ["0"]
        (first / path.stem / path.name).write_text(json.dumps(facts))
    return first, second


def change(path: Path, how: Callable[[dict[str, Any]], None]) -> None:
    facts = json.loads(path.read_text())
    how(facts)
    path.write_text(json.dumps(facts))


def test_dates_and_commits_are_no_difference(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = folders
    (second / "norms.json").unlink()
    (second / "norms.receipt.json").write_text('{"token": 1}')
    assert main([str(first), str(second)]) == 0
    count = len(list(PUBLISHED.glob("*.json"))) - 1
    told = f"{count} of {count} sidecars have the same values twice; 1 are in one folder alone\n"
    assert capsys.readouterr().out == told


def test_another_value_is_named(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    first, second = folders

    def spoil(facts: dict[str, Any]) -> None:
        facts["rows"][1]["metrics"]["fd"]["value"] *= 1 + 1e-15

    change(second / "variants.json", spoil)
    change(first / "norms" / "norms.json", lambda facts: facts["claims"].pop())
    assert main([str(first), str(second)]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split()[1] for line in lines[:-1]] == ["norms.json", "variants.json"]
    assert "rows.1.metrics.fd.value" in lines[1]


def test_nothing_to_compare(
    folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(folders[0]), str(tmp_path / "nowhere")]) == 3
    assert capsys.readouterr().err.startswith("same: no sidecar is both in ")


def test_both_executions_are_compared_before_a_change_lands() -> None:
    text = (PUBLISHED.parents[1] / ".ci" / "run").read_text()
    steps = (
        "export DISPERSE_KEEP_SIDECARS",
        "make test ",
        "make smoke ||",
        "-m disperse.reproduce.same build/sidecars",
    )
    places = [text.index(step) for step in steps]
    assert places == sorted(places)
