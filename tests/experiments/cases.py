"""A profile that takes a second a run, and evaluations made up by hand."""

from typing import Any

import pytest

from disperse.evaluation import Protocol
from disperse.experiments import PROFILES, Profile
from disperse.models import model_config
from disperse.spec import RunSpec
from disperse.store import Record, seal

TOY = Profile(
    name="toy", model="SiT-Nano/2", sizes=("Pico", "Nano"), subsets=(50,),
    larger_meanflow=("Pico", 1), longer=("Nano", 4), batch_size=16, lr=1e-3, warmup_steps=0, num_steps=4, milestones=(2,),
    solver="euler", sampler_steps=4, num_samples=30, guided_samples=10, weights="power-0.1", stamp="TOY",
)  # fmt: skip


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Profile:
    """The profile "toy" as a row of the ladder."""
    monkeypatch.setitem(PROFILES, "toy", TOY)
    return TOY


def record(spec: RunSpec, step: int, protocol: Protocol, *, fd: float = 1.0, rms: float = 1.0) -> Record:
    """A sealed evaluation with numbers of our own."""
    metrics = {
        name: {"value": value, "low": value - 0.1, "high": value + 0.1, "n": 30, "method": "by hand"}
        for name, value in {
            "fd": fd, "precision": 0.5, "recall": 0.25, "agreement": 0.75, "guided_agreement": 1.0,
        }.items()
    }  # fmt: skip
    blocks: list[dict[str, Any]] = [
        {"block": block, "level": level, "rms": rms * (1 + block) + level, "spread": 1.0,
         "effective_rank": 10.0 + block, "mean_cosine": 0.5, "update_rms": 0.5 if block else None}
        for block in range(model_config(spec.model).depth) for level in (0.25, 0.5, 0.75)
    ]  # fmt: skip
    return seal({
        "name": spec.name, "fingerprint": spec.fingerprint, "seed": spec.seed, "step": step,
        "seen_images": step * spec.batch_size, "spec": spec.identity,
        "protocol": protocol.model_dump(mode="json"), "card": protocol.card(), "metrics": metrics,
        "blocks": blocks, "terms": [{"term": 0, "block": 0, "off_diagonal_weight": 0.5, "saturation": 0.75,
                                     "gradient_ratio": 0.01} for _ in spec.regularizers], "device": "cpu", "torch": "2", "commit": "0" * 12, "finished": "2025-01-01",
    })  # fmt: skip
