"""Methods of one file: each is trained, saved, resumed, sampled, and shown in a table and a picture."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from disperse import plugins, sample
from disperse.cite import cite
from disperse.data import DATASETS
from disperse.errors import ConfigError
from disperse.evaluation import Protocol
from disperse.experiments.profiles import PROFILES
from disperse.losses import VARIANTS
from disperse.objectives import OBJECTIVES
from disperse.regularizers import REGULARIZERS
from disperse.results import changes, table
from disperse.spec import OBJECTIVE_SPECS, TERM_SPECS, OptimizerSpec, RunSpec
from disperse.store import complete, records, run_folder
from disperse.training import load_weights

VARIANT = '''
"""A variant of the loss: rows repel each other by the inverse of their distance."""
from disperse.losses import Variant, squared_distances, variant


def coulomb(z, *, beta=1.0, diagonal="keep", scale="dim", weights=None, share_of=None):
    distances = squared_distances(z.float(), share_of) / (share_of or z.shape[-1])
    return (beta / (distances + beta)).mean(dim=(-2, -1))


variant(Variant("coulomb", coulomb, "beta", 1.0, cites={"coulomb1785": "@book{coulomb1785}"}))
'''
OBJECTIVE = '''
"""Flow matching with an absolute error."""
from typing import Literal

from disperse.objectives import Interpolant, Losses, SiTSpec, objective
from disperse.spec import Tagged


class AbsoluteSpec(Tagged, SiTSpec):
    kind: Literal["absolute"] = "absolute"


@objective
class Absolute(Interpolant):
    Spec = AbsoluteSpec
    cites = {"laplace1774": "@article{laplace1774}"}

    def losses(self, model, forward, *, teacher=None):
        error = forward.prediction - (forward.x - forward.draws.eps)
        return Losses(error.abs().flatten(1).mean(dim=1))
'''
REGULARIZER = '''
"""Shorter tokens."""
from typing import Literal

from disperse.regularizers import Regularizer, mean_over_blocks, regularizer
from disperse.spec import Tagged, TermSpec


class ShortSpec(Tagged, TermSpec):
    kind: Literal["short"] = "short"
    power: float = 2.0


@regularizer
class Short(Regularizer):
    Spec = ShortSpec

    def forward(self, first, second=None, target=None):
        return mean_over_blocks([first.features[b].abs().pow(self.spec.power).mean() for b in self.blocks], "short")
'''
DATA = '''
"""Digits upside down, and a profile for them."""
from disperse.data import ImageSet, dataset, digits
from disperse.experiments.profiles import PROFILES, Profile


@dataset("turned", train_images=1297)
def turned(split):
    images = digits(split)
    return ImageSet(images.images.flip(-2), images.labels)


PROFILES["turned"] = Profile(
    name="turned", model="SiT-Nano/2", sizes=("Nano",), subsets=(100,), larger_meanflow=("Nano", 1), longer=("Nano", 1),
    batch_size=16, lr=2e-3, warmup_steps=2, num_steps=5, milestones=(3,), solver="heun", sampler_steps=2,
    num_samples=20, guided_samples=0, weights="power-0.1", data="turned", evaluator="pixels")
'''
# What is entered → its file, and the run that shows it beside one without.
OWN: dict[str, tuple[str, dict[str, Any]]] = {
    "variant": (VARIANT, {"regularizers": [{"variant": "coulomb", "options": [["beta", 0.5]]}]}),
    "objective": (OBJECTIVE, {"objective": {"kind": "absolute"}}),
    "regularizer": (REGULARIZER, {"regularizers": [{"kind": "short", "power": 1.0}]}),
    "data set": (DATA, {"data": "turned"}),
}
BASE: dict[str, Any] = {
    "name": "own", "model": "SiT-Nano/2", "overrides": {"hidden_size": 16, "num_heads": 2}, "batch_size": 16,
    "num_steps": 5, "milestones": [3], "checkpoint_interval": 1, "log_interval": 1, "device": "cpu",
}  # fmt: skip


@pytest.fixture
def own(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of ``OWN``, named in the environment; what it enters is gone afterwards."""
    path = tmp_path / f"{request.param.replace(' ', '_')}.py"
    path.write_text(OWN[request.param][0], encoding="utf-8")
    monkeypatch.setenv(plugins.VARIABLE, str(path))
    monkeypatch.setenv("DISPERSE_HOME", str(tmp_path / "home"))
    for each in (DATASETS, PROFILES, VARIANTS, OBJECTIVES, REGULARIZERS, OBJECTIVE_SPECS, TERM_SPECS):
        for name in ("coulomb", "absolute", "short", "turned"):
            monkeypatch.setitem(each, name, None)  # restored to nothing at the end
            del each[name]
    plugins._import.cache_clear()
    return path


@pytest.mark.parametrize("own", OWN, indirect=True)
def test_one_file_is_all_that_a_method_needs(own: Path, request: pytest.FixtureRequest) -> None:
    values = OWN[request.node.callspec.params["own"]][1]
    spec = RunSpec.parse({**BASE, **values})
    base = RunSpec.parse({**BASE, "name": "base", "data": spec.data})
    protocol = Protocol(evaluator="pixels", data=spec.data, num_samples=20, guided_samples=0, num_steps=2)
    for each in (base, spec):
        complete(each.replace(num_steps=3), protocol)
        complete(each, protocol)  # goes on from step 3
    assert RunSpec.parse(json.loads(json.dumps(spec.identity))).fingerprint == spec.fingerprint
    model = load_weights(run_folder(spec), spec, 5, "power-0.1", "cpu")
    assert sample(model, [0, 1], 3, num_steps=2).isfinite().all()
    cite(spec)
    rows = table([*records(spec, protocol), *records(base, protocol)])
    assert list(rows.step) == [3, 5, 3, 5]
    last = rows[rows.step == 5]
    mine, theirs = (last[last.fingerprint == each.fingerprint] for each in (spec, base))
    if spec.data != "turned":
        assert spec.fingerprint != base.fingerprint
        (change,) = changes(mine, theirs, "held_out_loss").to_dict("records")
        assert change["n"] == 1
        assert change["value"] != 0
    assert set(rows.data) == {spec.data}


def test_another_process_finds_it_by_the_variable(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(REGULARIZER, encoding="utf-8")
    command = [sys.executable, "-m", "disperse", "train", "--profile", "smoke", "--variant", "none", "--steps", "3",
               "--name", "mine", "--set", 'regularizers=[{"kind": "short"}]']  # fmt: skip
    environment = os.environ | {"DISPERSE_HOME": str(tmp_path)}
    named = {plugins.VARIABLE: str(tmp_path / "mine.py")}
    done = subprocess.run(command, env=environment | named, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    other = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert other.returncode == 2
    assert "regularizers.0.kind = 'short': expected one of" in other.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "is no Python file"),
        ("1/0", "ZeroDivisionError: division by zero"),
        ("import nothing_such", "No module"),
    ],
)
def test_files_that_can_not_be_imported_are_named(
    text: str | None, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "broken.py"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv(plugins.VARIABLE, str(path))
    with pytest.raises(ConfigError, match=f"DISPERSE_METHODS: .*broken.py.*{says}"):
        RunSpec(objective="unheard-of")  # type: ignore[arg-type]


def test_a_name_that_is_taken_is_refused() -> None:
    namespace: dict[str, Any] = {"__name__": "elsewhere"}
    with pytest.raises(ConfigError, match=r"kind = 'sit': taken by .*Interpolant"):
        exec(OBJECTIVE.replace('"absolute"', '"sit"'), namespace)
    with pytest.raises(ConfigError, match="variant = 'hinge': taken by hinge"):
        exec(VARIANT.replace('Variant("coulomb"', 'Variant("hinge"'), namespace)
    with pytest.raises(ConfigError, match="data set 'digits': taken"):
        exec(DATA.replace('"turned", train', '"digits", train'), namespace)


def test_a_profile_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from disperse.experiments import profile

    path = tmp_path / "rows.py"
    path.write_text(DATA, encoding="utf-8")
    monkeypatch.setenv(plugins.VARIABLE, str(path))
    plugins._import.cache_clear()
    row = profile("turned")
    spec = row.spec("mine", 0)
    assert (spec.data, spec.num_steps, spec.optimizer) == (
        "turned",
        5,
        OptimizerSpec(lr=2e-3, warmup_steps=2),
    )
    assert row.protocol.evaluator == "pixels"
    PROFILES.pop("turned"), DATASETS.pop("turned")
