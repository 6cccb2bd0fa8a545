"""Notebooks run anywhere, say what is wrong before a kernel starts, and are judged by their receipt."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from disperse.errors import ConfigError, RunFailedError
from disperse.experiments import PROFILES
from disperse.regularizers import DispersiveSpec
from disperse.reproduce import check_parameters, execute, output_folder
from disperse.spec import OptimizerSpec

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
START = next(path for path in NOTEBOOKS if path.stem == "00_start_here")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_conventions(path: Path) -> None:
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert cells[0].source.startswith("# ")
    assert not any(cell.outputs or cell.execution_count for cell in code)
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert tagged[0].source.startswith('profile = "cpu"')
    assert all("  # " in line for line in tagged[0].source.splitlines())
    assert code[-1].source.splitlines()[-1].startswith("finish(")
    lengths = [sum(bool(line.strip()) for line in cell.source.splitlines()) for cell in code]
    assert max(lengths) <= 25
    assert sum(lengths) <= 90
    for cell in code:
        assert not re.search(r"^\s*(class|%pip|!)\b|/home|\.\./", cell.source, re.MULTILINE)


def test_plain_papermill_from_any_folder(tmp_path: Path, home: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "papermill", str(START), "out.ipynb", "-p", "profile", "smoke", "--no-progress-bar"],
        cwd=elsewhere, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    receipt = json.loads((output_folder("smoke") / "00_start_here.receipt.json").read_text())
    assert receipt["profile"] == "smoke"
    assert (elsewhere / "out.ipynb").exists()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"profil": "smoke"}, "did you mean profile"),
        ({"num_points": "3"}, "expected int"),
        ({"num_points": True}, "expected int"),
        ({"num_points": 3.0}, "expected int"),
        ({"profile": 1}, "expected str"),
        ({"profile\nimport os": "x"}, "unknown parameter"),
        ({"a=1": 2}, "unknown parameter"),
        ({"__class__": 2}, "unknown parameter"),
    ],
)
def test_parameters_are_checked_before_a_kernel_starts(parameters: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_parameters(START, parameters)


def test_good_parameters_pass() -> None:
    check_parameters(START, {"profile": "smoke", "num_points": 3})


def test_links_lead_to_a_notebook_and_a_heading() -> None:
    texts = {
        path.name: "\n\n".join(
            cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "markdown"
        )
        for path in NOTEBOOKS
    }
    found = [
        link for text in texts.values() for link in re.findall(r"\]\(([^):#]+\.ipynb)(?:#([^)]+))?\)", text)
    ]
    assert len(found) > 40
    for name, section in found:
        headings = re.findall(r"^#+ (.+)$", texts[name], re.MULTILINE)
        assert not section or section in [heading.replace(" ", "-") for heading in headings], (name, section)


def test_links_to_other_files_lead_somewhere() -> None:
    links = [
        (path, link)
        for path in NOTEBOOKS
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
        for link in re.findall(r"\]\(([^):#]+)(?:#[^)]+)?\)", cell.source)
    ]
    assert any(link.endswith(".md") for _, link in links)
    for path, link in links:
        assert (path.parent / link).is_file(), (path.stem, link)


def write(home: Path, *sources: str) -> None:
    cells = [
        nbformat.v4.new_code_cell('profile = "cpu"  # profile'),
        *map(nbformat.v4.new_code_cell, sources),
    ]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, home / "notebooks" / "toy.ipynb")


def test_any_field_can_be_changed_and_nothing_needs_a_browser(home: Path) -> None:
    changes = "regularizers.0.lam=0.25 optimizer.lr=0.003 batch_size=16"
    execute("01_train", {"profile": "smoke", "local_batch": 0, "changes": changes})
    row = PROFILES["smoke"]
    spec = row.spec("infonce-l2", 0, DispersiveSpec(lam=0.25)).replace(
        batch_size=16, optimizer=OptimizerSpec(lr=0.003, warmup_steps=row.warmup_steps)
    )
    receipt = json.loads((output_folder("smoke") / "01_train.receipt.json").read_text())
    assert receipt["outputs"]["fingerprint"] == spec.fingerprint
    cells = nbformat.read(output_folder("smoke") / "01_train.ipynb", as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert not any("widget" in kind for kind in kinds)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 3  # live, curves, samples
    assert all(output.metadata["image/png"]["alt"] for output in pictures)
    text = "".join(output.get("text", "") for output in outputs)
    assert re.search(r"class agreement 0\.\d\d \[0\.\d\d, 0\.\d\d\], 95%, n = 100", text)
    assert "digits-classifier" in text
    assert "floor -2.773" in text


FINISH = 'from disperse.reproduce import finish\nfinish("toy", profile, answer=42)'


def test_success_is_a_receipt_and_failure_keeps_the_last_good_output(home: Path) -> None:
    write(home, FINISH)
    execute("toy", {"profile": "smoke"})
    good = output_folder("smoke") / "toy.ipynb"
    before = good.read_bytes()
    assert json.loads((output_folder("smoke") / "toy.receipt.json").read_text())["outputs"] == {"answer": 42}

    write(home, "raise ValueError('no such luck')", FINISH)
    with pytest.raises(RunFailedError, match=r"toy: ValueError: no such luck.*toy\.failed\.ipynb") as caught:
        execute("toy", {"profile": "smoke"})
    assert caught.value.exit_code == 5
    assert good.read_bytes() == before
    assert (output_folder("smoke") / "toy.failed.ipynb").exists()


def test_a_notebook_that_ends_early_has_failed(home: Path) -> None:
    write(home, FINISH)
    execute("toy", {"profile": "smoke"})
    write(home, "import sys\nsys.exit(0)", FINISH)
    with pytest.raises(RunFailedError, match="toy"):
        execute("toy", {"profile": "smoke"})


def test_unknown_notebook(home: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean variants"):
        execute("variant", {})
