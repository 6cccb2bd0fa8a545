"""Notebooks of a few lines, which declare toy runs and finish at once."""

from pathlib import Path

import nbformat

PARAMETERS = 'profile = "cpu"\nnum_seeds = 0\nsource = "both"'
PAIR = """
from disperse.experiments import dispersive_term, seeds_of
from disperse.experiments import profile as load_profile
row = load_profile(profile)
runs = [row.run(seed, *terms) for seed in seeds_of(profile, num_seeds) for terms in ((), (dispersive_term(),))]
"""
LONGER = (
    PAIR
    + """
runs = [spec.replace(num_steps=4 * row.num_steps, milestones=(2, 4, 8, 12)) for spec in runs]
"""
)
COARSE = (
    PAIR
    + """
runs = [(spec, [row.protocol.model_copy(update={"num_steps": n}) for n in (1, 2)]) for spec in runs]
networks = [spec for spec, _ in runs[:1]]
"""
)
# Writes what `finish` would, without the seconds that importing the library takes.
FINISH = """
import json, os, pathlib
home = pathlib.Path(os.environ["DISPERSE_HOME"])
folder = pathlib.Path(os.environ.get("DISPERSE_OUTPUT", home / f"papermill_runs/here/{profile}"))
(folder / "NAME.receipt.json").write_text(json.dumps({"token": os.environ["DISPERSE_NOTEBOOK_TOKEN"]}))
"""


def write(
    store: Path, name: str, *sources: str, runs: str = "", parameters: str = PARAMETERS, finish: bool = True
) -> Path:
    """A notebook of a store: parameters, its cell ``runs``, ``sources``, and the last cell."""
    cells = [nbformat.v4.new_code_cell(parameters)]
    cells[0].metadata["tags"] = ["parameters"]
    if runs:
        cells.append(nbformat.v4.new_code_cell(runs))
        cells[1].metadata["tags"] = ["runs"]
    cells += map(nbformat.v4.new_code_cell, sources)
    if finish:
        cells.append(nbformat.v4.new_code_cell(FINISH.replace("NAME", name)))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = store / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path
