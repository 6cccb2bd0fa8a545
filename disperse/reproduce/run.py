"""The main job: train what is missing, execute every notebook, say where everything lies."""

import time

from ..errors import RunFailedError
from ..experiments import complete_all, home, item, profile, records, resources
from .notebooks import execute, output_folder

# What a fresh machine trains; other notebooks draw on the published results.
HEADLINE = ("variants",)


def plan(profile_name: str, seeds: int) -> str:
    """The runs of a profile: what is finished, and what remains."""
    row = profile(profile_name)
    lines = [f"profile {profile_name}: {row.model}, {row.num_steps} steps of {row.batch_size}"]
    if row.gpus:
        lines.append(f"  each run: {resources(row, row.spec('baseline', 0)).describe()}")
    for name in HEADLINE:
        for cell in item(name, profile_name, tuple(range(seeds))):
            done = [record["step"] for record in records(cell.spec, row.protocol)]
            state = "finished" if cell.spec.num_steps in done else f"evaluated at {done or 'no step yet'}"
            lines.append(f"  {name}: {cell.label}, seed {cell.spec.seed}: {state} ({cell.spec.run_id})")
    return "\n".join(lines)


def reproduce(profile_name: str, seeds: int) -> None:
    """Fill the run store and execute the notebooks; a failed notebook does not stop the others.

    Raises:
        RunFailedError: after everything else is done, naming what failed and how to run it alone.
    """
    row = profile(profile_name)
    started = time.monotonic()
    failures: list[str] = []

    def notebook(name: str, **parameters: object) -> None:
        try:
            elapsed = execute(name, {"profile": profile_name, **parameters})
            print(f"{name}: done in {elapsed:.0f} s, {output_folder(profile_name) / name}.ipynb", flush=True)
        except RunFailedError as error:
            failures.append(str(error))
            print(f"FAILED {error}", flush=True)

    notebook("00_start_here")
    specs = [cell.spec for name in HEADLINE for cell in item(name, profile_name, tuple(range(seeds)))]
    try:
        complete_all(specs, row)
    except RunFailedError as error:
        failures.append(str(error))
    notebook("01_train")
    for name in HEADLINE:
        notebook(name, num_seeds=seeds)
    notebook("objectives")
    notebook("norm_cost")
    notebook("sampler")
    notebook("systems_tour")
    minutes = (time.monotonic() - started) / 60
    print(f"reproduced in {minutes:.1f} min: {output_folder(profile_name).relative_to(home())}/")
    if failures:
        raise RunFailedError(
            f"{len(failures)} failed: {'; '.join(failures)}. Run one alone with: "
            f"papermill notebooks/NAME.ipynb out.ipynb -p profile {profile_name}"
        )
