"""Every run and notebook of a profile as a job: `disperse reproduce` starts this, or Snakemake directly.

    snakemake --profile profiles/slurm --config profile=cpu train=all seeds=3

Settings that hold everywhere are in profiles/default; what there is to do is in disperse/reproduce/jobs.py.
"""

import os
import shlex
import sys
from pathlib import Path

from disperse.errors import DisperseError
from disperse.reproduce import cluster, jobs, summary
from disperse.reproduce.worker import end_group_with
from snakemake.exceptions import WorkflowError

# torchrun lies beside the Python that runs this; a batch system's shell may not know it.
shell.prefix(f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH; ")
end_group_with(int(os.environ.get("DISPERSE_ENGINE", 0)))

try:
    PLAN = jobs.make_plan(
        config.get("profile", "cpu"), str(config.get("train", "headline")), int(config.get("seeds", 1))
    )
except DisperseError as error:
    raise WorkflowError(str(error)) from None


COMMANDS = {str(job.outputs[0]): jobs.shell_command(job, PLAN.row) for job in PLAN.jobs}


def command(wildcards, output):
    """What a job runs. Looked up by its output, it is no param that makes results stale when it changes."""
    return COMMANDS[output[0]]


rule all:
    default_target: True
    localrule: True
    input:
        [path for job in PLAN.jobs for path in job.outputs],


# A rule each: rules with wildcards can't have as many outputs as a run has milestones. `update` keeps what is
# there: an evaluation of a run that goes on is as good as before.
for job in PLAN.runs:

    rule:
        name:
            f"run_{job.spec.fingerprint}"
        output:
            [update(str(path)) for path in job.outputs],
        log:
            str(job.log),
        # In the order of the notebooks, so that the first notebooks needn't wait for the last runs.
        priority: len(PLAN.runs) - PLAN.runs.index(job)
        threads: PLAN.row.cores
        params:
            command=command,
        resources:
            **cluster.asked(job, PLAN.row),
        shell:
            "{params.command}"


for job in PLAN.notebooks:

    rule:
        name:
            f"notebook_{job.title}"
        input:
            [str(path) for run in job.needs for path in run.outputs],
        output:
            str(job.outputs[0]),
            update(str(job.outputs[1])),
        log:
            str(job.log),
        params:
            command=command,
            **job.depends,
        # Pictures before runs, the first notebook before all.
        priority: 2**40 - PLAN.notebooks.index(job)
        resources:
            **cluster.asked(job, PLAN.row),
        shell:
            "{params.command}"


onstart:
    summary.forget_failures(PLAN)
    jobs.write_jobs(PLAN)


onsuccess:
    print(summary.summary(PLAN))


onerror:
    print(summary.summary(PLAN))
