"""Where results live: the run store, finished evaluations, and the published set.

``runs/<name>-<fingerprint>/`` holds a run (spec, metrics, checkpoints, ``evaluations/``);
``figures/<profile>/results.jsonl`` holds the finished evaluations that are committed. Results are a
pure function of specs: what is there is used, what is missing is computed.
"""

import datetime
import functools
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import atomic, distributed
from .analysis import measure_blocks, measure_levels, measure_terms
from .data import load_data
from .device import resolve_device
from .errors import StorageError
from .evaluation import Protocol, check_evaluator, evaluate
from .regularizers.paper import dispersive_term
from .spec import NUMERICS, RunSpec
from .training import home, load_weights, read_spec, train
from .training.folder import check_content

Record = dict[str, Any]
# The paper's own, which levels are measured by in every run: with and without it, side by side.
TERM = dispersive_term()
ANALYSED = 500  # at most so many images whose inner representations are measured, of every block at once


def run_folder(spec: RunSpec) -> Path:
    """Folder of a run in the store: the one that holds this run, under whatever name; else a new one."""
    found = sorted((home() / "runs").glob(f"*-{spec.fingerprint}"))
    return found[0] if found else home() / "runs" / spec.run_id


def evaluation_path(folder: Path, step: int, protocol: Protocol) -> Path:
    """Where the evaluation of a step lies."""
    return folder / "evaluations" / f"step_{step:08d}-{protocol.hash}.json"


def evaluate_run(
    folder: Path,
    step: int,
    protocol: Protocol,
    *,
    device: str = "auto",
    images: Mapping[float, Tensor] | None = None,
) -> Record:
    """Evaluate a checkpoint, or read the stored evaluation; ``images`` as in ``evaluate``.

    Raises:
        StorageError: the stored evaluation was edited or damaged.
    """
    spec = read_spec(folder)
    path = evaluation_path(folder, step, protocol)
    if path.exists():
        return read_record(path)
    place = resolve_device(device)
    model = load_weights(folder, spec, step, protocol.weights, place)
    check_evaluator(protocol)
    data = load_data(spec.data, protocol.split)
    if data.sha256:
        check_content(folder, spec, data.sha256)
    count = min(ANALYSED, protocol.num_samples)  # a toy evaluation looks at few images too
    few = data.few(count or ANALYSED)
    seen = load_data(spec.data, "train").few(2 * count) if protocol.against_training else None
    unseen = few if protocol.split == protocol.reference else None  # beside statistics there are none
    record: Record = {
        "name": spec.name,
        "fingerprint": spec.fingerprint,
        "seed": spec.seed,
        "step": step,
        "seen_images": step * spec.batch_size,
        "spec": spec.identity,
        "protocol": protocol.model_dump(mode="json"),
        "card": protocol.card(),
        "metrics": evaluate(model, protocol, seen=seen, training_seed=spec.seed, images=images),
        "blocks": measure_blocks(model, few) if count else [],
        "terms": measure_terms(model, spec, few) if count else [],
        **({} if seen is None else {"levels": measure_levels(model, spec, seen, unseen, TERM)}),
        "device": device_name(place),
        "torch": torch.__version__,
        "commit": commit(),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    atomic.write_json(path, seal(record))
    return read_record(path)


Evaluations = tuple[tuple[int, Protocol], ...]


def at_every_step(spec: RunSpec, protocol: Protocol) -> Evaluations:
    """The evaluations of every milestone and the end."""
    return tuple((step, protocol) for step in sorted({*spec.milestones, spec.num_steps}))


def is_complete(spec: RunSpec, evaluations: Protocol | Evaluations) -> bool:
    """Whether a run's evaluations are there; under a protocol, those of every milestone and the end."""
    folder = run_folder(spec)
    return all(evaluation_path(folder, *each).exists() for each in wanted(spec, evaluations))


def complete(spec: RunSpec, evaluations: Protocol | Evaluations) -> None:
    """Train a run as far as its spec says and evaluate it; cheap if done.

    Several processes only train it: one alone, called the same way, evaluates then.

    Args:
        spec: the run.
        evaluations: step and protocol of each; a protocol alone: every milestone and the end.
    """
    folder = run_folder(spec)
    if is_complete(spec, evaluations):
        return
    each = wanted(spec, evaluations)
    for _, protocol in each:
        check_evaluator(protocol)
    train(spec, folder, progress=False)
    if distributed.size() > 1:
        return
    for step, protocol in each:
        evaluate_run(folder, step, protocol, device=spec.device)


def wanted(spec: RunSpec, evaluations: Protocol | Evaluations) -> Evaluations:
    """Step and protocol of each evaluation; a protocol alone is that of every milestone and the end."""
    return at_every_step(spec, evaluations) if isinstance(evaluations, Protocol) else evaluations


def records(spec: RunSpec, evaluations: Protocol | Evaluations) -> list[Record]:
    """Stored evaluations of a run, as far as they exist; under a protocol, at its milestones and end."""
    folder = run_folder(spec)
    paths = (evaluation_path(folder, *each) for each in wanted(spec, evaluations))
    return [read_record(path) for path in paths if path.exists()]


def seal(record: Record) -> Record:
    """The record with a digest of its content, so that an edited or damaged one is noticed."""
    content = {key: value for key, value in record.items() if key != "sha256"}
    return {**content, "sha256": atomic.digest(content, 64)}


def read_record(path: Path) -> Record:
    """Read a sealed record.

    Raises:
        StorageError: damaged or edited.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: cannot be read ({error}); delete it to evaluate again") from None
    return check_seal(record, str(path))


def check_seal(record: Record, where: str) -> Record:
    """Return the record if its digest fits its content, else raise StorageError."""
    if not isinstance(record, dict) or seal(record).get("sha256") != record.get("sha256"):
        raise StorageError(
            f"{where}: content does not fit its SHA-256 (edited or damaged); delete it to evaluate again"
        )
    return record


def published_path(profile: str) -> Path:
    """The committed results of a profile."""
    return home() / "figures" / profile / "results.jsonl"


def published(profile: str) -> list[Record]:
    """Every committed evaluation of a profile, seals checked; nothing may change the records."""
    path = published_path(profile)
    if not path.exists():
        return []
    state = path.stat()
    return list(_published(path, state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=4)
def _published(path: Path, *state: int) -> list[Record]:
    """Read once for each state of the file: checking seals takes a second."""
    return [
        check_seal(record, f"{path}:{number}")
        for number, record in enumerate(atomic.read_jsonl(path), start=1)
    ]


def published_digests(profile: str) -> set[str]:
    """Of every committed evaluation; whether they fit the content isn't asked here."""
    return {str(record.get("sha256")) for record in atomic.read_jsonl(published_path(profile))}


def publish(profile: str, new: list[Record]) -> int:
    """Append evaluations to the committed results unless they stand there; returns how many were new.

    With new ones, those of an older numerics stamp, which no run of this version can stand beside, go.
    """
    if not new:
        return 0
    everything = published(profile)
    old = [record for record in everything if record["spec"]["numerics"] == NUMERICS]
    pool = {record_key(record): record for record in old}
    for record in new:
        pool.setdefault(record_key(record), seal(record))
    if list(pool.values()) != everything:
        lines = [atomic.canonical_json(record) + "\n" for record in pool.values()]
        atomic.write_text(published_path(profile), "".join(lines))
    return len(pool) - len(old)


def record_key(record: Record) -> tuple[str, int, str]:
    """What there is one evaluation of: run, step and protocol."""
    return record["fingerprint"], record["step"], atomic.canonical_json(record["protocol"])


def select(pool: list[Record], spec: RunSpec, protocol: Protocol) -> list[Record]:
    """Records of a run under a protocol, by step, as far as the spec goes and at no other step.

    A record with other further feature spaces will do, where there is none under the protocol itself.
    """
    wanted, steps = protocol.model_dump(mode="json"), {*spec.milestones, spec.num_steps}
    matches: dict[int, Record] = {}
    for record in pool:
        step, own = record["step"], record["protocol"]
        if record["fingerprint"] != spec.fingerprint or step not in steps or not protocol.fits(own):
            continue
        if step not in matches or own == wanted:
            matches[step] = record
    return [matches[step] for step in sorted(matches)]


def commit() -> str:
    """Commit of the code, with ``+`` if the package differs from it; ``unknown`` outside git."""
    package = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(package), *arguments], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        return head + ("+" if head and git("status", "--porcelain", "--", str(package)) else "") or "unknown"
    except OSError:
        return "unknown"


def device_name(device: torch.device) -> str:
    """Type of the device, and its model where PyTorch knows it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
