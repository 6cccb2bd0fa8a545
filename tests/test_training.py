"""Training: the same bits after every interruption, and a stop before anything is harmed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from disperse import atomic, load_model
from disperse.errors import CheckpointError, ConfigError, Interrupted, LockedError, NonFiniteError
from disperse.objectives import Interpolant
from disperse.spec import DispersiveSpec, OptimizerSpec, RunSpec
from disperse.training import checkpoint as checkpoints
from disperse.training import ema, train, trainer
from disperse.training.checkpoint import DamagedCheckpointWarning
from disperse.training.state import TrainState, load_strictly

TINY = RunSpec(
    overrides={"hidden_size": 16, "num_heads": 2, "depth": 2},
    model="SiT-Nano/2",
    regularizers=(DispersiveSpec(local_batch=4),),
    batch_size=8,
    optimizer=OptimizerSpec(lr=1e-2, warmup_steps=5),
    label_drop=0.5,
    num_steps=30,
    checkpoint_interval=10,
    log_interval=3,
    device="cpu",
)


GOLDEN = [1.543083667755127, 1.3153302669525146, 1.5374720096588135, 1.465179204940796, 1.3478819131851196]


def run(folder: Path, spec: RunSpec = TINY) -> TrainState:
    return train(spec, folder, progress=False)


def content(folder: Path, step: int = 30) -> dict[str, str]:
    """Hashes of everything that a run of 30 steps leaves, but for the time it took."""
    place = checkpoints.folder_of(folder / "checkpoints", step)
    hashes = {path.name: atomic.sha256_file(path) for path in place.glob("*.safetensors")}
    return {**hashes, "metrics": atomic.sha256_file(folder / "metrics.jsonl")}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder)
    return folder


def test_three_times_ten_steps_are_thirty(undisturbed: Path, tmp_path: Path) -> None:
    for length in (10, 20, 30):
        run(tmp_path, TINY.replace(num_steps=length))
        torch.rand(3)  # stray draws of other code
        np.random.rand(3)
    assert content(tmp_path) == content(undisturbed)
    assert set(content(tmp_path)) >= {
        "model.safetensors",
        "optimizer.safetensors",
        "ema.power-0.1.safetensors",
    }


def test_thirty_times_one_step_is_thirty(undisturbed: Path, tmp_path: Path) -> None:
    for length in range(1, 31):
        run(tmp_path, TINY.replace(num_steps=length))
    assert content(tmp_path) == content(undisturbed)


def test_another_seed_or_a_changed_average_is_noticed(undisturbed: Path, tmp_path: Path) -> None:
    run(tmp_path / "a", TINY.replace(seed=1))
    other, same = content(tmp_path / "a"), content(undisturbed)
    assert all(other[name] != same[name] for name in same)
    state = run(tmp_path / "b", TINY.replace(num_steps=20))
    state.averages["power-0.1"]["final_layer.linear.bias"] += 1e-3
    shutil.rmtree(checkpoints.folder_of(tmp_path / "b" / "checkpoints", 20))
    checkpoints.save(tmp_path / "b" / "checkpoints", state.to_checkpoint())
    run(tmp_path / "b")
    changed = {name for name, value in content(tmp_path / "b").items() if value != same[name]}
    assert changed == {"ema.power-0.1.safetensors"}


def test_golden_trajectory(tmp_path: Path) -> None:
    """When this moves, numbers have moved: raise NUMERICS in disperse/spec.py and say so in the changelog."""
    rows: list[dict[str, float]] = []
    train(TINY.replace(num_steps=5, log_interval=1), tmp_path, progress=False, on_log=rows.extend)
    assert [row["loss"] for row in rows] == pytest.approx(GOLDEN, rel=1e-5)


def test_weight_zero_is_the_baseline_bit_for_bit(tmp_path: Path) -> None:
    nothing = TINY.replace(regularizers=(), num_steps=10)
    zero = TINY.replace(regularizers=(DispersiveSpec(lam=0.0, local_batch=4),), num_steps=10)
    weights = [
        dict(run(tmp_path / str(i), spec).model.state_dict()) for i, spec in enumerate((nothing, zero))
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_power_average_is_the_literal_weighted_sum() -> None:
    gamma = ema.power_exponent(0.1)
    assert ((gamma + 1) / ((gamma + 2) ** 2 * (gamma + 3))) ** 0.5 == pytest.approx(0.1)
    values, average = np.random.default_rng(0).normal(size=50), 0.0
    for step, value in enumerate(values, start=1):
        beta = ema.decay("power-0.1", step)
        average = beta * average + (1 - beta) * value
    share = np.ones(50)
    for step in range(1, 51):
        beta = (1 - 1 / step) ** (gamma + 1)
        share[: step - 1] *= beta
        share[step - 1] = 1 - beta
    assert average == pytest.approx((share * values).sum())
    assert share.sum() == pytest.approx(1)
    assert ema.decay("constant-0.9999", 7) == 0.9999


def test_averages_follow_the_weights_and_leave_the_table(undisturbed: Path) -> None:
    saved = checkpoints.load(undisturbed / "checkpoints", 30, TINY.fingerprint)
    raw, power, constant = (saved.tensors[k] for k in ("model", "ema.power-0.1", "ema.constant-0.9999"))
    name = "blocks.0.mlp.fc1.weight"
    initial = TrainState.initial(TINY, torch.device("cpu")).model.state_dict()[name]
    assert (power[name] - raw[name]).norm() < 0.5 * (constant[name] - raw[name]).norm()
    assert (constant[name] - initial).norm() < 0.01 * (raw[name] - initial).norm()
    assert torch.equal(power["pos_embed"], raw["pos_embed"])


def test_warm_up() -> None:
    rates = [trainer.learning_rate(TINY, step) for step in (0, 3, 4, 5, 100)]
    assert rates == pytest.approx([0.002, 0.008, 0.01, 0.01, 0.01])


SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from disperse.training import checkpoint
from test_training import TINY, run
write = checkpoint.write_json
def slow(path, value):
    print("saving", flush=True)
    time.sleep({delay})
    write(path, value)
checkpoint.write_json = slow
from disperse.errors import DisperseError
print("ready", flush=True)
try:
    run(Path({folder!r}), TINY.replace(checkpoint_interval=5))
except DisperseError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def start(folder: Path, delay: float) -> subprocess.Popen[str]:
    script = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder), delay=delay)
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True,
                            env={**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"})  # fmt: skip


def wait_for_save(process: subprocess.Popen[str], number: int) -> None:
    assert process.stdout
    for _ in range(number):
        for line in process.stdout:
            if line.strip() == "saving":
                break


@pytest.mark.parametrize(("save", "later"), [(1, 0.1), (3, 0.0), (2, 0.35)])
def test_kill_9_during_and_after_a_save(undisturbed: Path, tmp_path: Path, save: int, later: float) -> None:
    process = start(tmp_path, delay=0.3)
    wait_for_save(process, save)
    time.sleep(later)
    process.kill()
    process.communicate()
    run(tmp_path)
    assert content(tmp_path) == content(undisturbed)
    assert not list((tmp_path / "checkpoints").glob(".tmp-*"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_and_saves(undisturbed: Path, tmp_path: Path, number: int) -> None:
    process = start(tmp_path, delay=0.2)
    wait_for_save(process, 1)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "type the same command to go on" in output
    assert checkpoints.saved_steps(tmp_path / "checkpoints")
    run(tmp_path)
    assert content(tmp_path) == content(undisturbed)


def test_handlers_are_restored(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupt(rows: list[dict[str, float]]) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        train(TINY, tmp_path, progress=False, on_log=interrupt)
    assert signal.getsignal(signal.SIGINT) is before


def flip(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 4
    path.write_bytes(data)


def truncate(folder: Path) -> None:
    path = folder / "optimizer.safetensors"
    path.write_bytes(path.read_bytes()[:100])


DAMAGE = {
    "flipped bit": flip,
    "truncated": truncate,
    "empty": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "garbage manifest": lambda folder: (folder / "manifest.json").write_text("[1"),
    "extra file": lambda folder: (folder / "extra.bin").write_bytes(b"x"),
    "missing file": lambda folder: (folder / "model.safetensors").unlink(),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_checkpoint_is_set_aside(undisturbed: Path, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    DAMAGE[kind](checkpoints.folder_of(folder / "checkpoints", 30))
    with pytest.warns(DamagedCheckpointWarning, match="set aside") as caught:
        run(folder)
    assert len(caught) == 1
    assert content(folder) == content(undisturbed)
    assert len(list((folder / "checkpoints").glob("damaged-*"))) == 1


def test_all_checkpoints_damaged_is_never_a_silent_start(undisturbed: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(undisturbed, folder)
    for step in checkpoints.saved_steps(folder / "checkpoints"):
        flip(checkpoints.folder_of(folder / "checkpoints", step))
    for _ in range(2):  # the second time there is nothing left to set aside
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DamagedCheckpointWarning)
            with pytest.raises(CheckpointError, match="no checkpoint verifies") as caught:
                run(folder)
        assert caught.value.exit_code == 3


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "a/b.safetensors"])
def test_a_manifest_cannot_name_other_places(undisturbed: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(undisturbed / "checkpoints", tmp_path / "c")
    path = checkpoints.folder_of(tmp_path / "c", 30) / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"][name] = manifest["files"]["model.safetensors"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError):
        checkpoints.load(tmp_path / "c", 30, TINY.fingerprint)


def test_a_checkpoint_of_another_run_is_refused(undisturbed: Path) -> None:
    with pytest.raises(CheckpointError, match="belongs to"):
        checkpoints.load(undisturbed / "checkpoints", 30, "0" * 12)


def test_nonfinite_loss_stops_before_the_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Interpolant.draw

    def poisoned(self, shape, *key):
        draws = original(self, shape, *key)
        if key[1] == 7:
            draws.eps[5] = float("nan")
        return draws

    clean = run(tmp_path / "clean", TINY.replace(num_steps=7))
    monkeypatch.setattr(Interpolant, "draw", poisoned)
    states: list[TrainState] = []
    update = TrainState.update_averages
    monkeypatch.setattr(TrainState, "update_averages", lambda self: (states.append(self), update(self))[1])
    with pytest.raises(NonFiniteError, match=r"step 7.*\[5\]") as caught:
        run(tmp_path / "poisoned")
    assert caught.value.exit_code == 4
    for name, value in clean.model.state_dict().items():
        assert torch.equal(value, states[-1].model.state_dict()[name])


def test_a_folder_holds_one_run(undisturbed: Path) -> None:
    with pytest.raises(ConfigError, match="seed: 0 there, 5 asked"):
        run(undisturbed, TINY.replace(seed=5))


def test_a_run_is_locked_by_its_process(tmp_path: Path) -> None:
    with (
        atomic.locked(tmp_path / "lock"),
        pytest.raises(LockedError, match=f"process {os.getpid()}") as caught,
    ):
        run(tmp_path)
    assert caught.value.exit_code == 75


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_size": 5000}, "1297"),
        ({"model": "SiT-S/2", "overrides": {}}, "expects"),
        ({"model": "SiT-X"}, "did you mean"),
        ({"batch_size": 6}, "does not divide"),
        ({"device": "cuda:77"}, "not usable"),
        ({"data": "digit"}, "digits"),
    ],
)
def test_what_cannot_work_fails_before_a_folder_is_made(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(tmp_path / "new", TINY.replace(**change))
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", ["missing", "extra", "shape", "dtype", "nan", "broadcast"])
def test_weights_that_do_not_fit_change_nothing(kind: str) -> None:
    model = TrainState.initial(TINY, torch.device("cpu")).model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    wrong = {name: value.clone() + 1 for name, value in before.items()}
    name = "final_layer.linear.bias"
    if kind == "missing":
        del wrong[name]
    elif kind == "extra":
        wrong["extra"] = wrong[name]
    else:
        wrong[name] = {
            "shape": torch.zeros(99), "dtype": wrong[name].double(), "broadcast": torch.zeros(1),
            "nan": torch.full_like(wrong[name], float("nan")),
        }[kind]  # fmt: skip
    with pytest.raises(CheckpointError, match="extra" if kind == "extra" else name):
        load_strictly(model, wrong)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_load_model(undisturbed: Path, tmp_path: Path) -> None:
    average, raw = load_model(undisturbed), load_model(undisturbed, weights="raw")
    assert not torch.equal(average.final_layer.linear.weight, raw.final_layer.linear.weight)
    assert not any(p.requires_grad for p in raw.parameters())
    with pytest.raises(CheckpointError, match=r"power-0\.1"):
        load_model(undisturbed, weights="power-0.2")


def test_bf16_and_compile_train(tmp_path: Path) -> None:
    short = TINY.replace(num_steps=4, log_interval=1)
    rows: dict[str, list[dict[str, float]]] = {"fp32": [], "bf16": [], "compile": []}
    train(short, tmp_path / "a", progress=False, on_log=rows["fp32"].extend)
    train(short.replace(precision="bf16"), tmp_path / "b", progress=False, on_log=rows["bf16"].extend)
    train(short.replace(compile=True), tmp_path / "c", progress=False, on_log=rows["compile"].extend)
    losses = {name: np.array([row["loss"] for row in found]) for name, found in rows.items()}
    np.testing.assert_allclose(losses["compile"], losses["fp32"], rtol=1e-4)
    np.testing.assert_allclose(losses["bf16"], losses["fp32"], rtol=0.05)
    assert not np.array_equal(losses["bf16"], losses["fp32"])
