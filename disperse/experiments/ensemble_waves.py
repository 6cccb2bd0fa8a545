"""Ensembles in a span of time: how many members fit, and training them in waves, one stack each."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..evaluation import Protocol
from ..spec import RunSpec
from ..store import commit, device_name
from ..training.ensemble import Ensemble
from ..training.ensemble_members import ENGINES, stack_key
from .ensemble_records import Clock, Evaluations, Report, keep_weights
from .runner import cores

TIMED_STEPS = 12  # of the timing; the first two don't count
MARGIN = 1.1  # by which a wave may take longer than timed
EVALUATION_S = 2.5  # of one core for the measures of one member; only to leave room for the last of them


def wait_for(device: torch.device) -> None:
    """Until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of_step(specs: list[RunSpec], device: torch.device, draws: str) -> float:
    """Seconds that one step of a stack takes; a step that waits for CUDA warns."""
    ensemble = Ensemble(specs, device, draws=draws)
    ensemble.train(1)
    wait_for(device)
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("warn")
    ensemble.train(2)
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("default")
    wait_for(device)
    started = time.monotonic()
    ensemble.train(TIMED_STEPS)
    wait_for(device)
    return (time.monotonic() - started) / (TIMED_STEPS - 2)


@dataclass(frozen=True)
class Pace:
    """Seconds of a step of M members, ``fixed + each · M``: what any stack takes, and what a member adds."""

    fixed: float
    each: float

    @classmethod
    def timed(cls, specs: list[RunSpec], device: torch.device, draws: str) -> "Pace":
        """By a stack of all these members and one of half of them."""
        many, few = len(specs), max(len(specs) // 2, 1)
        half = seconds_of_step(specs[:few], device, draws)
        whole = half if many == few else seconds_of_step(specs, device, draws)
        each = max(whole - half, 0.0) / (many - few) if many > few else whole
        return cls(max(whole - each * many, 0.0), each)

    def seconds(self, members: int, steps: float) -> float:
        """Of so many steps of a stack."""
        return steps * (self.fixed + self.each * members)


def sampled_steps(protocol: Protocol, spec: RunSpec) -> float:
    """Training steps that cost as much as the samples of a member: a step is three passes of a batch."""
    passes = protocol.sampler.nfe or 0
    images = protocol.num_samples + 2 * protocol.guided_samples
    return images * passes / (3 * spec.batch_size)


def waves_of(members: list[RunSpec], most: int) -> list[list[RunSpec]]:
    """Members in stacks of nearly equal size, each of one shape and at most ``most``, early seeds first."""
    waves = []
    for _, stack in itertools.groupby(sorted(members, key=stack_key), stack_key):
        same = sorted(stack, key=lambda spec: spec.seed)
        count = -(-len(same) // most)
        bounds = [len(same) * number // count for number in range(count + 1)]
        waves += [same[a:b] for a, b in itertools.pairwise(bounds)]
    return sorted(waves, key=lambda wave: wave[0].seed)


def that_fit(
    members: list[RunSpec], most: int, cost: Callable[[list[RunSpec]], float], seconds: float
) -> tuple[list[RunSpec], list[RunSpec]]:
    """Members of as many whole seeds as fit, at least one seed; and the others.

    Args:
        members: all that are wanted.
        most: members of one wave.
        cost: seconds of a wave.
        seconds: that there are.
    """
    seeds = sorted({spec.seed for spec in members})
    for count in range(len(seeds), 0, -1):
        taken = [spec for spec in members if spec.seed <= seeds[count - 1]]
        if count == 1 or sum(map(cost, waves_of(taken, most))) <= seconds:
            break
    return taken, [spec for spec in members if spec.seed > seeds[count - 1]]


def train_wave(
    specs: list[RunSpec], device: torch.device, draws: str, clock: Clock, until: float, report: Report
) -> Ensemble:
    """Train one stack to its end, or until ``until`` seconds are spent."""
    started, num_steps = time.monotonic(), specs[0].num_steps
    ensemble = Ensemble(specs, device, draws=draws)
    begun = time.monotonic()
    for tenth in range(1, 11):
        ensemble.train(num_steps * tenth // 10, enough=lambda: clock.spent > until)
        wait_for(device)
        if tenth == 1:
            report.say(clock, f"{len(specs)} members: {ensemble.step} of {num_steps} steps")
        if ensemble.step < num_steps * tenth // 10:
            report.say(clock, f"time is up: {len(specs)} members stay at step {ensemble.step} of {num_steps}")
            break
    took = time.monotonic() - begun
    report.waves.append(
        {
            "members": len(specs),
            "model": specs[0].model,
            "steps": ensemble.step,
            "of": num_steps,
            "start_s": round(begun - started, 2),
            "train_s": round(took, 2),
            "ms_per_member_step": round(1000 * took / max(ensemble.step * len(specs), 1), 5),
        }
    )
    return ensemble


def run_waves(
    members: list[RunSpec],
    protocol_of: Callable[[str], Protocol],
    device: torch.device,
    out: Path,
    clock: Clock,
    *,
    draws: str,
    most: int,
    keep: int = 0,
    code: str | None = None,
    measure_on: str = "cpu",
    tail: float | None = None,
) -> Report:
    """Train and evaluate as many members as fit the time; everything that is done is in ``out`` at once.

    Args:
        members: runs, seeds in the order of their importance.
        protocol_of: how those of a system are evaluated.
        device: where they are trained and sampled.
        out: folder of ``results.jsonl``, ``report.json`` and weights.
        clock: the time that there is.
        draws: ``"device"`` or ``"keyed"``.
        most: members of one stack.
        keep: of so many members the weights are kept too.
        code: commit of the code; None asks git.
        measure_on: device on which the inner representations are measured.
        tail: seconds left at the end for the last measures; None reckons with ``EVALUATION_S``.
    """
    facts = {"device": device_name(device), "torch": torch.__version__, "commit": code or commit()}
    if not members:
        return Report(facts)
    processes = max(cores() - 1, 1)
    threads = max(processes // len(members), 1)
    report = Report({**facts, "engine": ENGINES[draws], "draws": draws, "wanted": len(members)})
    evaluations = Evaluations(out, facts, min(processes, len(members)), threads, measure_on)
    paces: dict[str, Pace] = {}
    for key, stack in itertools.groupby(sorted(members, key=stack_key), stack_key):
        same = list(stack)[:most]
        pace = paces[key] = Pace.timed(same, device, draws)
        report.say(
            clock,
            f"{same[0].model}: a step takes {1000 * pace.fixed:.2f} ms and {1000 * pace.each:.4f} a member, "
            f"timed on {len(same)}",
        )

    def cost(wave: list[RunSpec]) -> float:
        steps = wave[0].num_steps + sampled_steps(protocol_of(wave[0].objective.kind), wave[0])
        return MARGIN * paces[stack_key(wave[0])].seconds(len(wave), steps)

    if tail is None:
        tail = 5.0 + EVALUATION_S * min(most, len(members)) / (processes * threads)
    chosen, others = that_fit(members, most, cost, clock.left - tail)
    report.not_begun = [spec.run_id for spec in others]
    report.say(clock, f"{len(chosen)} of {len(members)} members fit {clock.seconds:.0f} s")
    kept = {spec.fingerprint for spec in chosen[:keep]}
    waves = waves_of(chosen, most)
    for number, wave in enumerate(waves):
        if number and clock.left < tail:
            report.not_begun += [spec.run_id for spec in wave]
            continue
        protocol = protocol_of(wave[0].objective.kind)
        sampling = paces[stack_key(wave[0])].seconds(len(wave), sampled_steps(protocol, wave[0]))
        ensemble = train_wave(wave, device, draws, clock, clock.seconds - tail - MARGIN * sampling, report)
        evaluations.add(ensemble, protocol, report, clock)
        report.say(clock, f"wave {number + 1} of {len(waves)} is trained and sampled")
        for row, spec in enumerate(ensemble.specs):
            if spec.fingerprint in kept and int(ensemble.first_bad[row]) < 0:
                keep_weights(out, spec, ensemble.weights(row, protocol.weights))
        del ensemble
    evaluations.finish(clock, report)
    return report
