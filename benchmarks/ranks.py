"""What it costs that two processes train one run: their step against the same step of each alone.

Two processes work side by side throughout, each on half of the batch, so that both share the machine alike:
now each for itself, now as two ranks of one run. The ratio is what the exchange costs at perfect scaling.
Gradients are averaged during the backward pass (DistributedDataParallel, as the trainer does) or after
it in one message; the dispersive loss sees groups within ranks, or the rows of both.

    python benchmarks/ranks.py --model S/4 --batch 32 --repeats 7
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing
from torch.nn.parallel import DistributedDataParallel

from disperse import DispersiveLoss, distributed
from disperse.models import build_model
from disperse.objectives import build_objective
from disperse.rng import normal

RANKS = 2


def measure(rank: int, rendezvous: str, size: str, batch: int, repeats: int, threads: int) -> None:
    """One of the two processes; the first prints."""
    torch.set_num_threads(threads)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=RANKS)
    model = build_model(f"SiT-{size}")
    wrapped = DistributedDataParallel(model, gradient_as_bucket_view=True)
    objective = build_objective(model.objective, 1000, label_drop=0.1)
    rows = distributed.rows(batch)
    x = normal((batch, *model.config.image_shape), "benchmark")[rows]
    y = torch.arange(batch)[rows]
    draws = objective.draw((batch, *model.config.image_shape), 0).rows(rows)
    block = model.config.depth // 4 - 1
    within = DispersiveLoss(local_batch=batch // RANKS, across_ranks=True, validate=False)
    across = DispersiveLoss(across_ranks=True, validate=False)

    def step(network: Callable[..., object], term: DispersiveLoss | None, after: bool = False) -> None:
        model.zero_grad(set_to_none=True)
        forward = objective.forward(network, x, y, draws, taps=(block,))
        loss = objective.losses(model, forward).losses.mean()
        if term is not None:
            loss = loss + 0.5 * term(forward.features[block])
        loss.backward()
        if after:
            distributed.average_gradients(model.parameters())

    # Name -> (what it is compared with, the step).
    cases: dict[str, tuple[str, Callable[[], None]]] = {
        "each alone": ("each alone", lambda: step(model, None)),
        "two ranks, averaged during backward": ("each alone", lambda: step(wrapped, None)),
        "two ranks, averaged after backward": ("each alone", lambda: step(model, None, True)),
        "each alone + dispersive": ("each alone + dispersive", lambda: step(model, within)),
        "two ranks + groups within ranks": ("each alone + dispersive", lambda: step(wrapped, within)),
        "two ranks + whole batch": ("each alone + dispersive", lambda: step(wrapped, across)),
    }
    times = torch.zeros(len(cases), repeats)
    for repeat in range(-2, repeats):  # two to warm up: the second builds the buckets anew
        for number, (_, run) in enumerate(cases.values()):
            dist.barrier()
            started = time.perf_counter()
            run()
            if repeat >= 0:
                times[number, repeat] = time.perf_counter() - started
    # A step of ranks is over when both are; so is one of two processes side by side.
    slower = distributed.gathered(times).amax(dim=0).tolist()
    if rank == 0:
        found = dict(zip(cases, slower, strict=True))
        megabytes = sum(p.numel() for p in model.parameters() if p.requires_grad) * 4e-6
        print(f"{size}, batch {batch} on {RANKS} ranks of {threads} threads, {repeats} repeats in turn; "
              f"{megabytes:.0f} MB of gradients")  # fmt: skip
        print(f"{'step':38} {'median ms':>10} {'ratio':>7} {'of minima':>10}")
        for name, (base, _) in cases.items():
            ratio = statistics.median(found[name]) / statistics.median(found[base])
            least = min(found[name]) / min(found[base])
            print(f"{name:38} {1e3 * statistics.median(found[name]):10.1f} {ratio:7.2f} {least:10.2f}")
    dist.destroy_process_group()


def main() -> None:
    """Start both processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="S/4", help="size and patch, e.g. S/4, B/2")
    parser.add_argument("--batch", type=int, default=32, help="of both ranks together")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        arguments = (str(Path(folder) / "rendezvous"), options.model, options.batch, options.repeats,
                     options.threads)  # fmt: skip
        multiprocessing.spawn(measure, arguments, nprocs=RANKS)


if __name__ == "__main__":
    main()
