"""What an ensemble leaves: samples of its members, their records, and a report of what took how long."""

import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures import TimeoutError as NotDone
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import atomic
from ..data import load_data
from ..errors import StorageError
from ..evaluation import Protocol
from ..models import config_of
from ..models.checkpoints import save_model
from ..models.stacked import StackedNetwork
from ..sampling.stacked import sample_stacked
from ..spec import RunSpec
from ..store import Record, evaluate_run, seal
from ..training import checkpoint as checkpoints
from ..training.ensemble import Ensemble
from ..training.folder import claim_folder


@dataclass
class Clock:
    """Seconds since the start, and until the end of the time that was given."""

    seconds: float
    started: float = field(default_factory=time.monotonic)

    @property
    def spent(self) -> float:
        """Since the start."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        """Until the end; below 0 after it."""
        return self.seconds - self.spent


@dataclass
class Report:
    """What became of every member, and what took how long: ``report.json``."""

    facts: dict[str, Any]
    waves: list[dict[str, Any]] = field(default_factory=list)
    not_finite: list[dict[str, Any]] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    not_begun: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def say(self, clock: Clock, text: str) -> None:
        """One line with the time, at once."""
        print(f"{clock.spent:7.1f} s  {text}", flush=True)


def images_of(
    network: StackedNetwork, weights: dict[str, Tensor], protocol: Protocol, training_seeds: list[int]
) -> dict[float, Tensor]:
    """Samples of all members as the protocol has them, guidance → (members, n, c, h, w)."""
    offsets = [protocol.first_seed(seed) for seed in training_seeds]
    wanted: dict[float, int] = {}
    for guidance, count in (
        (protocol.sampler.guidance, protocol.num_samples),
        (protocol.agreement_guidance, protocol.guided_samples),
    ):
        wanted[guidance] = max(wanted.get(guidance, 0), count)
    found = {}
    for guidance, count in wanted.items():
        sampler = protocol.sampler.replace(guidance=guidance)
        labels = torch.arange(count) % network.config.num_classes
        found[guidance] = sample_stacked(network, weights, range(count), labels, sampler, offsets=offsets)
    return found


class Evaluations:
    """Measures of members, by processes of the CPU while the device trains the next; written as they come.

    Args:
        out: folder of ``results.jsonl`` and of the weights that are kept.
        facts: of the device and the code, which go into every record.
        processes: how many at a time.
        threads: of each.
        device: on which the inner representations are measured.
    """

    def __init__(
        self, out: Path, facts: dict[str, str], processes: int, threads: int = 1, device: str = "cpu"
    ):
        self.out, self.facts, self.device = out, facts, device
        self.written: set[Future[Record]] = set()
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(processes, context, initializer=_start, initargs=(threads,))
        self.jobs: dict[Future[Record], tuple[RunSpec, dict[str, Tensor]]] = {}

    def add(self, ensemble: Ensemble, protocol: Protocol, report: Report, clock: Clock) -> None:
        """Sample every member of a stack and hand it to the processes; those that diverged are only named."""
        started = time.monotonic()
        chosen = protocol.weights
        stack = ensemble.parameters if chosen == "raw" else ensemble.averages[chosen]
        stack = {name: value.detach() for name, value in stack.items()}
        images = images_of(ensemble.network, stack, protocol, [spec.seed for spec in ensemble.specs])
        report.waves[-1]["sample_s"] = round(time.monotonic() - started, 2)
        on_cpu = {name: value.cpu() for name, value in stack.items()}
        shared = {name: value.cpu() for name, value in ensemble.network.frozen.items()}
        for row, (spec, bad) in enumerate(zip(ensemble.specs, ensemble.first_bad.tolist(), strict=True)):
            own = {name: made[row] for name, made in images.items()}
            if bad >= 0 or not all(bool(torch.isfinite(made).all()) for made in own.values()):
                report.not_finite.append({"run": spec.run_id, "seed": spec.seed, "step": bad})
                where = f"not finite at step {bad}" if bad >= 0 else "its samples are not finite"
                report.say(clock, f"{spec.run_id} (seed {spec.seed}): {where}; no record")
                continue
            weights = {**shared, **{name: value[row].clone() for name, value in on_cpu.items()}}
            arrays = {name: value.numpy() for name, value in weights.items()}
            made = {guidance: value.numpy().copy() for guidance, value in own.items()}
            job = self.pool.submit(
                _evaluate, spec, ensemble.step, protocol, arrays, made, self.facts, self.device
            )
            self.jobs[job] = spec, weights
        self.write()

    def write(self) -> None:
        """Append the records that are made and not yet written.

        Raises:
            StorageError: the file cannot be written; nothing of the other records is lost.
        """
        made = [job for job in self.jobs if job.done() and not job.cancelled() and job not in self.written]
        lines = [atomic.canonical_json(job.result()) + "\n" for job in made if job.exception() is None]
        path = self.out / "results.jsonl"
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.writelines(lines)
        except OSError as error:
            raise StorageError(
                f"{path}: cannot be written ({error.strerror}); free space, then go on"
            ) from error
        self.written |= set(made)

    def finish(self, clock: Clock, report: Report) -> None:
        """Wait until all are measured, or the time is up: then keep the weights of the others as they are."""
        try:
            for _ in as_completed(self.jobs, timeout=max(clock.left, 1.0)):
                self.write()
        except NotDone:
            report.say(clock, "time is up: members that were not measured keep their weights alone")
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.write()
        for job, (spec, weights) in self.jobs.items():
            if job.done() and not job.cancelled():
                if job.exception() is None:
                    continue
                report.failed.append(f"{spec.run_id}: {job.exception()}")
                report.say(clock, f"{spec.run_id}: {job.exception()}")
            else:
                report.unfinished.append(spec.run_id)
            keep_weights(self.out, spec, weights)
        for process in multiprocessing.active_children():
            process.terminate()


def keep_weights(out: Path, spec: RunSpec, weights: dict[str, Tensor]) -> None:
    """Write one member's weights as a model file, ``weights-<run>.safetensors``."""
    network = StackedNetwork(config_of(spec), spec.objective, torch.device("cpu"))
    save_model(network.model(weights), out / f"weights-{spec.run_id}.safetensors", run=spec.run_id)


def _start(threads: int) -> None:
    torch.set_num_threads(threads)
    os.nice(5)  # the process that feeds the device goes first


def _evaluate(
    spec: RunSpec,
    step: int,
    protocol: Protocol,
    weights: dict[str, np.ndarray],
    images: dict[float, np.ndarray],
    facts: dict[str, str],
    device: str,
) -> Record:
    """A member's record, as ``evaluate_run`` makes it of an ordinary run folder."""
    with tempfile.TemporaryDirectory(prefix="disperse-") as name:
        folder = Path(name)
        claim_folder(folder, spec, load_data(spec.data).sha256)
        part = "model" if protocol.weights == "raw" else f"ema.{protocol.weights}"
        tensors = {part: {key: torch.from_numpy(value) for key, value in weights.items()}}
        progress = {"seen_images": step * spec.batch_size, "elapsed_s": 0.0}
        checkpoints.save(
            folder / "checkpoints", checkpoints.Checkpoint(step, spec.fingerprint, tensors, progress)
        )
        made = {guidance: torch.from_numpy(value) for guidance, value in images.items()}
        record = evaluate_run(folder, step, protocol, device=device, images=made)
    return seal({**record, **facts})


def write_report(out: Path, report: Report, clock: Clock) -> None:
    """``report.json``: facts, timings, and what is not there and why."""
    values = {**vars(report), "seconds": round(clock.spent, 1)}
    atomic.write_text(out / "report.json", json.dumps(values, indent=1) + "\n")


def finished(out: Path) -> set[tuple[str, int, str]]:
    """Fingerprint, step and hash of the protocol of each record that a folder's ``results.jsonl`` holds."""
    return {
        (str(record["fingerprint"]), int(record["step"]), Protocol.parse(record["protocol"]).hash)
        for record in atomic.read_jsonl(out / "results.jsonl")
    }
