"""Time and memory of a training step of each objective, beside a flow-matching step of the same network.

All run in one process, in turn, so that whatever else the machine does hits them alike: the ratios mean
something, the absolute times little. Memory on the CPU is that of the tensors kept for the backward pass.

    python benchmarks/objective_step.py --model S/4 --batch 16 --repeats 7
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from disperse.models import DiffusionTransformer, build_model
from disperse.objectives import MeanFlowSpec, Objective, RestrictedNoise, build_objective
from disperse.regularizers import ContrastiveSpec, DispersiveSpec, build_regularizer
from disperse.rng import normal

MIB = 2**20


@dataclass(frozen=True)
class Case:
    """A training step: its network, objective and terms."""

    model: DiffusionTransformer
    objective: Objective
    terms: tuple[Any, ...] = ()


def cases(size: str) -> dict[str, Case]:
    """Flow matching, its terms, and the other systems, at one size."""
    models = {system: build_model(f"{system}-{size}") for system in ("SiT", "DiT", "MF")}
    depth = models["SiT"].config.depth
    plain = {s: build_objective(m.objective, 1000, label_drop=0.1) for s, m in models.items()}
    # MeanFlow is measured against a flow-matching step of its own network: all times equal, no guidance.
    flow = build_objective(MeanFlowSpec(equal_share=1.0), 1000, label_drop=0.1)
    guided = build_objective(MeanFlowSpec(omega=1.0, kappa=0.5), 1000, label_drop=0.1)
    free = build_objective(MeanFlowSpec(), 1000, label_drop=0.1)
    difference = build_objective(MeanFlowSpec(derivative="difference"), 1000, label_drop=0.1)
    dispersive = build_regularizer(DispersiveSpec(), depth)
    contrastive = build_regularizer(ContrastiveSpec(), depth)
    return {
        "flow matching (SiT)": Case(models["SiT"], plain["SiT"]),
        "+ dispersive": Case(models["SiT"], plain["SiT"], (dispersive,)),
        "+ contrastive, two views": Case(models["SiT"], plain["SiT"], (contrastive,)),
        "DiT": Case(models["DiT"], plain["DiT"]),
        "flow matching (MF network)": Case(models["MF"], flow),
        "MeanFlow": Case(models["MF"], free),
        "MeanFlow, finite difference": Case(models["MF"], difference),
        "MeanFlow, guided target": Case(models["MF"], guided),
    }


def step(case: Case, x: Tensor, y: Tensor) -> None:
    """One step without the optimiser, which is the same for all."""
    draws = case.objective.draw(tuple(x.shape), 0)
    blocks = tuple(sorted({block for term in case.terms for block in term.blocks}))
    forward = case.objective.forward(case.model, x, y, draws, taps=blocks)
    loss = case.objective.losses(case.model, forward).losses.mean()
    second = None
    if any(term.view for term in case.terms):
        again = case.objective.second_view(draws, RestrictedNoise(0.005), 0)
        second = case.objective.forward(case.model, x, y, again, taps=blocks)
    for term in case.terms:
        loss = loss + term.lam * term(forward, second).loss
    case.model.zero_grad(set_to_none=True)
    loss.backward()


def kept_bytes(run: Callable[[], None]) -> int:
    """Bytes of distinct storages that autograd keeps for the backward pass, weights left out."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not tensor.is_leaf or not tensor.requires_grad:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(storages.values())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="S/4", help="size and patch, e.g. S/4, B/2")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    table = cases(options.model)
    shape = table["DiT"].model.config.image_shape
    x = normal((options.batch, *shape), "benchmark")
    y = torch.arange(options.batch)
    times: dict[str, list[float]] = {name: [] for name in table}
    for repeat in range(options.repeats + 1):
        for name, case in table.items():
            started = time.perf_counter()
            step(case, x, y)
            if repeat:  # the first warms up
                times[name].append(time.perf_counter() - started)
    memory = {name: kept_bytes(lambda case=case: step(case, x, y)) for name, case in table.items()}  # type: ignore[misc]
    threads = torch.get_num_threads()
    print(f"{options.model}, batch {options.batch}, {threads} threads, {options.repeats} repeats in turn")
    print(f"{'step':30} {'median ms':>10} {'ratio':>7} {'of minima':>10} {'kept MiB':>9} {'ratio':>6}")
    for name, values in times.items():
        base = "flow matching (MF network)" if "MeanFlow" in name or "MF" in name else "flow matching (SiT)"
        ratio = statistics.median(values) / statistics.median(times[base])
        least = min(values) / min(times[base])
        print(
            f"{name:30} {1e3 * statistics.median(values):10.1f} {ratio:7.2f} {least:10.2f} "
            f"{memory[name] / MIB:9.1f} {memory[name] / memory[base]:6.2f}"
        )


if __name__ == "__main__":
    main()
