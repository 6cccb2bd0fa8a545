"""Imports go one way, files stay small, and what is said twice agrees."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from .browser.conftest import missing

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "disperse"
# Each line may import from itself and from the lines above.
ORDER = [
    ["errors"], ["atomic", "rng", "device", "folders", "distributed", "plugins"], ["spec"], ["losses"], ["outputs"], ["taps"],
    ["objectives"], ["models"],
    ["regularizers"], ["sampling"], ["data"], ["training", "evaluation"], ["cite"], ["analysis"], ["store"], ["results"], ["experiments"],
    ["plot"], ["reproduce"], ["widgets"], ["arguments", "cli", "__init__", "__main__"],
]  # fmt: skip
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
ONLY_IN = {
    "matplotlib": {"plot", "widgets"}, "seaborn": {"plot", "widgets"}, "papermill": {"reproduce"},
    "nbformat": {"reproduce"}, "nbconvert": {"reproduce"}, "latex2mathml": {"reproduce"},
    "IPython": {"widgets"}, "ipywidgets": {"widgets"}, "anywidget": {"widgets"}, "pandas": {"results", "experiments", "plot"},
}  # fmt: skip
SOURCES = sorted(PACKAGE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[tuple[bool, str]]:
    """(whether it is ours, top name) of each import statement."""
    found = []
    depth = len(path.relative_to(PACKAGE).parts) - 1
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(False, alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.append((False, (node.module or "").split(".")[0]))
        elif isinstance(node, ast.ImportFrom) and node.level == depth + 1:
            names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
            found += [(True, name if name in RANK else "__init__") for name in names]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    for ours, name in imports(path):
        if ours:
            assert RANK[name] <= RANK[room(path)], f"{room(path)} imports {name}"
        elif name in ONLY_IN:
            assert room(path) in ONLY_IN[name]


def test_every_room_has_a_rank() -> None:
    assert {room(path) for path in SOURCES} <= RANK.keys()


@pytest.mark.parametrize(
    "path", [*SOURCES, *sorted((REPOSITORY / "tests").rglob("*.py"))], ids=lambda p: p.name
)
def test_files_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert path.stem not in ("utils", "misc", "helpers")
    if path.is_relative_to(PACKAGE):
        assert ast.get_docstring(ast.parse(text))


def test_importing_the_library_is_light() -> None:
    code = "import sys, disperse; print(*[m for m in sys.modules if '.' not in m])"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert "disperse" in loaded
    heavy = {"matplotlib", "seaborn", "pandas", "umap", "numba", "papermill", "sklearn", "scipy", "IPython"}
    assert not loaded & heavy


def test_training_needs_nothing_of_the_notebooks() -> None:
    absent = ("matplotlib", "seaborn", "pandas", "umap", "papermill", "IPython", "ipywidgets")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent})); import disperse.experiments, disperse.cli"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


# Never installed together with the rest; docs/verified.md says so.
UNPINNED = {"fid"}


def pins() -> dict[str, str]:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def requirements(project: dict) -> dict[str, Requirement]:
    """What the project asks for directly, by name, but for itself."""
    extras = [
        line
        for extra, lines in project["optional-dependencies"].items()
        for line in lines
        if extra not in UNPINNED
    ]
    found = [Requirement(line) for line in [*project["dependencies"], *extras]]
    return {requirement.name: requirement for requirement in found if requirement.name != project["name"]}


def test_every_direct_dependency_is_pinned(project: dict) -> None:
    named = requirements(project)
    assert named.keys() <= pins().keys()
    assert {
        "torch",
        "jupyterlab",
        "ipywidgets",
        "matplotlib",
        "seaborn",
        "umap-learn",
        "papermill",
    } <= named.keys()
    for name, requirement in named.items():
        assert requirement.specifier.contains(pins()[name]), name


# Where the name of an import is not that of its package.
PACKAGES = {
    "sklearn": "scikit-learn", "yaml": "pyyaml", "IPython": "ipython", "umap": "umap-learn", "PIL": "pillow",
    "torch_fidelity": "torch-fidelity", "xdist": "pytest-xdist",
}  # fmt: skip
# What is imported where it is needed, with one line that names the extra where it is missing.
GUARDED = {
    "data/images.py": "images", "data/write_latents.py": "images", "data/vae.py": "latents",
    "evaluation/fid.py": "fid", "analysis/projection.py": "notebooks",
}  # fmt: skip


def test_what_is_imported_is_declared(project: dict) -> None:
    core = {Requirement(line).name for line in project["dependencies"]}
    notebooks = {Requirement(line).name for line in project["optional-dependencies"]["notebooks"]}
    for path in [*SOURCES, *(REPOSITORY / "tests").rglob("*.py"), *(REPOSITORY / "benchmarks").rglob("*.py")]:
        ours = {"disperse", "tests", *(p.stem for p in (REPOSITORY / "tests").glob("*.py"))}
        names = {
            (node.module if isinstance(node, ast.ImportFrom) else alias.name).split(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and node.level == 0)
            for alias in node.names
        }
        foreign = {PACKAGES.get(name, name) for name in names - ours - sys.stdlib_module_names}
        light = path.is_relative_to(PACKAGE) and room(path) not in {
            "figures",
            "widgets",
            "reproduce",
            "experiments",
            "results",
            "plot",
        }
        declared = core if light else core | notebooks
        if path.is_relative_to(PACKAGE) and (extra := GUARDED.get(str(path.relative_to(PACKAGE)))):
            lines = project["optional-dependencies"][extra]
            declared = declared | {Requirement(line).name for line in lines}
        assert foreign <= (declared if path.is_relative_to(PACKAGE) else requirements(project).keys()), path


def test_conda_environment_agrees_with_the_project(project: dict) -> None:
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    plain = [line for line in environment["dependencies"] if isinstance(line, str)]
    (pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    assert environment["name"] == project["name"]
    assert pip == ["-c constraints.txt", "-e .[all]"]
    (python,) = [line for line in plain if line.startswith("python")]
    assert python.startswith("python" + project["requires-python"])
    assert "-c constraints.txt -e '.[all]'" in (REPOSITORY / "Makefile").read_text()


def test_where_a_browser_is_required_its_absence_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPERSE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no Chromium"):
        missing("no Chromium")
    monkeypatch.setenv("DISPERSE_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match="no Chromium, and DISPERSE_BROWSER=required"):
        missing("no Chromium")
    assert "DISPERSE_BROWSER=required" in (REPOSITORY / ".ci" / "run").read_text()


def test_the_version_is_said_once_and_the_same(project: dict) -> None:
    import disperse

    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert project["version"] == disperse.__version__ == citation["version"]
    assert f"## {project['version']}" in (REPOSITORY / "CHANGELOG.md").read_text()


def test_links_of_the_readme_lead_somewhere() -> None:
    for page in (
        "README.md",
        "CONTRIBUTING.md",
        "figures/README.md",
        "docs/plug-in.md",
        "docs/running.md",
        "docs/verified.md",
        "papermill_runs/README.md",
    ):
        path = REPOSITORY / page
        for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{page}: {target}"
