"""Every test works in a folder of its own; nothing reaches the repository's runs and figures."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from .ranks import Ranks

REPOSITORY = Path(__file__).resolve().parents[1]


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


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """Two processes that work together."""
    both = Ranks(tmp_path_factory.mktemp("ranks"))
    yield both
    both.close()
