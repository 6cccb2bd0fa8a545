"""Has the distance converged in the number of sampler steps?"""

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from ..evaluation import log_ratio
from ..experiments.profiles import Profile
from ..experiments.store import Record
from ..sampling import SamplerConfig
from .facts import plain
from .theme import ACCENT, COLORS, floor_line, log_axis, new_figure, save


def convergence_frame(pool: list[Record]) -> pd.DataFrame:
    """One row per evaluation: seed, solver, velocity evaluations (NFE), distance and its interval."""
    rows = [
        {
            "seed": record["seed"],
            "solver": record["protocol"]["solver"],
            "nfe": SamplerConfig(record["protocol"]["solver"], record["protocol"]["num_steps"]).nfe,
            "fd": record["metrics"]["fd"]["value"],
            "fd_low": record["metrics"]["fd"]["low"],
            "fd_high": record["metrics"]["fd"]["high"],
        }
        for record in pool
    ]
    return pd.DataFrame(rows)


def relative_to_finest(frame: pd.DataFrame) -> pd.DataFrame:
    """The same with ``change``: the distance over that of Heun with the most steps, same seed, minus 1."""
    finest = frame[(frame.solver == "heun") & (frame.nfe == frame.nfe.max())].set_index("seed").fd
    return frame.assign(change=frame.fd / frame.seed.map(finest) - 1)


def convergence_figure(frame: pd.DataFrame, row: Profile) -> Figure:
    """Change against the finest Heun grid by NFE and solver, one line per training seed.

    Args:
        frame: of ``relative_to_finest``.
        row: the profile, whose choice is marked.
    """
    figure, (ax,) = new_figure(7, 4.4)
    percent = frame.assign(change=100 * frame.change)
    sns.lineplot(percent, x="nfe", y="change", hue="solver", hue_order=["heun", "euler"],
                 palette={"heun": COLORS["infonce-l2"], "euler": COLORS["hinge"]}, style="solver",
                 style_order=["heun", "euler"], markers=["o", "s"], dashes=False, units="seed",
                 estimator=None, ax=ax)  # fmt: skip
    seeds = frame.seed.nunique()
    ax.set(xlabel="velocity evaluations per image (NFE)",
           ylabel="change of the Fréchet distance, %",
           title=f"Baseline, last step, {seeds} seed{'s' * (seeds != 1)}")  # fmt: skip
    floor_line(ax, 0, f"Heun, {frame.nfe.max()} NFE", color=COLORS["baseline"])
    ax.axvline(row.protocol.sampler.nfe, color=ACCENT, linestyle=":", linewidth=1.2, zorder=1)
    ax.annotate("the profile's choice", (row.protocol.sampler.nfe, 1), (3, -2), color=ACCENT, fontsize=9,
                xycoords=ax.get_xaxis_transform(), textcoords="offset points", va="top")  # fmt: skip
    log_axis(ax.xaxis, sorted(set(frame.nfe)))
    ax.legend(title=None)
    return figure


def draw_convergence(pool: list[Record], row: Profile, folder: Path) -> Path:
    """Draw the convergence figure into ``folder`` with its sidecar."""
    frame = relative_to_finest(convergence_frame(pool))
    by_grid = {key: grid.set_index("seed").fd.to_dict() for key, grid in frame.groupby(["solver", "nfe"])}
    finest = by_grid.get(("heun", frame.nfe.max()), {})
    runs: dict[str, dict[str, object]] = {}
    for record in pool:
        entry = runs.setdefault(record["fingerprint"], {"label": record["name"], "seed": record["seed"],
                                "fingerprint": record["fingerprint"], "commits": set()})  # fmt: skip
        entry["commits"] = sorted({*entry["commits"], record["commit"]})  # type: ignore[misc]
    facts = {
        "item": "sampler",
        # Of each value, solver and number of steps are its own.
        "protocol": row.protocol.model_dump(mode="json") | {"guided_samples": 0},
        "changes": [  # log ratios to the finest grid; an interval takes two seeds
            {"solver": solver, "nfe": int(nfe), "change": plain(log_ratio(fd, finest))}
            for (solver, nfe), fd in by_grid.items()
            if fd.keys() & finest.keys()
        ],
        "values": plain(frame.to_dict(orient="records")),
        "runs": list(runs.values()),
    }
    return save(convergence_figure(frame, row), folder / "sampler", facts, stamp=row.stamp)
