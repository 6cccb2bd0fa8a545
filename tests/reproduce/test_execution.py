"""Notebooks that die, hang or point elsewhere fail by name, and leave the last good output as it was."""

import json
import os
from pathlib import Path

import nbformat
import pytest

from disperse.errors import ConfigError, RunFailedError
from disperse.reproduce import check_parameters, execute, notebooks, output_folder

from . import toys

GOOD = '{"cells": "the last good output"}'


@pytest.fixture(autouse=True)
def _folder(store: Path) -> None:
    (store / "notebooks").mkdir(parents=True)


def write(store: Path, *sources: str, parameters: str = 'profile = "cpu"\nvalue = 0.5\ncount = 3') -> Path:
    """A notebook "toy" with these cells, and an earlier good output of it."""
    toys.write(store, "toy", *sources, parameters=parameters, finish=False)
    output = output_folder("smoke") / "toy.ipynb"
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(GOOD)
    return output


RECEIPT = """
import json, os, pathlib
path = pathlib.Path(os.environ["DISPERSE_HOME"]) / "papermill_runs/here/smoke/toy.receipt.json"
path.write_text(json.dumps({"token": os.environ["DISPERSE_NOTEBOOK_TOKEN"], "got": [value, count]}))
"""


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("1 / 0", r"ZeroDivisionError: division by zero in cell \[3\]"),
        ("raise RuntimeError('first\\nlast')", "RuntimeError: first last"),
        ("import os; os.kill(os.getpid(), 9)", "Kernel died"),
        ("import time; time.sleep(60)", "timed out|timeout"),
        ("raise SystemExit(0)", "SystemExit|without its last cell"),
        ("pass", "without its last cell"),  # and no receipt
        (
            RECEIPT.replace('os.environ["DISPERSE_NOTEBOOK_TOKEN"]', '"of another time"'),
            "without its last cell",
        ),
    ],
    ids=["raises", "raises two lines", "killed", "hangs", "exits", "no receipt", "an old receipt"],
)
def test_a_notebook_that_fails(store: Path, cell: str, reason: str) -> None:
    good = write(store, cell)
    with pytest.raises(RunFailedError, match=reason) as caught:
        execute("toy", {"profile": "smoke"}, timeout_s=4)
    assert caught.value.exit_code == 5
    message = str(caught.value)
    assert message.startswith("toy: ")
    assert "\n" not in message
    assert "toy.failed.ipynb" in message
    assert "\x1b" not in message
    assert good.read_text() == GOOD
    assert {path.name for path in good.parent.iterdir()} - {"toy.receipt.json"} == {
        "toy.ipynb",
        "toy.failed.ipynb",
    }
    assert notebooks.TOKEN not in os.environ


def test_a_notebook_that_succeeds_gets_its_parameters(store: Path) -> None:
    good = write(store, RECEIPT)
    (good.parent / "toy.failed.ipynb").write_text("an old failure")
    assert execute("toy", {"profile": "smoke", "value": 2, "count": 7}) > 0
    assert json.loads((good.parent / "toy.receipt.json").read_text())["got"] == [2, 7]
    assert {path.name for path in good.parent.iterdir()} == {"toy.ipynb", "toy.receipt.json"}
    nbformat.validate(nbformat.read(good, as_version=4))


@pytest.mark.parametrize("profile", ["../elsewhere", "/tmp/elsewhere", "smok", "{count}", "a\0b", ""])
def test_a_profile_that_is_none_makes_no_folder(
    store: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    write(store, RECEIPT)
    before = sorted(store.rglob("*"))
    with pytest.raises(ConfigError, match="profile = "):
        execute("toy", {"profile": profile})
    assert sorted(store.rglob("*")) == before


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"value": float("nan")}, "value = nan: expected float"),
        ({"value": "0.5"}, "value = '0.5': expected float"),
        ({"value": True}, "value = True: expected float"),
        ({"count": 1.0}, "count = 1.0: expected int"),
        ({"count": True}, "count = True: expected int"),
        ({"count": None}, "count = None: expected int"),
        ({"vlaue": 1.0}, "did you mean value"),
        ({"import": 1}, "unknown parameter 'import'"),
        ({"value; import os": 1.0}, "unknown parameter"),
        ({"value=1\nimport os": 1.0}, r"unknown parameter 'value=1\\nimport os'"),
        ({"": 1.0}, "unknown parameter ''"),
    ],
)
def test_parameters_that_do_not_fit_start_no_kernel(
    store: Path, monkeypatch: pytest.MonkeyPatch, parameters: dict[str, object], message: str
) -> None:
    import papermill

    write(store, RECEIPT)
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: pytest.fail("a kernel was started"))
    with pytest.raises(ConfigError, match=message) as caught:
        execute("toy", {"profile": "smoke", **parameters})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "cell",
    [
        "profile = 'cpu'\nimport os",
        "profile = print('hello')",
        "profile: str = 'cpu'",
        "x = y = 1",
        "(a, b) = 1, 2",
    ],
)
def test_a_parameters_cell_holds_literals_only(
    store: Path, capsys: pytest.CaptureFixture[str], cell: str
) -> None:
    write(store, parameters=cell)
    with pytest.raises(ConfigError, match="literals only"):
        check_parameters(store / "notebooks" / "toy.ipynb", {})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["../toy", "toy.ipynb", "", "sub/toy"])
def test_a_notebook_is_named_not_pointed_at(store: Path, name: str) -> None:
    write(store)
    (store / "toy.ipynb").write_text("{}")
    with pytest.raises(ConfigError, match="expected one of toy"):
        execute(name, {})
