"""Complete many runs, several processes at a time, with one progress bar for all."""

import multiprocessing
import os
import signal
import threading
import time
import warnings
from concurrent.futures import Future, ProcessPoolExecutor, wait

import torch
from tqdm import tqdm

from ..errors import DisperseError, Interrupted, RunFailedError
from ..spec import RunSpec
from ..store import Evaluations, complete, is_complete, run_folder


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


Job = tuple[RunSpec, Evaluations]


def complete_jobs(
    jobs: list[Job], *, processes: int | None = None, progress: bool = True, niceness: int = 0
) -> None:
    """Train and evaluate runs in their order, several at a time; a failed run does not stop the others.

    Args:
        jobs: runs and their evaluations; those that are finished cost nothing.
        processes: how many at a time, one thread each; None takes every core on a machine without
            accelerator, and one process with one.
        progress: show images done of all runs.
        niceness: by how much the processes give way to others, 0 to 19.

    Raises:
        RunFailedError: after all are done, naming each run that failed and why.
        Interrupted: Ctrl-C; every run saved its last step.
    """
    jobs = [job for job in jobs if not is_complete(*job)]
    if not jobs:
        return
    if processes is None:
        processes = 1 if torch.cuda.is_available() or torch.backends.mps.is_available() else cores()
    # Jobs of one run, of several lengths, share its folder: one worker takes them in turn.
    runs: dict[str, list[Job]] = {}
    for job in jobs:
        runs.setdefault(job[0].fingerprint, []).append(job)
    lengths = [sorted(same, key=lambda job: job[0].num_steps) for same in runs.values()]
    longest = [same[-1][0] for same in lengths]
    total = sum(spec.num_steps * spec.batch_size for spec in longest)
    # spawn: a forked PyTorch may hang on the thread pools of its parent.
    context = multiprocessing.get_context("spawn")
    failures: dict[str, str] = {}
    with (
        ProcessPoolExecutor(
            processes, mp_context=context, initializer=start_worker, initargs=(niceness,)
        ) as pool,
        tqdm(total=total, unit="img", unit_scale=True, desc="runs", disable=not progress) as bar,
    ):
        of_future = {pool.submit(_work, same): same[-1][0] for same in lengths}
        pending: set[Future[None]] = set(of_future)
        try:
            while pending:
                done, pending = wait(pending, timeout=1.0)
                for future in done:
                    error = future.exception()
                    if error is not None:
                        failures[of_future[future].run_id] = _reason(error)
                if progress:
                    count = len(of_future)
                    bar.set_postfix_str(f"{count - len(pending)} of {count} runs", refresh=False)
                    bar.update(sum(map(_seen_images, longest)) - bar.n)
        except KeyboardInterrupt:
            for worker in multiprocessing.active_children():
                worker.terminate()  # SIGTERM: saves the last step if it is training
            pool.shutdown(wait=True, cancel_futures=True)
            raise Interrupted(
                signal.SIGINT, "stopped; runs are saved, type the same command to go on"
            ) from None
    if failures:
        reasons = "; ".join(f"{run}: {reason}" for run, reason in failures.items())
        raise RunFailedError(f"{len(failures)} of {len(runs)} runs failed: {reasons}")


_interrupted: list[BaseException] = []


def _work(lengths: list[Job]) -> None:
    """``complete`` in a worker; after a signal, jobs that were queued already are not begun."""
    if _interrupted:
        raise _interrupted[0]
    try:
        for spec, evaluations in lengths:
            complete(spec, evaluations)
    except (Interrupted, KeyboardInterrupt) as error:
        _interrupted.append(error)
        raise


def start_worker(niceness: int = 0) -> None:
    """What a worker process does first: one thread, and an end when its parent ends."""
    os.nice(niceness)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.simplefilter("default")


def _end_with_parent() -> None:
    """A killed parent must not leave workers that train on and hold the locks of their runs."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        end_gently()


def end_gently() -> None:
    """End this process, from any thread: training saves its last step first; what hangs is cut off."""
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)
    os._exit(143)


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, DisperseError) else f"{type(error).__name__}: {error}"


def _seen_images(spec: RunSpec) -> int:
    """Images so far, from the end of the log; a few steps behind."""
    path = run_folder(spec) / "metrics.jsonl"
    try:
        with open(path, "rb") as handle:
            handle.seek(max(path.stat().st_size - 600, 0))
            lines = handle.read().splitlines()
        rows = [line for line in lines if line.startswith(b'{"step": ')]
        step = int(rows[-1].split(b",")[0].split(b":")[1]) if rows else 0
    except (OSError, ValueError):
        step = 0
    return min(step, spec.num_steps) * spec.batch_size
