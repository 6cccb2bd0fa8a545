"""A finished run to compare with, or to copy and damage; nothing trains in it."""

from pathlib import Path

import pytest

from .cases import run


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of ``TINY``, trained without a stop."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder)
    return folder
