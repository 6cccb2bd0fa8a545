"""The tables of docs/evaluators.md: those of the digits are computed again."""

import re
from pathlib import Path

import pytest

from disperse.errors import DataError
from disperse.experiments import evaluators, profile

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / evaluators.PAGE).read_text(encoding="utf-8")
ROW = profile("cpu")


def digits_rows(text: str) -> list[list[str]]:
    section = text.split("### `digits`,", 1)[1].split("###", 1)[0].split(evaluators.END, 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_tables_of_the_digits_are_what_the_spaces_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPERSE_HOME", str(REPOSITORY))
    written, found = digits_rows(PAGE), digits_rows(evaluators.tables(ROW))
    assert [row[0] for row in written] == [row[0] for row in found] == 2 * [row[0] for row in found[:3]]
    for before, now in zip(written, found, strict=True):
        for a, b in zip(before[1:], now[1:], strict=True):
            numbers = [[float(n) for n in re.findall(r"\d+\.?\d*", text)] for text in (a, b)]
            assert numbers[0] == pytest.approx(numbers[1], rel=0.01, abs=0.002), (before[0], a, b)


def test_what_is_not_here_stays_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "disperse" / "experiments" / "evaluators.py"
    (tmp_path / "docs").mkdir()
    copy = tmp_path / evaluators.PAGE
    copy.write_text(PAGE, encoding="utf-8")

    def missing(row: object) -> str:
        raise DataError("not here")

    monkeypatch.setattr(evaluators, "__file__", str(page))
    monkeypatch.setattr(evaluators, "tables", missing)
    assert evaluators.main() == 0
    assert copy.read_text(encoding="utf-8") == PAGE
