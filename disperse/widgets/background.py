"""One job at a time in the background: a newer one cancels the one before."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .scenes import Cancelled, OnProgress


class Newest:
    """Runs the newest of the jobs that it is given, in a thread of its own.

    What ``progress``, ``done`` and ``failed`` are told comes from that thread, and of the newest job alone:
    a job learns at its next sign of progress that it is no longer wanted. They are called under ``lock``;
    whoever holds it is not interrupted by them, and hears nothing more of a job that it cancels.
    """

    def __init__(self) -> None:
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="gallery")
        self.wanted: object | None = None
        self.future: Future[None] | None = None
        self.lock = threading.RLock()

    def start(
        self,
        job: Callable[[OnProgress], Any],
        *,
        progress: OnProgress,
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        """Cancel what runs, and run ``job`` as soon as that has noticed."""
        mine = object()
        with self.lock:
            self.wanted = mine
            self.future = self.thread.submit(self._run, mine, job, progress, done, failed)

    def cancel(self) -> None:
        """What runs is no longer wanted."""
        with self.lock:
            self.wanted = None

    def wait(self, timeout_s: float | None = None) -> None:
        """Until the newest job has ended."""
        if self.future is not None:
            self.future.result(timeout_s)

    def _run(
        self,
        mine: object,
        job: Callable[[OnProgress], Any],
        progress: OnProgress,
        done: Callable[[Any], None],
        failed: Callable[[Exception], None],
    ) -> None:
        def told(share: float) -> None:
            with self.lock:  # or a job that was cancelled just now could still be heard
                if self.wanted is not mine:
                    raise Cancelled("cancelled")
                progress(share)

        try:
            told(0.0)
            result = job(told)
            with self.lock:
                if self.wanted is mine:
                    done(result)
        except Cancelled:
            return
        except Exception as error:  # shown, whatever it is: nobody reads a thread's traceback
            with self.lock:
                if self.wanted is mine:
                    failed(error)
