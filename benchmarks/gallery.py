"""How long the gallery lets one wait, and whether it grows; networks of a profile, trained for one step.

First grid: from an empty gallery to 40 samples of both runs, with the models read from disk. New: another
seed, to be sampled. Kept: back to samples that were shown before. Scrub: another frame. Growth: resident
memory over 200 turns of the controls, after 20 to warm up, with room for 1 MB of samples.

    python benchmarks/gallery.py --profile cpu --repeats 20
"""

import argparse
import gc
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from disperse.experiments import dispersive_term, profile, run_folder
from disperse.training import train
from disperse.widgets import Gallery
from disperse.widgets.sources import loaded


def seconds(what: Callable[[], object]) -> float:
    """That a call takes."""
    start = time.perf_counter()
    what()
    return time.perf_counter() - start


def resident_mb() -> float:
    """Memory of this process, in MB."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20
    except OSError:  # elsewhere only the peak is known
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DISPERSE_HOME"] = folder
        runs = []
        for terms in ((), (dispersive_term("infonce-l2"),)):
            spec = profile(options.profile).run(0, *terms, num_steps=1, milestones=())
            runs.append(run_folder(spec))
            train(spec, runs[-1], progress=False)
        measure(runs, options.repeats)


def measure(runs: list[Path], repeats: int) -> None:
    """All of it, with the galleries' default settings."""

    def first() -> Gallery:
        loaded.cache_clear()
        gallery = Gallery(runs)
        gallery.wait()
        return gallery

    def turn(name: str, value: object) -> None:
        setattr(getattr(gallery.controls, name), "value", value)  # noqa: B010
        gallery.wait()

    print(f"{torch.get_num_threads()} threads, PyTorch {torch.__version__}")
    grids = [seconds(first) for _ in range(5)]
    gallery = first()
    print(gallery.controls.settings.describe())
    seed = iter(range(1, 10**6))
    new = [seconds(lambda: turn("first_seed", next(seed))) for _ in range(5)]
    kept = [seconds(lambda n=n: turn("first_seed", n % 5 + 1)) for n in range(repeats)]  # type: ignore[misc]
    scrub = [seconds(lambda n=n: gallery.frame.set_trait("value", n % 12)) for n in range(repeats)]  # type: ignore[misc]
    for name, times in (("first grid", grids), ("new", new), ("kept", kept), ("scrub", scrub)):
        print(f"{name:10}  median {statistics.median(times):.3f} s, longest {max(times):.3f} s")
    turn("num_steps", 1)
    gallery.scenes.room = 2**20  # full before the first of the turns that count
    for number in range(220):
        if number == 20:
            gc.collect()
            before = resident_mb()
        turn("first_seed", next(seed))
        gallery.frame.value = number % 2
        gallery.pictures[0].selected = number % 40
    gc.collect()
    print(f"growth      {resident_mb() - before:.1f} MB over 200 turns ({len(gallery.scenes.kept)} kept)")


if __name__ == "__main__":
    main()
