"""FID around its networks, which are not here: statistics, batches, and one line for what is missing."""

import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from disperse.data.vae import SCALE, Autoencoder
from disperse.errors import ConfigError, DataError
from disperse.evaluation import (
    Protocol,
    check_evaluator,
    evaluate,
    fid,
    fit_gaussian,
    frechet_distance,
    noise_floor,
)
from disperse.models import build_model
from disperse.rng import normal, stream
from disperse.sampling import sample

PROTOCOL = Protocol(
    evaluator=fid.EVALUATOR, data="imagenet256-latents", reference="stats", num_samples=30, guided_samples=0,
    solver="euler", num_steps=2, weights="constant-0.9999",
)  # fmt: skip


def installed(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An empty module, as if its package were there."""
    module = types.ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Statistics of four features, with both extras as if installed."""
    monkeypatch.setenv("DISPERSE_DATA", str(tmp_path))
    monkeypatch.setattr(fid, "FEATURES", 4)
    monkeypatch.setattr(fid, "BATCH", 8)
    installed(monkeypatch, "torch_fidelity")
    monkeypatch.setattr(fid, "check_autoencoder", lambda: tmp_path)
    root = stream("statistics").standard_normal((4, 4))
    np.savez(tmp_path / "stats.npz", mu=stream("mu").standard_normal(4), sigma=root @ root.T)
    return tmp_path


def test_fid_is_the_distance_of_features_of_decoded_samples(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def decode(z: torch.Tensor) -> torch.Tensor:
        seen.append(len(z))
        return (z * SCALE).repeat(1, 3, 1, 1)  # grey pictures of what was sampled

    def read(images: torch.Tensor) -> torch.Tensor:
        assert images.dtype == torch.uint8
        flat = images.flatten(1).float()
        return torch.stack([flat.mean(1), flat.std(1), flat[:, 0], flat[:, -1]], 1) / 100

    monkeypatch.setattr(fid, "autoencoder", lambda device: Autoencoder(lambda x: (x, x), decode))
    monkeypatch.setattr(fid, "inception_features", lambda device: read)
    model = build_model("SiT-Nano/4", hidden_size=16, depth=1, num_heads=2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.add_(0.1 * normal(parameter.shape, "awake", name))
    found = evaluate(model, PROTOCOL)
    assert seen == [8, 8, 8, 6]
    images = sample(model, range(30), [i % 10 for i in range(30)], solver="euler", num_steps=2)
    features = read(fid.pixels(images.repeat(1, 3, 1, 1))).double().numpy()
    with np.load(folder / "stats.npz") as file:
        reference = fid.Gaussian(file["mu"], file["sigma"], 0)
    assert set(found) == {"fd"}
    assert found["fd"]["value"] == pytest.approx(
        frechet_distance(fit_gaussian(features), reference), rel=1e-3
    )
    card = PROTOCOL.card()
    for part in (fid.EVALUATOR, "against stats", "n = 30", "euler", "EMA constant-0.9999"):
        assert part in card
    assert noise_floor(PROTOCOL) is None  # statistics, no real images


def test_pixels_are_those_of_the_published_code() -> None:
    x = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
    assert fid.pixels(x).tolist() == [0, 0, 64, 128, 191, 255, 255]


def damaged(**arrays: Any) -> Any:
    return lambda path: np.savez(path, **arrays)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), r"reference = stats: no .*stats\.npz"),
        (lambda path: path.write_bytes(b"no zip"), "cannot be read|not an .npz"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), "cannot be read|not an .npz"),
        (damaged(mu=np.zeros(4)), "cannot be read"),
        (damaged(mu=np.zeros(3), sigma=np.eye(3)), r"mu \(3,\), sigma \(3, 3\); expected those of 4 features"),
        (damaged(mu=np.zeros(4), sigma=np.full((4, 4), np.nan)), "NaN"),
    ],
    ids=["gone", "no zip", "cut", "no sigma", "shape", "nan"],
)  # fmt: skip
def test_damaged_statistics(folder: Path, spoil: Any, message: str) -> None:
    check_evaluator(PROTOCOL)
    spoil(folder / "stats.npz")
    with pytest.raises(DataError, match=message) as caught:
        check_evaluator(PROTOCOL)
    assert "\n" not in str(caught.value)


def test_statistics_are_looked_for_in_one_folder(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPERSE_DATA", str(inner))
        with pytest.raises(DataError, match=r"reference = \.\./stats"):
            fid.read_statistics("../stats")


def test_what_is_missing_is_said_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch_fidelity", None)
        with pytest.raises(ConfigError, match=r"torch-fidelity not installed.*disperse\[fid\]"):
            check_evaluator(PROTOCOL)
    # torchvision of another torch raises RuntimeError on import.
    broken = types.ModuleType("torch_fidelity.feature_extractor_inceptionv3")

    def missing(name: str) -> Any:
        raise RuntimeError("operator torchvision::nms does not exist\nat some place")

    broken.__getattr__ = missing  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, broken.__name__, broken)
    with pytest.raises(ConfigError, match=r"cannot be used \(operator torchvision::nms") as caught:
        fid.inception_features(torch.device("cpu"))
    assert "\n" not in str(caught.value)
