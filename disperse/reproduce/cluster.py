"""What a job asks of a cluster, and how long it is computed to take."""

import math

import torch

from ..experiments import LOOKS, Profile, item, resources
from ..experiments.cost import core_hours, evaluation_core_hours
from ..experiments.resources import evaluation_hours
from .jobs import NOTEBOOKS, Draws, Job, RunJob

MARGIN = 1.5  # over the longest that is computed: chips are shared, disks slow
START_HOURS = 0.25  # Python, PyTorch, the data's first check, compilation


def run_hours(job: RunJob, row: Profile) -> tuple[float, float]:
    """(least, most), wall time of a run to its end, every evaluation with it."""
    if row.gpus:
        return resources(row, job.spec).hours
    hours = core_hours(job.spec, job.protocol)
    return hours, hours


def notebook_hours(name: str, parameters: dict[str, object], row: Profile) -> tuple[float, float]:
    """(least, most), wall time of the look that a notebook takes at runs, on one GPU or core; 0 without one.

    Args:
        name: of the notebook.
        parameters: that it is executed with.
        row: the profile.
    """
    draws = NOTEBOOKS.get(name, Draws())
    if not draws.look:
        return 0.0, 0.0
    look, low, high = LOOKS[draws.look], 0.0, 0.0
    seeds = max(int(str(parameters.get("num_seeds", 0))), 1)
    for each in filter(lambda each: each in look.items, (draws.own, *draws.beside)):
        for cell in filter(look.wants, item(str(each), row.name, tuple(range(seeds)))):
            for protocol in look.protocols(row, cell.spec.objective.kind):
                own = evaluation_core_hours(cell.spec, protocol)
                least, most = evaluation_hours(cell.spec, protocol) if row.gpus else (own, own)
                low, high = low + least, high + most
    return low, high


def asked_hours(job: Job, row: Profile) -> float:
    """Hours that a job asks for: computed, with a margin, and no less than the profile says."""
    if isinstance(job, RunJob):
        most = run_hours(job, row)[1]
    else:
        most = notebook_hours(job.title, job.parameters, row)[1]
    return max(row.hours, START_HOURS + MARGIN * most)


def asked_gpus(job: Job, row: Profile) -> int:
    """Accelerators that a job asks for: a notebook one, where runs ask for any."""
    return row.gpus if isinstance(job, RunJob) else min(row.gpus, 1)


def asked(job: Job, row: Profile) -> dict[str, int | str]:
    """What a job asks of a cluster, in Snakemake's names.

    An accelerator of this machine is asked for as well, so that jobs take turns on it.
    """
    here = int(torch.cuda.is_available() or torch.backends.mps.is_available())
    gpus = asked_gpus(job, row) or here
    wanted: dict[str, int | str] = {
        "mem_mb": 1024 * row.memory_gb,
        "runtime": math.ceil(60 * asked_hours(job, row)),
    }
    return {**wanted, "gpu": gpus} if gpus else wanted


def cell_seconds(name: str, parameters: dict[str, object], row: Profile, *, least: int) -> int:
    """Longest time for a cell of a notebook: ``least``, or more where its look is computed to take longer."""
    return max(least, math.ceil(3600 * MARGIN * notebook_hours(name, parameters, row)[1]))
