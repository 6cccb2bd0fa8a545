"""Two processes with a process group, which call what they are told to and say what came of it."""

import multiprocessing
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

SIZE = 2
WAIT_S = 120  # a hang is a failure


class Ranks:
    """``ranks(function, *arguments)`` calls a function of a module on both; gives the two results."""

    def __init__(self, folder: Path):
        context = multiprocessing.get_context("spawn")
        self.pipes: list[Connection] = []
        self.processes = []
        for rank in range(SIZE):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, folder / "rendezvous", theirs), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        for pipe in self.pipes:
            pipe.send((function, arguments))
        answers = []
        for rank, pipe in enumerate(self.pipes):
            if not pipe.poll(WAIT_S):
                self.close()
                raise AssertionError(f"rank {rank} does not answer")
            answers.append(pipe.recv())
        problems = [problem for problem, _ in answers if problem]
        assert not problems, "\n".join(problems)
        return [result for _, result in answers]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()


def _serve(rank: int, rendezvous: Path, pipe: Connection) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", ".*torch.jit.*is deprecated", DeprecationWarning)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=SIZE)
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = None, function(*arguments)
        except BaseException:
            answer = f"rank {rank}: {traceback.format_exc()}", None
        pipe.send(answer)
