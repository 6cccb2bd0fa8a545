"""Every test works in a folder of its own; nothing reaches the repository's runs and figures."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from .ranks import Ranks

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One worker takes all browser tests, first, so that one server and one browser are enough.

    The mark ``xdist_group`` would say the same, but pytest-xdist 3.8 can't pass it on with pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "browser" if nodeid.startswith("tests/browser/") else nodeid

    return Scheduling(config, log) if config.getvalue("dist") == "load" else None


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store."""
    folder = tmp_path / "home"
    monkeypatch.setenv("DISPERSE_HOME", str(folder))
    return folder


@pytest.fixture
def home(store: Path) -> Path:
    """A store with the repository's notebooks."""
    shutil.copytree(REPOSITORY / "notebooks", store / "notebooks")
    return store


@pytest.fixture(autouse=True)
def _seed() -> None:
    """A test that draws numbers draws the same ones each time."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """Two processes that work together."""
    both = Ranks(tmp_path_factory.mktemp("ranks"))
    yield both
    both.close()
