"""The systems side by side: how they learn, trajectories from the same noise, the order of solvers."""

from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from torch import Tensor

from .. import atomic
from ..analysis.gaussian import GaussianFlow, ode_error, order, sde_error
from ..experiments import compare, tables
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..objectives import PATHS
from ..sampling.sde import diffusion_coefficient
from ..store import Record
from .changes import hollow_curves, unguided
from .facts import floor_of, plain, save_results
from .seeds import PAIR, PAIR_NAMES, seeds_shown, with_count
from .theme import ACCENT, COLORS, COLUMN, band, floor_line, log_axis, new_figure, save, say_not_measured

# Neither the baseline's hue nor the term's is a solver's: colour, and line and mark, of ODE and SDE.
SOLVERS = {
    "euler": ("#a35c1c", "o-", "Euler, ODE"),
    "heun": ("#117733", "o-", "Heun, ODE"),
    "sde-euler": ("#a35c1c", "s--", "Euler–Maruyama, SDE (weak)"),
    "sde-heun": ("#117733", "s--", "stochastic Heun, SDE (weak)"),
}


def trajectories_figure(trajectories: dict[str, Tensor]) -> Figure:
    """One row per label: the state of one image from noise (left) to the end, label → (frames, c, h, w).

    Each frame is drawn on its own grey scale of ±2 standard deviations of noise, so that noise and image
    are both seen.
    """
    frames = max(len(states) for states in trajectories.values())
    side = min(1.05, (COLUMN - 2.2) / frames)  # inches; names take the rest
    figure, axes = new_figure(
        side * frames + 2.2, 1.07 * side * len(trajectories), columns=frames, rows=len(trajectories)
    )
    grid = axes.reshape(len(trajectories), frames)
    for row, (label, states) in zip(grid, trajectories.items(), strict=True):
        positions = np.linspace(0, frames - 1, len(states)).round().astype(int)
        for ax in row:
            ax.set_axis_off()
        for position, state in zip(positions, states, strict=True):
            image = state[0] if state.shape[0] == 1 else (state[:3].permute(1, 2, 0) + 1) / 2
            bound = 2.0 if position < frames - 1 else 1.0
            row[position].imshow(image.numpy(), cmap="gray", vmin=-bound, vmax=bound)
        row[0].annotate(label, (-0.15, 0.5), xycoords="axes fraction", ha="right", va="center", fontsize=10)
    return figure


GRIDS = (8, 16, 32, 64, 128, 256)


def solver_order_errors(num_steps: tuple[int, ...] = GRIDS) -> dict[str, list[float]]:
    """Errors of the solvers on a Gaussian flow known exactly (linear path, float64), for each step count."""
    flow = GaussianFlow(PATHS["linear"], 0.7, 0.5)
    diffusion = diffusion_coefficient("sigma", flow.path)
    return {
        "euler": [ode_error(flow, "euler", n) for n in num_steps],
        "heun": [ode_error(flow, "heun", n) for n in num_steps],
        "sde-euler": [sde_error(flow, "sde-euler", diffusion, n) for n in num_steps],
        "sde-heun": [sde_error(flow, "sde-heun", diffusion, n) for n in num_steps],
    }


def solver_order_figure(errors: dict[str, list[float]], num_steps: tuple[int, ...] = GRIDS) -> Figure:
    """Error against steps, with the order fitted over the last four grids."""
    figure, (ax,) = new_figure(6.5, 4.3)
    for solver, values in errors.items():
        fitted = order(lambda n, v=values: v[num_steps.index(n)], num_steps[-4:])  # type: ignore[misc]
        color, line, name = SOLVERS[solver]
        ax.plot(num_steps, values, line, color=color, label=f"{name}: order {fitted:.2f}")
    ax.set(xscale="log", yscale="log", xlabel="steps", ylabel="error at the end")
    ax.set_title("Order of convergence on an exact flow")
    log_axis(ax.xaxis)
    reference = np.array(num_steps, dtype=float)
    for power in (1, 2):
        line = 0.6 * (reference / reference[0]) ** -power
        ax.plot(reference, line, color=ACCENT, linewidth=0.8, linestyle=":")
        ax.annotate(f"slope {power}", (reference[-1], line[-1]), (0, 8), textcoords="offset points",
                    color=ACCENT, fontsize=10, ha="right", va="bottom")  # fmt: skip
    ax.legend(loc="lower left")
    return figure


def draw_solver_order(folder: Path, row: Profile) -> Path:
    """Measure and draw the order of the solvers into ``folder``; returns the picture."""
    errors = solver_order_errors()
    return save(solver_order_figure(errors), folder / "solver_order", {"errors": errors},
                source="from an exact flow; no run", stamp=row.stamp)  # fmt: skip


SYSTEM_NAMES = {"sit": "SiT", "dit": "DiT", "meanflow": "MeanFlow"}
SYSTEM_MARKERS = {"SiT": "o", "DiT": "s", "MeanFlow": "^"}


def systems_figure(frame: pd.DataFrame, row: Profile) -> Figure:
    """Distance and class agreement over training: colour says the term, line and marker the system.

    Args:
        frame: rows of ``compare.curves`` with columns ``system`` and ``term`` (baseline, infonce-l2).
        row: the profile.
    """
    figure, (left, right) = new_figure(COLUMN, 4.8, columns=2)
    styles = [name for name in SYSTEM_NAMES.values() if name in set(frame.system)]
    for ax, column, ylabel in ((left, "fd", "Fréchet distance"), (right, "agreement", "class agreement")):
        sns.lineplot(frame, x="step", y=column, hue="term", hue_order=PAIR,
                     palette=COLORS, style="system", style_order=styles, markers=SYSTEM_MARKERS,
                     errorbar=band(column), err_kws={"alpha": 0.12}, ax=ax, legend=ax is left)  # fmt: skip
        ax.set(xlabel="training step", ylabel=ylabel)
        ax.set_xticks(sorted(set(frame.step)))
    left.set_title("Quality")
    right.set_title("Is it the class asked for?")
    floor_line(left, floor_of(row.protocol), "real against real", right=False)
    log_axis(left.yaxis)
    right.set_ylim(top=1.01)
    if frame.agreement.isna().all():
        say_not_measured(right)
    seeds = {name: int(frame[frame.system == name].seed.nunique()) for name in styles}
    for ax in (left, right):
        single = [SYSTEM_MARKERS[name] for name, n in seeds.items() if n == 1]
        hollow_curves(ax, [(COLORS[term], shape) for shape in single for term in PAIR])
    named = PAIR_NAMES | {name: with_count(name, n, seeds.values()) for name, n in seeds.items()}
    handles, labels = left.get_legend_handles_labels()
    left.get_legend().remove()
    shown = {named.get(name, name): h for h, name in zip(handles, labels, strict=True)
             if name in {*frame.term, *styles}}  # fmt: skip
    figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=len(shown),
                  columnspacing=1.2, title="bands: " + seeds_shown(seeds.values()),
                  title_fontsize=10)  # fmt: skip
    return figure


def systems_frame(pool: list[Record], cells: list[Cell], row: Profile) -> pd.DataFrame:
    """Evaluations of the systems' runs, with the system's name and the term."""
    frame = pd.DataFrame(compare.curves(pool, cells, row))
    kinds = {cell.label: cell.spec.objective.kind for cell in cells}
    frame["system"] = [SYSTEM_NAMES[kinds[label]] for label in frame.label]
    frame["term"] = ["infonce-l2" if label.endswith("infonce-l2") else "baseline" for label in frame.label]
    return frame


def draw_systems(pool: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, Path]:
    """Draw learning curves and table of the systems into ``folder``; returns (table, picture)."""
    rows = unguided(compare.compare(pool, cells, row), cells, row)
    frame = systems_frame(pool, cells, row)
    cards = {SYSTEM_NAMES[k]: row.protocol_of(k) for k in SYSTEM_NAMES}
    text = "; ".join(f"{name}: {protocol.sampler.describe()}" for name, protocol in cards.items())
    table = folder / "systems_tour.md"
    card = f"{row.protocol.card()}. Samplers: {text}."
    own = {"baseline": "SiT, baseline", "infonce-l2": "SiT, InfoNCE ℓ2"}
    atomic.write_text(table, tables.comparison_markdown(rows, card, names=own))
    facts = {
        "item": "systems_tour",
        "protocols": {name: protocol.model_dump(mode="json") for name, protocol in cards.items()},
        "rows": compare.as_json(rows),
        "values": plain(frame[["label", "seed", "step", "fd", "agreement"]].to_dict(orient="records")),
    }
    return table, save_results(systems_figure(frame, row), folder / "systems_tour", facts, pool, cells, row)
