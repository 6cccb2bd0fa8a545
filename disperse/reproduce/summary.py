"""What was done, what failed, and what remains."""

from ..experiments import Profile, resources
from ..experiments.cost import remaining_core_hours
from ..experiments.resources import span
from ..folders import output_folder
from .cluster import asked_gpus, asked_hours, run_hours
from .jobs import Job, NotebookJob, Plan, RunJob, alone, missing

Hours = dict[str, tuple[float, float]]  # fingerprint of a run → (least, most) hours of what remains


def forget_failures(plan: Plan) -> None:
    """Remove the logs of jobs that aren't done: what has one at the end has failed this time."""
    for job in plan.jobs:
        if missing(job):
            job.log.unlink(missing_ok=True)


def failed(plan: Plan) -> list[Job]:
    """Jobs that were begun and have no result."""
    return [job for job in plan.jobs if missing(job) and job.log.exists()]


def waiting(plan: Plan) -> list[tuple[NotebookJob, RunJob]]:
    """Notebooks that were not executed, each with a run that it waits for."""
    return [
        (job, next(run for run in job.needs if missing(run)))
        for job in plan.notebooks
        if any(missing(run) for run in job.needs)
    ]


def summary(plan: Plan) -> str:
    """Where everything lies; what failed, why, where its log is and how to run it alone."""
    lines = []
    for job in failed(plan):
        lines += [f"FAILED {job.title}: {reason(job)}", f"  log: {job.log}", f"  alone: {alone(job)}"]
    lines += [f"not executed: {job.title} (waits for {run.title})" for job, run in waiting(plan)]
    lines += left_out(plan)
    runs, notebooks = (sum(not missing(job) for job in kind) for kind in (plan.runs, plan.notebooks))
    notebooks -= sum(not missing(job) for job, _ in waiting(plan))
    folder = output_folder(plan.row.name)
    lines.append(
        f"done: {runs} of {len(plan.runs)} runs, {notebooks} of {len(plan.notebooks)} notebooks ({folder})"
    )
    return "\n".join(lines)


def left_out(plan: Plan) -> list[str]:
    """A line for each notebook that would show runs that are neither asked for nor published."""
    return [
        f"left out: {name}; {count} of its runs aren't published (--train {name} trains them)"
        for name, count in plan.left_out.items()
    ]


def reason(job: Job) -> str:
    """Last line of a job's log, which says why it failed."""
    try:
        lines = job.log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "no log"
    last = next((line for line in reversed(lines) if line.strip()), "printed nothing (killed, or not begun?)")
    return last.removeprefix("disperse run: ").removeprefix(f"disperse notebook: {job.title}: ")


def plan_text(plan: Plan) -> str:
    """The runs and notebooks of a plan: what is finished, what remains, and for how long."""
    row = plan.row
    lines = [f"profile {row.name}: {row.model}, {row.num_steps} steps of {row.batch_size}"]
    if row.gpus:
        lines.append(f"  the baseline: {resources(row, row.spec('baseline', 0)).describe()}")
    if row.unpublished:
        lines.append(f"  not published, so ours: {'; '.join(row.unpublished)}")
    hours = _hours(plan)
    for run in plan.runs:
        left = len(missing(run))
        state = f"{left} of {len(run.outputs)} results to do" if left else "finished"
        told = f"; {_price(run, hours[run.spec.fingerprint], row)}" if left else ""
        lines.append(f"  {run.title}: {state} ({run.spec.run_id}, {run.spec.num_steps} steps){told}")
    for job in plan.notebooks:
        remaining = sum(bool(missing(run)) for run in job.needs)
        state = f"waits for {remaining} runs" if remaining else "not executed" if missing(job) else "executed"
        told = f"; {_asked(job, row)}" if row.gpus and missing(job) else ""
        lines.append(f"  notebook {job.title}: {state}{told}")
    lines += [f"  {line}" for line in left_out(plan)]
    lines.append(f"to do: {len(hours)} of {len(plan.runs)} runs, {_cost(plan, hours)}")
    return "\n".join(lines)


def _hours(plan: Plan) -> Hours:
    """Of each run that isn't finished, by fingerprint."""
    runs = [run for run in plan.runs if missing(run)]
    if plan.row.gpus:
        return {run.spec.fingerprint: run_hours(run, plan.row) for run in runs}
    remaining = remaining_core_hours([(run.spec, run.evaluations) for run in runs])
    return {run.spec.fingerprint: (own, own) for run, own in zip(runs, remaining, strict=True)}


def _price(run: RunJob, hours: tuple[float, float], row: Profile) -> str:
    return f"{span(hours)}, {_asked(run, row)}" if row.gpus else _core_time(hours[1])


def _asked(job: Job, row: Profile) -> str:
    gpus = asked_gpus(job, row)
    return f"asks for {asked_hours(job, row):.1f} h of {gpus} GPU{'s' * (gpus > 1)}"


def _core_time(hours: float) -> str:
    return f"about {hours:.1f} core-hours" if hours >= 1 else f"about {60 * hours:.0f} core-minutes"


def cost(plan: Plan) -> str:
    """What remains to be trained and evaluated, in words."""
    return _cost(plan, _hours(plan))


def _cost(plan: Plan, hours: Hours) -> str:
    row = plan.row
    low, high = (sum(own[end] for own in hours.values()) for end in (0, 1))
    if not row.gpus:
        return f"{_core_time(high)} (an estimate, without the notebooks)"
    # How fast they are isn't known before one has run.
    bound = row.gpus * sum(asked_hours(run, row) for run in plan.runs if run.spec.fingerprint in hours)
    return f"{row.gpus * low:.0f} to {row.gpus * high:.0f} GPU-hours (computed; the jobs ask for {bound:.0f})"
