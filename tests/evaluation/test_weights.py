"""An evaluated run is that of the weights and the step that were asked for."""

from pathlib import Path

from disperse import load_model
from disperse.evaluation import Protocol, evaluate
from disperse.experiments import evaluate_run

from ..training.cases import run


def test_a_run_is_evaluated_with_the_weights_of_the_protocol(tmp_path: Path) -> None:
    run(tmp_path, num_steps=8, milestones=(4,))
    found = {}
    for weights in ("raw", "power-0.1", "constant-0.9"):
        protocol = Protocol(num_samples=20, guided_samples=0, num_steps=1, solver="euler", weights=weights)
        found[weights] = evaluate_run(tmp_path, 4, protocol, device="cpu")["metrics"]
        assert found[weights] == evaluate(load_model(tmp_path, step=4, weights=weights), protocol)
    assert len({metrics["fd"]["value"] for metrics in found.values()}) == 3
