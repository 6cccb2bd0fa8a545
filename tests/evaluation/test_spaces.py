"""Feature spaces beside the classifier: alive, of some variety, and able to tell spoiled sets from real ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from disperse.atomic import sha256_file
from disperse.data import digits
from disperse.errors import ConfigError
from disperse.evaluation import (
    EVALUATOR,
    PIXELS,
    Protocol,
    describe,
    evaluate,
    evaluator_for,
    features,
    find_evaluator,
    memorizer_distance,
    noise_floor,
    read_features,
    sight,
    spaces_for,
)
from disperse.evaluation.features import EVALUATORS
from disperse.evaluation.floors import describe_features
from disperse.evaluation.frechet import fit_gaussian
from disperse.evaluation.separation import spoiled_distances
from disperse.evaluation.train_selfsup import loss
from disperse.models import build_model
from disperse.rng import normal

ENCODER = spaces_for("digits")[0]


@pytest.mark.parametrize("name", [name for name, row in EVALUATORS.items() if not row.classifies])
def test_an_encoder_is_named_after_its_weights_and_its_record_says_that_it_is_alive(name: str) -> None:
    row, record = find_evaluator(name), features.record_of(name)
    assert name.endswith("-selfsup-" + sha256_file(features.FOLDER / row.weights)[:4])
    seen = record["held_out_features"]
    assert (seen["num_features"], record["labels"]) == (row.num_features, "none")
    assert seen["alive"] >= 0.9
    assert seen["within_class"] >= 0.4
    assert f"{row.num_features} features ({row.num_features} alive" in describe(name)


@pytest.mark.parametrize("name", EVALUATORS)
def test_every_network_tells_what_it_sees(name: str) -> None:
    seen = features.record_of(name)["held_out_features"]
    assert set(seen) == {"num_features", "alive", "effective_rank", "directions95", "within_class"}
    assert f"effective rank {seen['effective_rank']:.0f}, {seen['within_class']:.0%} of their" in describe(
        name
    )


def test_what_the_spaces_see_of_held_out_digits() -> None:
    seen = {space: sight("digits", space) for space in (EVALUATOR, ENCODER, PIXELS)}
    for space in (EVALUATOR, ENCODER):
        assert seen[space].asdict() == pytest.approx(features.record_of(space)["held_out_features"], rel=1e-4)
    assert seen[ENCODER].alive == 1.0
    assert seen[ENCODER].within_class > 0.4 > seen[EVALUATOR].within_class
    assert seen[EVALUATOR].alive < 0.5  # why there is a second space
    assert seen[ENCODER].effective_rank > 2 * seen[EVALUATOR].effective_rank


def test_what_is_seen_of_features_with_a_known_spectrum() -> None:
    """Two classes at ±3 along one axis, unit noise along two, a dead one: variances 10, 1, 0."""
    noise = np.random.default_rng(0).normal(size=(20_000, 2))
    labels = np.arange(20_000) % 2
    points = np.stack([noise[:, 0] + 6.0 * labels - 3, noise[:, 1], np.full(20_000, 7.0)], axis=1)
    seen = describe_features(points, labels)
    shares = np.array([10, 1]) / 11
    assert seen.alive == pytest.approx(2 / 3)
    assert seen.effective_rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=0.01)
    assert seen.directions95 == 2
    assert seen.within_class == pytest.approx(2 / 11, rel=0.02)


@pytest.mark.parametrize("space", [EVALUATOR, *spaces_for("digits")])
def test_spoiled_sets_lie_beyond_the_floor(space: str) -> None:
    found = spoiled_distances("digits", space, 1000)
    assert found.beyond == {"blurred": True, "class_missing": True, "one_style": True}


FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.mark.skipif(not FASHION.is_dir(), reason=f"no {FASHION}: apt-get install dataset-fashion-mnist")
def test_the_spaces_of_fashion_are_alive_and_tell_spoiled_sets_apart() -> None:
    spaces = (evaluator_for("fashion"), *spaces_for("fashion"))
    assert len(spaces) == 3
    for space in spaces:
        found = spoiled_distances("fashion", space, 1000)
        assert found.beyond == {"blurred": True, "class_missing": True, "one_style": True}, space
        if space != PIXELS:
            record = features.record_of(space)["held_out_features"]
            assert sight("fashion", space).asdict() == pytest.approx(record, rel=1e-3)


def test_the_encoder_sees_variety_that_the_classifier_hardly_does() -> None:
    seen = {space: spoiled_distances("digits", space, 1000) for space in (EVALUATOR, ENCODER)}
    excess = {space: each.one_style / np.trace(reference(space).covariance) for space, each in seen.items()}
    assert excess[ENCODER] > 5 * excess[EVALUATOR]


def reference(space: str):
    return fit_gaussian(read_features(digits("held-out"), space, data="digits").double().numpy())


def test_a_memoriser_of_few_images_scores_worse_and_of_all_the_floor() -> None:
    for space in (EVALUATOR, ENCODER, PIXELS):
        few, more, every = (
            memorizer_distance(data, "held-out", space, 1000)
            for data in ("digits:160", "digits:450", "digits")
        )
        assert few.low > more.high
        floor = noise_floor(Protocol(spaces=(ENCODER, PIXELS)), space=space)
        assert floor.value < every.value < more.value  # with replacement, so a little above real images


def test_pixels_are_the_pixels_or_their_principal_components(monkeypatch: pytest.MonkeyPatch) -> None:
    images = digits("held-out").images
    assert torch.equal(read_features(3 * images, PIXELS, data="digits"), (3 * images).clamp(-1, 1).flatten(1))
    monkeypatch.setattr(features, "COMPONENTS", 5)
    features._components.cache_clear()
    try:
        found = read_features(images, PIXELS, data="digits").double().numpy()
        axes = features._components("digits")[1]
    finally:
        features._components.cache_clear()
    flat = digits("train").images.flatten(1).double().numpy()
    variances = np.linalg.eigvalsh(np.cov(flat, rowvar=False))[::-1]
    assert found.shape == (500, 5)
    np.testing.assert_allclose((axes.T @ axes).numpy(), np.eye(5), atol=1e-5)
    projected = (flat - flat.mean(axis=0)) @ axes.double().numpy()
    np.testing.assert_allclose(projected.var(axis=0, ddof=1), variances[:5], rtol=1e-4)


def test_spaces_stand_beside_and_change_nothing_else() -> None:
    model = build_model("SiT-Nano/2", hidden_size=32, num_heads=2, depth=1)
    plain = Protocol(num_samples=40, guided_samples=0, num_steps=1)
    more = plain.model_copy(update={"spaces": (ENCODER, PIXELS)})
    before, after = evaluate(model, plain), evaluate(model, more)
    assert set(after) - set(before) == {"fd_selfsup", "precision_selfsup", "recall_selfsup", "fd_pixels"}
    assert all(after[name] == before[name] for name in before)
    assert more.fits(plain.model_dump(mode="json"))
    assert plain.fits(more.model_dump(mode="json"))
    for change in ({"num_steps": 2}, {"sample_seeds": "own"}):
        assert not more.fits(plain.model_copy(update=change).model_dump(mode="json"))
    assert "spaces" not in plain.model_dump(mode="json")
    assert Protocol.parse(json.loads(json.dumps(more.model_dump(mode="json")))) == more
    with pytest.raises(
        ConfigError, match=f"knows cifar10 and cifar16; expected {EVALUATOR} or one of {ENCODER}"
    ):
        evaluate(model, plain.model_copy(update={"spaces": ("cifar10-classifier-f1f1",)}))
    with pytest.raises(ConfigError, match=r"protocol\.spaces = digits-selfsup-0000: this version has"):
        evaluate(model, plain.model_copy(update={"spaces": ("digits-selfsup-0000",)}))


def test_samples_of_a_training_seed_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model("SiT-Nano/2", hidden_size=32, num_heads=2, depth=1)
    shared = Protocol(num_samples=40, guided_samples=0, num_steps=1)
    own = shared.model_copy(update={"sample_seeds": "own"})
    assert evaluate(model, own)["fd"] == evaluate(model, shared, training_seed=3)["fd"]
    assert evaluate(model, own, training_seed=3)["fd"] != evaluate(model, own)["fd"]
    assert own.first_seed(3) == 120
    assert "0–39 + 40 · training seed" in own.card()
    assert "clipped to [−1, 1]" in own.card()


def test_without_samples_the_held_out_loss_alone_is_measured() -> None:
    model = build_model("SiT-Nano/2", hidden_size=32, num_heads=2, depth=1)
    alone = Protocol(num_samples=0, guided_samples=0)
    assert set(evaluate(model, alone)) == {"held_out_loss"}
    assert "held-out loss alone, on 500 images" in alone.card()
    for wrong in ({"guided_samples": 5}, {"against_training": True}, {"evaluator": "inception-v3-fid"}):
        with pytest.raises(ConfigError, match="num_samples = 0: "):
            Protocol.parse({"num_samples": 0, "guided_samples": 0} | wrong)
    with pytest.raises(ConfigError, match="num_samples: expected 0, or at least 2"):
        Protocol(num_samples=1)


def test_clipping_is_measured_before_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    from disperse.evaluation import protocol

    images = torch.zeros(40, 1, 8, 8)
    images[:, :, :2] = -1.5
    monkeypatch.setattr(protocol, "sample", lambda *_, **__: images + 0.1 * normal(images.shape, "grain"))
    model = build_model("SiT-Nano/2", hidden_size=32, num_heads=2, depth=1)
    found = evaluate(model, Protocol(num_samples=40, guided_samples=0, num_steps=1))["clipped"]
    assert found["value"] == pytest.approx(0.25, abs=0.005)


def test_classifiers_alone_have_scores_and_every_data_set_has_pixels() -> None:
    with pytest.raises(ConfigError, match="no class scores"):
        features.classify(digits("held-out").images, evaluator=ENCODER)
    assert spaces_for("digits:160") == (ENCODER, PIXELS)
    assert evaluator_for("digits:160") == EVALUATOR
    with pytest.raises(ConfigError, match=r"expected 64 pixels"):
        read_features(torch.zeros(2, 1, 4, 4), PIXELS, data="digits")


def test_the_loss_of_the_encoder_asks_for_invariance_spread_and_no_correlation() -> None:
    z = normal((4096, 3), "to be whitened").double()
    z = torch.linalg.solve_triangular(torch.linalg.cholesky(z.T.cov()), (z - z.mean(dim=0)).T, upper=False).T
    assert loss(z, z).item() == pytest.approx(0, abs=1e-3)
    assert loss(z, z + 1).item() == pytest.approx(25, abs=1e-3)
    assert loss(0.5 * z, 0.5 * z).item() == pytest.approx(12.5, abs=1e-2)
    same = z[:, :1].expand(-1, 3)
    assert loss(same, same).item() == pytest.approx(2 * 6 / 3, abs=1e-2)  # of both views, six entries m ≠ n
