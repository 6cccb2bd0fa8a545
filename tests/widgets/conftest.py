"""Three runs of a few steps: SiT with and without the term, and MeanFlow."""

from pathlib import Path

import pytest

from disperse.experiments import dispersive_term, profile
from disperse.training import train


@pytest.fixture(scope="package")
def store(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of the runs: baseline, ℓ2, MeanFlow."""
    row = profile("smoke")
    steps = {"num_steps": 4, "milestones": (2,), "checkpoint_interval": 2}
    specs = [
        row.spec("baseline", 0),
        row.spec("infonce-l2", 0, dispersive_term("infonce-l2")),
        row.spec("meanflow", 0, system="meanflow"),
    ]
    home = tmp_path_factory.mktemp("store")
    folders = [home / "runs" / spec.run_id for spec in specs]
    for spec, folder in zip(specs, folders, strict=True):
        train(spec.replace(**steps), folder, progress=False)
    return folders


@pytest.fixture
def runs(store: list[Path], monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The same, in the store that names are looked up in."""
    monkeypatch.setenv("DISPERSE_HOME", str(store[0].parents[1]))
    return store
