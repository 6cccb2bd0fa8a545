"""What a job asks of a cluster, and how long it is computed to take."""

import math

import torch

from ..experiments import Profile, resources
from ..experiments.cost import core_hours
from ..experiments.resources import evaluation_hours
from .jobs import Job, RunJob

MARGIN = 1.5  # over the longest that is computed: chips are shared, disks slow
START_HOURS = 0.25  # Python, PyTorch, the data's first check, compilation


def run_hours(job: RunJob, row: Profile) -> tuple[float, float]:
    """(least, most), wall time of a run to its end, every evaluation with it."""
    if not row.gpus:
        hours = core_hours(job.spec, job.evaluations)
        return hours, hours
    low, high = resources(row, job.spec).train_hours
    each = [evaluation_hours(job.spec, protocol) for _, protocol in job.evaluations]
    return low + sum(least for least, _ in each), high + sum(most for _, most in each)


def asked_hours(job: Job, row: Profile) -> float:
    """Hours that a job asks for: computed, with a margin, and no less than the profile says."""
    most = run_hours(job, row)[1] if isinstance(job, RunJob) else 0.0
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
