"""Notebooks at a profile like ``paper``, at toy size: latents, and an evaluator that measures one distance."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from disperse import atomic
from disperse.data import latents, vae
from disperse.data.vae import SCALE, Autoencoder
from disperse.evaluation import Protocol, fid
from disperse.experiments import PROFILES, Profile, dispersive_term, publish, runs, samples_of
from disperse.experiments.runs import jobs_of
from disperse.reproduce import output_folder
from disperse.reproduce.declared import declared
from disperse.rng import stream
from disperse.spec import RunSpec
from disperse.store import Record, complete, seal

from .evaluation.test_fid import installed
from .experiments.cases import record

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
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
    monkeypatch.setattr(runs, "complete_jobs", lambda jobs: [complete(*job) for job in jobs])
    return ROW


def made_up(spec: RunSpec, step: int, protocol: Protocol) -> Record:
    """An evaluation as that of latents: one distance, and no unseen images; of levels where they are asked for."""
    made = record(spec, step, protocol, fd=1 + 0.1 * bool(spec.regularizers) + 0.01 * spec.seed + 1 / step)
    made["metrics"] = {"fd": made["metrics"]["fd"]}
    if protocol.against_training:
        made["levels"] = [
            {"level": (number + 0.5) / 10, "block": 0, "seen_loss": 1.0, "unseen_loss": None, "rms": 1.0,
             "spread": 1.0, "effective_rank": 10.0, "mean_cosine": 0.5, "gradient_ratio": 0.1,
             "gradient_cosine": 0.01 * spec.seed} for number in range(10)
        ]  # fmt: skip
    return seal(made)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_comes_to_its_end(path: Path, row: Profile, home: Path) -> None:
    wanted = declared(path.stem, {"profile": row.name, "num_seeds": 2, "source": "published"})
    publish(row.name, [made_up(spec, *each) for spec, how in jobs_of(wanted.runs, row) for each in how])
    names: dict[str, object] = {"display": lambda *_: None}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), path.stem, "exec"), names)
            if "parameters" in cell["metadata"].get("tags", []):
                names["profile"] = row.name
    assert (output_folder(row.name) / f"{path.stem}.receipt.json").exists()


def test_samples_of_latents_are_pictures(row: Profile) -> None:
    images, asked = samples_of(row.run(0, dispersive_term()), row.name, 20, progress=False)
    assert images.shape == (20, 3, 32, 32)
    assert asked.tolist() == [i % CLASSES for i in range(20)]
    assert images.abs().max() <= 1
