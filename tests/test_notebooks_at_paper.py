"""Notebooks at a profile like ``paper``, at toy size: latents, and an evaluator that measures one distance."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from disperse import atomic, figures, load_model, sample
from disperse.data import latents, vae
from disperse.data.vae import SCALE, Autoencoder
from disperse.errors import ConfigError
from disperse.evaluation import fid
from disperse.experiments import (
    ITEMS,
    PROFILES,
    Profile,
    item,
    looks,
    publish,
    run_folder,
    runner,
    runs,
)
from disperse.reproduce import output_folder
from disperse.rng import stream
from disperse.spec import RunSpec
from disperse.store import complete, seal

from .evaluation.test_fid import installed
from .figures.test_published import convergence, evaluations
from .figures.test_published import looks as looked_at

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
# They look at more of their runs than what is made up by hand.
TRAINED = {"blocks", "contrastive_to_dispersive"}
CLASSES, IMAGES = 10, 120
ROW = dataclasses.replace(
    PROFILES["paper"], name="latents", model="SiT-Nano/2", sizes=("Pico", "Nano"), subsets=(10,),
    larger_meanflow=("Pico", 1), longer=("Pico", 2), batch_size=32, num_steps=10, milestones=(5,),
    sampler_steps=8, second_steps=5, num_samples=30, stamp="TOY", reference="stats", precision="fp32", gpus=0,
    overrides={"input_size": 4, "in_channels": 4, "num_classes": CLASSES},
)  # fmt: skip


@pytest.fixture
def row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """The profile with its data; stand-ins for the autoencoder and for Inception."""
    monkeypatch.setitem(PROFILES, ROW.name, ROW)
    monkeypatch.setenv("DISPERSE_DATA", str(tmp_path))
    latents.latent_set.cache_clear()
    folder = tmp_path / "imagenet256-latents"
    folder.mkdir()
    for number, file in enumerate(latents.FILES[:2]):
        moments = stream("moments", number).standard_normal((IMAGES, 8, 4, 4))
        moments[:, 4:] = np.abs(moments[:, 4:])
        np.save(folder / file, moments.astype(np.float16))
    np.save(folder / latents.FILES[2], np.arange(IMAGES) % CLASSES)
    record = {file: atomic.sha256_file(folder / file) for file in latents.FILES}
    (folder / "record.json").write_text(json.dumps(record))
    np.savez(tmp_path / "stats.npz", mu=np.zeros(4), sigma=np.eye(4))

    def decode(z: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate((z * SCALE)[:, :1], scale_factor=8).repeat(1, 3, 1, 1)

    def read(images: torch.Tensor) -> torch.Tensor:
        flat = images.flatten(1).float()
        return torch.stack([flat.mean(1), flat.std(1), flat[:, 0], flat[:, -1]], 1)

    installed(monkeypatch, "torch_fidelity")
    monkeypatch.setattr(fid, "FEATURES", 4)
    monkeypatch.setattr(fid, "check_autoencoder", lambda: tmp_path)
    monkeypatch.setattr(fid, "inception_features", lambda device: read)
    for module in (fid, vae):
        monkeypatch.setattr(module, "autoencoder", lambda device: Autoencoder(lambda x: (x, x), decode))
    for module in (looks, runner):  # stand-ins are of this process
        monkeypatch.setattr(module, "complete_all", train_here)
    monkeypatch.setattr(runs, "complete_jobs", lambda jobs: [complete(*job) for job in jobs])
    return ROW


def train_here(specs: list[RunSpec], row: Profile) -> None:
    for spec in specs:
        complete(spec, row.protocol_of(spec.objective.kind))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_comes_to_its_end(path: Path, row: Profile) -> None:
    every = [*evaluations(*ITEMS, row=row), *convergence(row=row), *looked_at(row=row)]
    publish(row.name, [seal(each | {"metrics": {"fd": each["metrics"]["fd"]}}) for each in every])
    names: dict[str, object] = {"display": lambda *_: None}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), path.stem, "exec"), names)
            if "parameters" in cell["metadata"].get("tags", []):
                names["profile"] = row.name
                if path.stem in TRAINED:
                    names |= {"source": "runs", "num_seeds": 1}
    assert (output_folder(row.name) / f"{path.stem}.receipt.json").exists()


def test_latents_are_decoded_and_what_needs_a_classifier_is_left_out(row: Profile, tmp_path: Path) -> None:
    cells = item("large_pair", row.name, (0,))
    train_here([cell.spec for cell in [*cells, *item("pair", row.name, (0,))]], row)
    drawn = figures.draw_from(cells[0], row, 20)
    assert drawn.images.shape == (20, 3, 32, 32)
    spread = sample(load_model(run_folder(cells[0].spec), step=10, weights=row.weights), range(20),
                    torch.arange(20) % CLASSES, solver=row.solver, num_steps=row.sampler_steps)  # fmt: skip
    grey = spread[:, :1].clamp(-1, 1)  # the stand-in repeats the first channel
    torch.testing.assert_close(drawn.images[:, :, ::8, ::8], grey.repeat(1, 3, 1, 1))
    assert drawn.agreement(range(20)) is None
    with pytest.raises(ConfigError, match="a classifier chooses them"):
        figures.draw_curated([drawn], row, tmp_path)
    with pytest.raises(ConfigError, match="profile latents has no held-out images"):
        figures.draw_nearest(row, tmp_path)
    paths = figures.draw_from_weights(row.name, folder=tmp_path / "out")
    assert [path.stem for path in paths[:3]] == ["samples", "samples_pairs", "representations"]
