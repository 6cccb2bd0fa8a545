"""One readable training loop: ``loss = E[diffusion loss] + Σ λ · regulariser``."""

import contextlib
import dataclasses
import itertools
import json
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from .. import atomic, distributed
from ..data import ImageSet, LatentSet, batch_indices, load_data
from ..device import autocast
from ..errors import ConfigError, DataError, Interrupted, NonFiniteError, StorageError
from ..models import TransformerConfig, config_of
from ..objectives import ForwardPass, View, build_objective
from ..objectives.base import Network
from ..regularizers import block_indices
from ..spec import RunSpec
from . import checkpoint as checkpoints
from .folder import claim_folder, evaluated_steps
from .state import TrainState
from .targets import Targets

OnLog = Callable[[list[dict[str, float]]], None]
LINES_IN_MEMORY = 5


def train(
    spec: RunSpec, folder: str | Path, *, progress: bool = True, on_log: OnLog | None = None
) -> TrainState:
    """Train until ``spec.num_steps``, or go on from the newest checkpoint in ``folder``.

    A run that is longer already is returned as it is. Of its checkpoints stay the two newest, and every
    step that some specification of the run names as its end or a milestone, or that was evaluated.

    Every random draw is keyed by (seed, step), so an interrupted run that is started again gives the
    same bits as one that never stopped. Losses and gradients are checked before each update. SIGINT
    and SIGTERM finish the step, save, and raise ``Interrupted``.

    In a process group (``distributed.process_group``) the ranks train one run together: each takes an equal
    part of every batch, with its part of the same draws, and the run is that of one process to rounding. It
    may go on with another number of ranks. Rank 0 alone writes; all must see the folder. A signal to any
    rank, or an error of one, ends all.

    Args:
        spec: what to train.
        folder: the run's folder: ``spec.json``, ``metrics.jsonl``, ``checkpoints/``.
        progress: show a bar with images/s and time left.
        on_log: called with new rows of ``metrics.jsonl``, every few logged steps; on rank 0.

    Raises:
        ConfigError: the folder holds another run, or a setting doesn't fit data, ranks or this trainer.
        NonFiniteError: a loss or gradient is NaN or infinite; weights are those of the step before.
        LockedError: another process trains in this folder.
    """
    folder = Path(folder)
    if spec.engine != "single":
        raise ConfigError(
            f"engine = {spec.engine}: such a run is one of many that are trained as one; "
            "python -m disperse.experiments.ensemble --help"
        )
    with distributed.together():  # first the rank that may keep what it decodes, then those that find it
        data = load_data(spec.data) if distributed.rank() == 0 else None
    with distributed.together():
        data = load_data(spec.data) if data is None else data
    contents = distributed.gathered_objects((len(data), data.sha256[:12]))
    with distributed.together():
        if len(set(contents)) > 1:  # each rank would train on a part of another batch
            raise DataError(f"data = {spec.data}: the ranks found {contents}; give all the same images")
        check_fit(spec, data, config_of(spec))
        state = TrainState.initial(spec, distributed.rank_device(spec.device))
    with contextlib.ExitStack() as stack:
        received = stack.enter_context(_deferred_signals())
        saved, whole = None, spec
        with distributed.together():
            if distributed.rank() == 0:
                stack.enter_context(atomic.locked(folder / "lock"))
                whole = claim_folder(folder, spec, data.sha256)
                saved = checkpoints.load_latest(folder / "checkpoints", spec.fingerprint)
        whole, step = distributed.gathered_objects((whole, None if saved is None else saved.step))[0]
        with distributed.together():
            if step is not None:
                saved = saved or checkpoints.load(folder / "checkpoints", step, spec.fingerprint)
                state.restore(saved)
        if state.step < spec.num_steps:
            keep = {*whole.milestones, whole.num_steps, spec.num_steps}
            bar = tqdm(
                total=spec.num_steps * spec.batch_size,
                initial=state.step * spec.batch_size,
                unit="img",
                unit_scale=True,
                desc=spec.run_id,
                disable=not progress or distributed.rank() > 0,
            )
            _loop(state, data, folder, keep, received, stack.enter_context(bar), on_log)
    return state


def _loop(
    state: TrainState,
    data: ImageSet | LatentSet,
    folder: Path,
    keep: set[int],
    received: list[int],
    bar: tqdm,
    on_log: OnLog | None,
) -> None:
    spec, model, device, config = state.spec, state.model, state.device, state.model.config
    objective = build_objective(spec.objective, config.num_classes, label_drop=spec.label_drop)
    views = {term.view: None for term in state.regularizers if term.view is not None}
    probe = block_indices("quarter", config.depth)
    taps = tuple(sorted({*probe, *(block for term in state.regularizers for block in term.blocks)}))
    own = distributed.rows(spec.batch_size)
    with distributed.together():
        targets = [Targets(t.encoder, data, spec) if t.encoder else None for t in state.regularizers]
    teacher = None if objective.teacher is None else state.teacher(objective.teacher)
    network: Network = model
    if distributed.size() > 1:
        # Averages the gradients during the backward pass; two views are two calls before one such pass.
        network = DistributedDataParallel(model, gradient_as_bucket_view=True)
    network = torch.compile(network) if spec.compile else network
    heads = state.heads
    with distributed.together():
        log = MetricsLog(folder / "metrics.jsonl", state.step, on_log) if distributed.rank() == 0 else None
    started = time.monotonic() - state.elapsed_s
    model.train()
    while state.step < spec.num_steps:
        index = batch_indices(len(data), spec.batch_size, spec.seed, state.step)
        # The whole batch is drawn, whatever part of it is this rank's.
        draws = objective.draw((len(index), *config.image_shape), spec.seed, state.step)
        x, y = data.batch(index, spec.seed, state.step, flip=spec.flip, rows=own)
        x, y = x.to(device), y.to(device)

        with autocast(device, spec.precision):
            forward = objective.forward(network, x, y, draws.rows(own).to(device), taps=taps)
            losses = objective.losses(model, forward, teacher=teacher)
            seconds: dict[View | None, ForwardPass] = {}
            for view in views:
                again = objective.second_view(draws, view, spec.seed, state.step)
                seconds[view] = objective.forward(network, x, y, again.rows(own).to(device), taps=taps)
        diffusion = losses.losses.mean()
        wanted = [None if each is None else each.batch(index, state.step, own).to(device) for each in targets]
        terms = [
            term(forward, seconds.get(term.view), target).loss
            for term, target in zip(state.regularizers, wanted, strict=True)
        ]
        weights = [term.weight(state.step) for term in state.regularizers]
        loss = diffusion + sum(weight * value for weight, value in zip(weights, terms, strict=True))
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        distributed.average_gradients(heads)
        grad_norm, head_norm = _norm(model.parameters()), _norm(heads)
        loss, stop = _agreed(loss, received)
        if not torch.isfinite(loss + grad_norm + head_norm):
            error = _nonfinite(state, losses.losses, own.start, diffusion, terms)
            with distributed.together():
                if log:
                    log.flush()
                raise error
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(spec, state.step)
        state.optimizer.step()
        if state.own:
            with distributed.together():
                _update_own(state, forward, wanted)
        state.step += 1
        state.update_averages()
        state.elapsed_s = time.monotonic() - started

        if state.step % spec.log_interval == 0:
            values = _averaged(
                loss=loss,
                diffusion=diffusion,
                grad_norm=grad_norm,
                feature_rms=forward.features[probe[0]].float().square().mean(),
                **{name: part.mean() for name, part in losses.parts.items()},
                **{f"regularizer_{index}": value for index, value in enumerate(terms)},
                **{
                    f"regularizer_{index}_{name}": value
                    for index, term in enumerate(state.regularizers)
                    for name, value in term.diagnostics(forward).items()
                },
            )
            values["feature_rms"] = values["feature_rms"].sqrt()
            if log:
                log.add(state.step, values)
        bar.update(spec.batch_size)
        if distributed.size() == 1 and received:
            stop = received[0]  # it may have come since
        if state.step % spec.checkpoint_interval == 0 or state.step in keep or stop:
            with distributed.together():
                if log:
                    log.flush()
                    checkpoints.save(folder / "checkpoints", state.to_checkpoint())
                    # Looked up each time: another process may evaluate while this one trains.
                    checkpoints.prune(folder / "checkpoints", keep | evaluated_steps(folder))
        if stop:
            with distributed.together():
                raise Interrupted(
                    stop,
                    f"{folder}: stopped by {signal.Signals(stop).name} "
                    f"after step {state.step}, saved; type the same command to go on",
                )


def _norm(parameters: Iterable[Tensor]) -> Tensor:
    """Norm of the gradients; 0 where nothing has one."""
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def _update_own(state: TrainState, forward: ForwardPass, targets: list[Tensor | None]) -> None:
    """One step of each regulariser's own optimiser, on features that carry no gradient to the network.

    Raises:
        NonFiniteError: its loss or gradient is NaN or infinite; its parameters are those of the step before.
    """
    features = {block: z.detach() for block, z in forward.features.items()}
    for number, optimizer in state.own.items():
        term = state.regularizers[number]
        loss = term.own_loss(state.step, dataclasses.replace(forward, features=features), targets[number])
        if loss is None:
            continue
        optimizer.zero_grad(set_to_none=True)
        gradients = torch.autograd.grad(loss, term.own_parameters())
        for parameter, gradient in zip(term.own_parameters(), gradients, strict=True):
            parameter.grad = gradient
        distributed.average_gradients(term.own_parameters())
        if not torch.isfinite(loss + _norm(term.own_parameters())):
            raise NonFiniteError(
                f"step {state.step}: the own loss of regularizer {number} is not finite; its optimiser was "
                "not stepped; lower its learning rate"
            )
        optimizer.step()


def _agreed(loss: Tensor, received: list[int]) -> tuple[Tensor, int]:
    """The loss averaged over ranks, and a signal that any rank received (0: none), in one message."""
    if distributed.size() == 1:
        return loss, 0
    flag = loss.new_tensor(float(received[0] if received else 0))
    found = distributed.gathered(torch.stack([loss.detach(), flag]))
    return found[:, 0].mean(), int(found[:, 1].max())


def _averaged(**values: Tensor) -> dict[str, Tensor]:
    """Scalars averaged over ranks, in one message."""
    stacked = torch.stack([value.detach().float() for value in values.values()])
    return dict(zip(values, distributed.gathered(stacked).mean(dim=0).unbind(), strict=True))


def check_fit(spec: RunSpec, data: ImageSet | LatentSet, config: TransformerConfig) -> None:
    """Refuse what would fail later: before a folder is made, and before the first step."""
    if data.shape != config.image_shape:
        raise ConfigError(
            f"data = {spec.data}: images are {data.shape}, model {spec.model} expects {config.image_shape}"
        )
    if int(data.labels.max()) >= config.num_classes:
        raise ConfigError(
            f"data = {spec.data}: {int(data.labels.max()) + 1} classes, model {spec.model} has "
            f"{config.num_classes}; set overrides.num_classes"
        )
    batch_indices(len(data), spec.batch_size, spec.seed, 0)
    distributed.rows(spec.batch_size)
    for number, term in enumerate(spec.regularizers):
        try:
            term.check(spec.batch_size)
        except ConfigError as error:
            raise ConfigError(f"regularizers.{number}.{error}") from None


def learning_rate(spec: RunSpec, step: int) -> float:
    """Constant after a linear warm-up: ``lr · min(1, (step + 1)/warmup)``."""
    warmup = spec.optimizer.warmup_steps
    return spec.optimizer.lr * min(1.0, (step + 1) / warmup if warmup else 1.0)


class MetricsLog:
    """``metrics.jsonl``: one line per logged step; values wait on the device until ``flush``."""

    def __init__(self, path: Path, step: int, on_log: OnLog | None = None):
        self.path = path
        self.on_log = on_log
        self.pending: list[tuple[int, list[str], Tensor]] = []
        rows = []
        for number, row in enumerate(atomic.read_jsonl(path), start=1):
            found = row.get("step")
            if not isinstance(found, int) or isinstance(found, bool):
                raise StorageError(
                    f"{path}:{number}: step = {found!r}: expected an integer; repair or delete the line"
                )
            rows += [row] if found <= step else []
        if path.exists():  # lines after the checkpoint would stand twice
            atomic.write_text(path, "".join(json.dumps(row) + "\n" for row in rows))

    def add(self, step: int, values: dict[str, Tensor]) -> None:
        """Remember scalars of one step, without waiting for the device."""
        self.pending.append((step, list(values), torch.stack(list(values.values()))))
        if len(self.pending) >= LINES_IN_MEMORY:
            self.flush()

    def flush(self) -> None:
        """Append the pending lines."""
        rows = [
            {"step": step, **dict(zip(names, values.tolist(), strict=True))}
            for step, names, values in self.pending
        ]
        try:
            with open(self.path, "a", encoding="utf-8") as handle:
                handle.writelines(json.dumps(row) + "\n" for row in rows)
        except OSError as error:
            raise StorageError(
                f"{self.path}: cannot be written ({error.strerror}); free space, then go on"
            ) from error
        self.pending = []
        if self.on_log and rows:
            self.on_log(rows)


def _nonfinite(
    state: TrainState, losses: Tensor, first: int, diffusion: Tensor, terms: list[Tensor]
) -> NonFiniteError:
    """Says the same on every rank; ``first`` is the number in the batch of this rank's first sample."""
    bad = [first + index for index in (~torch.isfinite(losses)).nonzero().flatten().tolist()]
    samples = list(itertools.chain(*distributed.gathered_objects(bad)))[:8]
    named = {"diffusion loss": diffusion, **{f"regularizer {i}": v for i, v in enumerate(terms)}}
    named = _averaged(**named)
    named |= {
        f"gradient of {name}": p.grad.sum() for name, p in state.optimised.items() if p.grad is not None
    }
    what = next((name for name, value in named.items() if not torch.isfinite(value)), "total loss")
    return NonFiniteError(
        f"step {state.step}: {what} is not finite (samples of the batch: {samples or 'none singled out'}); "
        "nothing was updated; lower the learning rate or lam"
    )


@contextlib.contextmanager
def _deferred_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying of them; restore the handlers at the end."""
    received: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        received.append(number)

    previous = {}
    with contextlib.suppress(ValueError):  # not the main thread: signals go elsewhere
        for number in (signal.SIGINT, signal.SIGTERM):
            previous[number] = signal.signal(number, remember)
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
