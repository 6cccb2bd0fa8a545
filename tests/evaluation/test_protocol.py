"""The shipped classifier, the noise floor, and an evaluation that repeats."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from disperse.atomic import sha256_file
from disperse.data import digits
from disperse.errors import CheckpointError, ConfigError, NonFiniteError
from disperse.evaluation import Protocol, classify, evaluate, features, floors, noise_floor, protocol
from disperse.evaluation.features import EVALUATOR
from disperse.models import DiffusionTransformer, build_model
from disperse.rng import normal
from disperse.sampling import SamplerConfig

WEIGHTS = features.FOLDER / "digits_classifier.safetensors"


@pytest.fixture(scope="module")
def model() -> DiffusionTransformer:
    model = build_model("SiT-Nano/2", hidden_size=32, num_heads=2, depth=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * normal(parameter.shape, "awake", name))
    return model


def test_accuracy_on_images_it_never_saw() -> None:
    held_out = digits("held-out")
    found, scores = classify(held_out.images)
    right = (scores.argmax(1) == held_out.labels).double().mean().item()
    record = json.loads(WEIGHTS.with_suffix(".json").read_text())
    assert right >= 0.98
    assert right == pytest.approx(record["accuracy"]["held_out"], abs=1e-9)
    assert found.shape == (500, 64)
    assert found.min() == 0
    shuffled = held_out.labels.roll(1)
    assert (scores.argmax(1) == shuffled).double().mean() < 0.3  # the accuracy can be low


def test_features_do_not_depend_on_the_batch_and_see_the_data_range_only() -> None:
    images = digits("held-out").images[:20]
    whole = classify(images)[0]
    torch.testing.assert_close(classify(images, batch_size=3)[0], whole, rtol=0, atol=1e-5)
    assert torch.equal(classify(images * 3)[0], classify((images * 3).clamp(-1, 1))[0])
    assert [part.shape for part in classify(images[:0])] == [(0, 64), (0, 10)]
    assert not whole.requires_grad


@pytest.mark.parametrize(
    "images",
    [torch.zeros(2, 8, 8, 1), torch.zeros(2, 8, 8), torch.zeros(2, 1, 32, 32), torch.zeros(2, 3, 8, 8),
     torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.zeros(2, 1, 8, 8, dtype=torch.int64)],
    ids=lambda x: f"{tuple(x.shape)}-{x.dtype}",
)  # fmt: skip
def test_images_that_would_be_misread(images: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"^images: expected .*\(n, 1, 8, 8\)"):
        classify(images)


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The weights and their record where they can be damaged; the cached classifier is left alone."""
    for path in (WEIGHTS, WEIGHTS.with_suffix(".json")):
        shutil.copy(path, tmp_path)
    monkeypatch.setattr(features, "FOLDER", tmp_path)
    return tmp_path / WEIGHTS.name


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        flip,
        lambda path: path.write_bytes(path.read_bytes()[:-4]),
        lambda path: path.write_bytes(b""),
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".json").unlink(),
        lambda path: path.with_suffix(".json").write_text('{"sha256": '),
        lambda path: path.with_suffix(".json").write_text("{}"),
        lambda path: path.with_suffix(".json").write_text("[]"),
    ],
    ids=["bit", "cut", "empty", "gone", "no record", "cut record", "record without hash", "other record"],
)
def test_damaged_weights_are_refused(copied: Path, damage: Any) -> None:
    assert features.network.__wrapped__(EVALUATOR) is not None
    damage(copied)
    with pytest.raises(CheckpointError, match=copied.stem) as caught:
        features.network.__wrapped__(EVALUATOR)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 3


def test_noise_floor_is_positive_repeats_and_falls_with_n() -> None:
    values = [noise_floor(Protocol(num_samples=n), repeats=5) for n in (100, 300, 1000)]
    assert values[0].value > values[1].value > values[2].value > 0
    floors.real_distance.cache_clear()
    assert values[2] == noise_floor(Protocol(num_samples=1000), repeats=5)
    for value in values:
        assert value.low <= value.value <= value.high
    with pytest.raises(ConfigError, match=r"num_samples = 1250: .*125 real images"):
        noise_floor(Protocol(num_samples=1250))


@pytest.mark.parametrize("n", [15, 100, 101, 109])
def test_noise_floor_uses_as_many_images_as_it_says(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, rows = floors.fit_gaussian, []

    def counted(x: Any) -> Any:
        rows.append(len(x))
        return real(x)

    floors.reference("digits", "held-out", EVALUATOR)  # cached before counting
    monkeypatch.setattr(floors, "fit_gaussian", counted)
    floors.real_distance.cache_clear()
    assert noise_floor(Protocol(num_samples=n), repeats=2).n == n
    assert rows == [n, n]


def test_noise_floor_of_fifteen_is_not_that_of_twenty() -> None:
    fifteen, twenty = (noise_floor(Protocol(num_samples=n), repeats=3) for n in (15, 20))
    assert fifteen.value > twenty.value


def test_published_noise_floor_does_not_move() -> None:
    floor = noise_floor(Protocol(num_samples=1000))
    assert (floor.value, floor.low, floor.high) == pytest.approx(FLOOR, rel=1e-4)


FLOOR = (0.1560626582, 0.1470738607, 0.1669868288)


def test_an_evaluation_repeats_and_its_parts_agree(model: DiffusionTransformer) -> None:
    settings = Protocol(num_samples=40, guided_samples=20, num_steps=2)
    first = evaluate(model, settings)
    torch.manual_seed(1)
    torch.rand(3)  # a stray draw of someone else
    assert evaluate(model, settings) == first
    json.dumps(first, allow_nan=False)
    assert {name: metric["n"] for name, metric in first.items()} == {
        "fd": 40, "precision": 40, "recall": 500, "agreement": 40, "guided_agreement": 20, "clipped": 40,
        "held_out_loss": 40,
    }  # fmt: skip
    assert all(metric["low"] <= metric["value"] <= metric["high"] for metric in first.values())
    # Every setting reaches the numbers.
    for change in ({"num_steps": 1}, {"solver": "euler"}, {"guidance": 2.0}, {"reference": "train"}):
        assert evaluate(model, settings.model_copy(update=change))["fd"] != first["fd"], change
    without = evaluate(model, settings.model_copy(update={"guided_samples": 0}))
    assert "guided_agreement" not in without
    assert without["fd"] == first["fd"]


def test_samples_are_balanced_share_their_noise_and_are_guided_for_guided_agreement_alone(
    model: DiffusionTransformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[list[int], list[int], float]] = []

    def recorded(
        model: DiffusionTransformer, seeds: Any, labels: Any, config: SamplerConfig, **_: Any
    ) -> Tensor:
        calls.append((list(seeds), list(labels), config.guidance))
        return normal((len(seeds), 1, 8, 8), "samples")

    monkeypatch.setattr(protocol, "sample", recorded)
    evaluate(model, Protocol(num_samples=30, guided_samples=10, agreement_guidance=2.5))
    assert calls == [(list(range(n)), list(range(10)) * (n // 10), s) for n, s in ((30, 1.0), (10, 2.5))]


def test_diverged_weights_are_an_error() -> None:
    model = build_model("SiT-Nano/2", depth=1)
    with torch.no_grad():
        model.final_layer.linear.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteError, match="seeds"):
        evaluate(model, Protocol(num_samples=10, num_steps=1))


def test_the_card_changes_with_every_part_of_the_sampler_and_the_weights() -> None:
    base = Protocol(num_samples=40, num_steps=7, solver="heun", guidance=1.0, weights="power-0.1")
    for part in ("digits-classifier-f77f, 64 features", "n = 40", "500 held-out", "heun", "7 steps", "14 NFE",
                 "no guidance", "EMA power-0.1", "seeds 0–39", "by 3 neighbours"):  # fmt: skip
        assert part in base.card()
    changes = ({"num_samples": 50}, {"num_steps": 8}, {"solver": "euler"}, {"guidance": 1.5},
               {"weights": "raw"}, {"reference": "train"}, {"neighbours": 5})  # fmt: skip
    cards = {base.model_copy(update=change).card() for change in changes}
    assert len(cards | {base.card()}) == len(changes) + 1
    other = base.model_copy(update={"solver": "euler", "guidance": 1.25, "weights": "raw"}).card()
    for part in ("euler", "7 NFE", "guidance 1.25", "raw weights"):
        assert part in other


def test_the_evaluator_names_the_weights_that_are_shipped() -> None:
    assert f"digits-classifier-{sha256_file(WEIGHTS)[:4]}" == EVALUATOR == Protocol().evaluator


def test_a_protocol_of_other_weights_is_refused(model: DiffusionTransformer) -> None:
    with pytest.raises(ConfigError, match=r"protocol.evaluator = digits-classifier-0000: this version has"):
        evaluate(model, Protocol(evaluator="digits-classifier-0000"))


def test_every_field_is_in_the_hash_of_the_protocol() -> None:
    base = Protocol()
    changes = {
        "evaluator": "other", "data": "other", "reference": "train", "num_samples": 7, "sampler": SamplerConfig("euler"),
        "guided_samples": 1, "agreement_guidance": 3.0, "weights": "raw", "neighbours": 5,
        "against_training": True, "spaces": ("pixels",), "sample_seeds": "own",
    }  # fmt: skip
    assert set(changes) == set(Protocol.model_fields)
    hashes = {base.model_copy(update={field: value}).hash for field, value in changes.items()}
    assert len(hashes | {base.hash}) == len(changes) + 1


def test_a_typo_names_the_nearest_field() -> None:
    with pytest.raises(ConfigError, match=r'num_sample.*did you mean "num_samples"'):
        Protocol.parse({"num_sample": 3})
    with pytest.raises(ConfigError, match="num_samples = '3'"):
        Protocol.parse({"num_samples": "3"})
