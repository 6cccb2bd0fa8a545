"""Has the distance converged in the number of sampler steps?"""

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ..experiments.profiles import Profile
from ..experiments.store import Record
from ..sampling import SamplerConfig
from .theme import ACCENT, COLORS, log_axis, new_figure, save


def convergence_frame(pool: list[Record]) -> pd.DataFrame:
    """One row per evaluation: seed, solver, velocity evaluations (NFE), distance."""
    rows = [
        {
            "seed": record["seed"],
            "solver": record["protocol"]["solver"],
            "nfe": SamplerConfig(record["protocol"]["solver"], record["protocol"]["num_steps"]).nfe,
            "fd": record["metrics"]["fd"]["value"],
        }
        for record in pool
    ]
    return pd.DataFrame(rows)


def relative_to_finest(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with ``change``: the distance over that of Heun with the most steps, same seed, minus 1."""
    finest = frame[(frame.solver == "heun") & (frame.nfe == frame.nfe.max())].set_index("seed").fd
    return frame.assign(change=frame.fd / frame.seed.map(finest) - 1)


def convergence_figure(frame: pd.DataFrame, row: Profile) -> Figure:
    """Distance against NFE by solver, one line per training seed; the profile's choice is marked."""
    figure, (ax,) = new_figure(6.5, 4.2)
    palette = {"heun": COLORS["infonce-l2"], "euler": COLORS["hinge"]}
    sns.lineplot(frame, x="nfe", y="fd", hue="solver", palette=palette, units="seed", estimator=None,
                 marker="o", ax=ax)  # fmt: skip
    ax.set(xscale="log", xlabel="velocity evaluations per image (NFE)", ylabel="Fréchet distance",
           title="Baseline, last step", ylim=(0, 1.15 * frame.fd.max()))  # fmt: skip
    ax.axvline(row.protocol.sampler.nfe, color=ACCENT, linestyle="--", linewidth=1.2)
    place = (row.protocol.sampler.nfe, 1.14 * frame.fd.max())
    ax.annotate(" the profile's choice", place, color=ACCENT, fontsize=10, va="top")
    log_axis(ax.xaxis)
    return figure


def draw_convergence(pool: list[Record], row: Profile, folder: Path) -> Path:
    """Draw the convergence figure into ``folder`` with its sidecar."""
    frame = relative_to_finest(convergence_frame(pool))
    facts = {
        "item": "sampler",
        "values": frame.to_dict(orient="records"),
        "fingerprints": sorted({record["fingerprint"] for record in pool}),
    }
    return save(convergence_figure(frame, row), folder / "sampler", facts, stamp=row.stamp)
