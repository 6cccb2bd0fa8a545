"""The evaluator of CIFAR-10 and its training, on a made-up data set; and runs on images that a user brings."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from disperse import atomic
from disperse.cli import main
from disperse.data import images, load_data
from disperse.errors import CheckpointError, ConfigError, DataError
from disperse.evaluation import (
    CIFAR10_EVALUATOR,
    Protocol,
    classify,
    evaluator_for,
    features,
    floors,
    noise_floor,
)
from disperse.evaluation import train_cifar_classifier as script
from disperse.experiments import evaluate_run
from disperse.regularizers import DispersiveSpec
from disperse.spec import RunSpec
from disperse.store import complete
from disperse.training import train

from ..data.cases import brought, encoded, files, pixels, write

__all__ = ["brought"]
WEIGHTS = features.FOLDER / "cifar10_classifier.safetensors"
PROTOCOL = Protocol(
    evaluator=CIFAR10_EVALUATOR, data="cifar10", num_samples=20, guided_samples=10, num_steps=1, precision="bf16"
)  # fmt: skip
SPEC = RunSpec(
    name="colour", model="SiT-Nano/4",
    overrides={"input_size": 32, "in_channels": 3, "hidden_size": 16, "depth": 2, "num_heads": 2},
    data="cifar10", flip=True, regularizers=(DispersiveSpec(local_batch=4),), batch_size=8, num_steps=3, log_interval=1, device="cpu",
)  # fmt: skip


@pytest.fixture
def small(brought: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up data set, of which a batch of the classifier's training is eight."""
    write(brought, ".tar", files())
    monkeypatch.setattr(script, "BATCH", 8)
    return brought


@pytest.fixture
def shipped(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of the evaluator that know little, where the package's would be."""
    folder = tmp_path / "weights"
    assert script.main(["--epochs", "1", "--work", str(tmp_path / "work"), "--out", str(folder)]) == 0
    for path in features.FOLDER.glob("digits*"):
        shutil.copy(path, folder)
    monkeypatch.setattr(features, "FOLDER", folder)
    features.network.cache_clear()
    yield folder
    for cached in (
        features.network,
        floors.real_features,
        floors.train_pool,
        floors.pool_features,
        floors.reference,
        floors.real_distance,
    ):
        cached.cache_clear()


def test_the_evaluator_is_named_after_its_weights_and_good_enough() -> None:
    record = json.loads(WEIGHTS.with_suffix(".json").read_text())
    assert f"cifar10-classifier-{atomic.sha256_file(WEIGHTS)[:4]}" == CIFAR10_EVALUATOR
    assert record["accuracy"]["held_out"] >= 0.88
    assert WEIGHTS.stat().st_size < 1_000_000


def test_training_is_resumed_bit_for_bit(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = {}
    for name, epochs in (("whole", ("2",)), ("parts", ("1", "2"))):
        for count in epochs:
            # The cycle of the rate has one length; the first part stops within it.
            until = script.train
            if (name, count) == ("parts", "1"):
                data, held_out = (images.image_set("cifar10", s) for s in ("train", "held-out"))
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(script, "_save", stop_after(1, script._save))
                    with pytest.raises(KeyboardInterrupt):
                        until(data, held_out, tmp_path / name, 2, 0)
                continue
            arguments = ["--data", str(small), "--epochs", count, "--work", str(tmp_path / name)]
            assert script.main([*arguments, "--out", str(tmp_path / f"{name}-out")]) == 0
        out[name] = atomic.sha256_file(tmp_path / f"{name}-out" / WEIGHTS.name)
    assert out["whole"] == out["parts"]
    record = json.loads((tmp_path / "parts-out" / WEIGHTS.name).with_suffix(".json").read_text())
    assert (record["sha256"], record["epochs"]) == (out["whole"], 2)
    assert "epoch 2 of 2" in capsys.readouterr().out


def stop_after(epoch: int, save: object) -> object:
    def stopping(work: Path, of: str, done: int, *rest: object) -> None:
        save(work, of, done, *rest)  # type: ignore[operator]
        if done == epoch:
            raise KeyboardInterrupt

    return stopping


def test_training_goes_on_with_its_own_epochs_alone(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    arguments = ["--work", str(work), "--out", str(out)]
    assert script.main([*arguments, "--epochs", "1"]) == 0
    assert script.main([*arguments, "--epochs", "2"]) == 3
    assert "holds another training" in capsys.readouterr().err
    (path,) = work.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-1])
    assert script.main([*arguments, "--epochs", "1"]) == 3
    assert "damaged; delete epoch_0001.txt" in capsys.readouterr().err
    assert script.main([*arguments, "--epochs", "0"]) == 2


def test_the_rate_is_one_cycle_and_the_crops_follow_the_step() -> None:
    rates = [script.learning_rate(step, 100) for step in range(100)]
    assert max(rates) == pytest.approx(script.PEAK, rel=0.05)
    assert rates.index(max(rates)) in (19, 20)
    assert rates[0] < 0.02
    assert rates[-1] < 0.002
    batch = torch.stack([torch.from_numpy(pixels("train", 0, n)) for n in range(4)]).repeat(8, 1, 1, 1)
    moved = script.augmented(batch, 0, 5)
    assert torch.equal(moved, script.augmented(batch, 0, 5))
    assert not torch.equal(moved, script.augmented(batch, 0, 6))
    assert moved.shape == batch.shape
    assert -1 <= moved.min() <= moved.max() <= 1
    assert len({row.numpy().tobytes() for row in moved}) > 20  # shifts of one picture differ


def test_features_and_agreement_of_colour_images(shipped: Path) -> None:
    held_out = load_data("cifar10", "held-out")
    found, scores = classify(held_out, evaluator=CIFAR10_EVALUATOR)  # type: ignore[arg-type]
    assert (found.shape, scores.shape) == ((20, 128), (20, 10))
    whole = held_out.few(20).images
    again = classify(whole, batch_size=3, evaluator=CIFAR10_EVALUATOR)[0]
    torch.testing.assert_close(again, found, rtol=0, atol=1e-5)
    with pytest.raises(ConfigError, match=r"images: expected a float tensor of shape \(n, 3, 32, 32\)"):
        classify(whole[:, :1], evaluator=CIFAR10_EVALUATOR)
    with pytest.raises(ConfigError, match=r"shape \(n, 1, 8, 8\), got images of shape \(3, 32, 32\)"):
        classify(held_out)  # type: ignore[arg-type]
    floor = noise_floor(PROTOCOL, repeats=3)
    assert 0 < floor.low <= floor.value <= floor.high
    with pytest.raises(ConfigError, match="at most 40 samples"):
        noise_floor(PROTOCOL.model_copy(update={"num_samples": 41}))


def test_without_its_weights_the_evaluator_says_how_to_make_them(shipped: Path, tmp_path: Path) -> None:
    (shipped / WEIGHTS.name).unlink()
    with pytest.raises(CheckpointError, match=r"missing.*evaluation\.train_cifar_classifier"):
        complete(SPEC, PROTOCOL)  # before anything is trained
    assert not list((tmp_path / "home").glob("runs/*"))
    with pytest.raises(ConfigError, match=r"protocol.data = digits: the evaluator .* knows cifar10"):
        complete(SPEC, PROTOCOL.model_copy(update={"data": "digits"}))


def test_which_evaluator_fits() -> None:
    assert evaluator_for("digits:400") == Protocol().evaluator
    assert evaluator_for("cifar10@1234:400") == CIFAR10_EVALUATOR
    with pytest.raises(ConfigError, match=r"evaluation data = 'imagenet256-latents'"):
        evaluator_for("imagenet256-latents")


def test_a_run_on_colour_images_is_evaluated(shipped: Path, tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    train(SPEC, tmp_path / "run", progress=False, on_log=rows.extend)
    record = evaluate_run(tmp_path / "run", 3, PROTOCOL, device="cpu")
    assert {name: metric["n"] for name, metric in record["metrics"].items()} == {
        "fd": 20, "precision": 20, "recall": 20, "agreement": 20, "guided_agreement": 10, "clipped": 20, "held_out_loss": 20,
    }  # fmt: skip
    assert record["protocol"]["precision"] == "bf16"
    for part in (CIFAR10_EVALUATOR, "128 features", "20 held-out images", "in bf16"):
        assert part in record["card"]
    assert len(record["blocks"]) == 3 * 2
    losses = [row["loss"] for row in rows]
    # Mirror images are part of what a run is.
    plain: list[dict[str, float]] = []
    train(SPEC.replace(flip=False), tmp_path / "plain", progress=False, on_log=plain.extend)
    assert SPEC.replace(flip=False).fingerprint != SPEC.fingerprint
    assert losses != [row["loss"] for row in plain]
    # And the command line finds the evaluator by the data.
    assert main(["evaluate", str(tmp_path / "run"), "--num", "20", "--steps", "1", "--device", "cpu",
                 "--data-path", str(shipped.parent / "brought")]) == 0  # fmt: skip


def test_a_run_goes_on_with_the_images_it_began_with(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    train(SPEC, run, progress=False)
    content = load_data("cifar10").sha256
    assert json.loads((run / "data.json").read_text()) == {"data": "cifar10", "sha256": content}
    # Elsewhere and in another form, they are the same images.
    other = tmp_path / "elsewhere"
    write(other, ".zip", files())
    monkeypatch.setenv("DISPERSE_DATA", str(other))
    assert train(SPEC.replace(num_steps=4), run, progress=False).step == 4
    write(other, ".zip", files() | {"train/class3/0001.png": encoded(pixels("other", 0, 0))})
    images._load.cache_clear()
    with pytest.raises(DataError, match=rf"trained on cifar10@{content[:12]}, the images found are others"):
        train(SPEC.replace(num_steps=5), run, progress=False)
    (run / "data.json").unlink()
    with pytest.raises(DataError, match=r"data\.json: cannot be read"):
        train(SPEC.replace(num_steps=5), run, progress=False)


def test_data_that_do_not_fit_the_model(small: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"images are \(3, 32, 32\), model SiT-Nano/4 expects \(1, 8, 8\)"):
        train(SPEC.replace(overrides={}), tmp_path / "a", progress=False)
    few = {**SPEC.overrides, "num_classes": 7}
    with pytest.raises(ConfigError, match=r"10 classes, model SiT-Nano/4 has 7"):
        train(SPEC.replace(overrides=few), tmp_path / "a", progress=False)
    assert not (tmp_path / "a").exists()
