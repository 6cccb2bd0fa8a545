"""Metrics against closed forms, intervals by simulation, the shipped classifier by its record."""

import json
import shutil

import numpy as np
import pytest
import torch
from scipy import linalg

from disperse.analysis import descend, measure
from disperse.data import digits
from disperse.errors import CheckpointError, ConfigError, NonFiniteError
from disperse.evaluation import (
    Gaussian,
    Protocol,
    classify,
    evaluate,
    features,
    fit_gaussian,
    frechet_distance,
    frechet_with_interval,
    log_ratio,
    mean_over_seeds,
    noise_floor,
    precision_recall,
    proportion,
)
from disperse.losses import DispersiveLoss
from disperse.models import build_model
from disperse.rng import stream


def gaussian(mean: np.ndarray, covariance: np.ndarray) -> Gaussian:
    return Gaussian(np.asarray(mean, float), np.asarray(covariance, float), 0)


def random_covariance(seed: int, d: int = 5, rank: int = 5) -> np.ndarray:
    a = stream("covariance", seed).standard_normal((d, rank))
    return a @ a.T


def test_frechet_closed_forms() -> None:
    zero, eye = np.zeros(3), np.eye(3)
    a = gaussian(zero, eye)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(a, gaussian(zero + 2, eye)) == pytest.approx(12)
    assert frechet_distance(a, gaussian(zero, 9 * eye)) == pytest.approx(3 * (3 - 1) ** 2)
    diagonal = gaussian([1, 0, 0], np.diag([4.0, 0.25, 1.0]))
    assert frechet_distance(a, diagonal) == pytest.approx(1 + 1 + 0.25)


def test_frechet_equals_the_matrix_root_and_is_symmetric() -> None:
    a, b = (gaussian(np.arange(5) * s, random_covariance(s)) for s in (1, 2))
    root = linalg.sqrtm(a.covariance @ b.covariance).real
    expected = ((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance + b.covariance - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_singular_covariances() -> None:
    a, b = (gaussian(np.zeros(5), random_covariance(s, rank=2)) for s in (1, 2))
    assert np.isfinite(frechet_distance(a, b))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-7)


def test_fit_refuses_what_has_no_covariance() -> None:
    with pytest.raises(ConfigError):
        fit_gaussian(np.zeros((1, 3)))
    with pytest.raises(NonFiniteError):
        fit_gaussian(np.array([[0.0, np.nan], [1, 2]]))


def test_jackknife_interval_has_about_the_spread_of_fresh_samples() -> None:
    reference = gaussian(np.full(4, 0.5), np.eye(4))
    estimates = [
        frechet_with_interval(stream("jackknife", i).standard_normal((200, 4)), reference) for i in range(40)
    ]
    spread = np.std([e.value for e in estimates])
    reach = np.mean([(e.high - e.low) / 2 for e in estimates])
    assert 1.3 < reach / spread < 3.0  # 95% of a normal is 1.96


def test_estimates_by_hand() -> None:
    half = proportion(50, 100)
    assert (half.value, round(half.low, 3), round(half.high, 3)) == (0.5, 0.404, 0.596)
    three = mean_over_seeds([1.0, 2.0, 3.0])
    assert three.value == 2
    assert three.high - 2 == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    assert np.isnan(mean_over_seeds([1.0]).low)
    paired = log_ratio({0: 2.0, 1: 4.0, 7: 1.0}, {0: 1.0, 1: 2.0})
    assert (paired.value, paired.n) == (pytest.approx(np.log(2)), 2)
    assert paired.high == pytest.approx(np.log(2))
    with pytest.raises(ConfigError, match="no seed in common"):
        log_ratio({0: 1.0}, {1: 1.0})


def test_precision_and_recall_on_planted_sets() -> None:
    real = stream("real").standard_normal((200, 3))
    same = precision_recall(real, real)
    assert [e.value for e in same] == [1, 1]
    assert [e.value for e in precision_recall(real + 100, real)] == [0, 0]
    two_modes = np.concatenate([real, real + 50])
    precision, recall = precision_recall(real, two_modes)
    assert precision.value == 1
    assert recall.value == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ConfigError, match="k = 200"):
        precision_recall(real, real, k=200)


def test_the_classifier_is_the_one_of_its_record() -> None:
    record = json.loads(features.WEIGHTS.with_suffix(".json").read_text())
    held_out = digits("held-out")
    right = (classify(held_out.images)[1].argmax(1) == held_out.labels).double().mean().item()
    assert right == pytest.approx(record["accuracy"]["held_out"])
    assert right >= 0.98


def test_damaged_classifier_weights_are_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (features.WEIGHTS, features.WEIGHTS.with_suffix(".json")):
        shutil.copy(path, tmp_path)
    copy = tmp_path / features.WEIGHTS.name
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    monkeypatch.setattr(features, "WEIGHTS", copy)
    with pytest.raises(CheckpointError, match="SHA-256"):
        features.digits_classifier.__wrapped__()


def test_noise_floor_falls_with_n_and_says_when_there_are_too_few_images() -> None:
    small, large = (noise_floor(Protocol(num_samples=n)) for n in (200, 1000))
    assert 0 < large.low < large.value < small.value
    with pytest.raises(ConfigError, match="the train split has"):
        noise_floor(Protocol(num_samples=2000))


def test_evaluation_is_deterministic_and_complete() -> None:
    model = build_model("SiT-Nano/2", depth=1).eval()
    protocol = Protocol(num_samples=60, guided_samples=20, num_steps=2)
    first, again = evaluate(model, protocol), evaluate(model, protocol)
    assert first == again
    assert set(first) == {"fd", "precision", "recall", "agreement", "guided_agreement"}
    for metric in first.values():
        assert metric["low"] <= metric["value"] <= metric["high"]
        assert metric["n"] > 0


def test_the_card_names_everything() -> None:
    card = Protocol(num_samples=77, solver="euler", num_steps=9, guidance=1.25, weights="raw").card()
    for part in (
        "64 features",
        "n = 77",
        "held-out",
        "euler",
        "9 steps",
        "9 NFE",
        "guidance 1.25",
        "raw",
        "seeds 0–76",
    ):
        assert part in card


def test_measures_on_known_features() -> None:
    generator = torch.Generator().manual_seed(0)
    wide = measure(torch.randn(64, 5000, generator=generator))
    assert wide.rms == pytest.approx(1, abs=0.01)
    assert wide.effective_rank == pytest.approx(63, abs=1)
    assert abs(wide.mean_cosine) < 0.01
    line = torch.randn(64, 1, generator=generator) * torch.ones(1, 50)
    assert measure(line).effective_rank == pytest.approx(1, abs=1e-3)
    same = measure(torch.ones(8, 10))
    assert (same.spread, same.mean_cosine) == (0, pytest.approx(1))
    shifted = measure(torch.randn(64, 500, generator=generator) + 10)
    assert shifted.mean_cosine > 0.98
    assert shifted.effective_rank > 50


def test_descending_lowers_the_loss() -> None:
    points, loss = 0.1 * torch.randn(20, 2, generator=torch.Generator().manual_seed(0)), DispersiveLoss()
    path = descend(points, loss, num_steps=20)
    assert path.shape == (21, 20, 2)
    assert torch.equal(path[0], points)
    assert loss(path[-1]) < loss(path[0]) - 0.1
