"""Does the gain grow with the model? Distance and change against parameters; does one rate suit all sizes?"""

import dataclasses
import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import atomic
from ..evaluation import Estimate
from ..experiments import compare, item, paper, tables
from ..experiments.claims import Part, judge, per_doubling
from ..experiments.items import Cell
from ..experiments.profiles import Profile
from ..experiments.statements import model_size_claims, parameters, size_slopes
from ..models import preset
from ..models.flops import num_parameters
from ..spec import RunSpec
from ..store import Record
from .changes import (
    PAPER,
    claim_facts,
    in_percent,
    join,
    mark,
    missing,
    name_diamonds,
    not_trained,
    paper_diamond,
)
from .facts import floor_of, floor_sentence, plain, run_facts, save_results
from .seeds import PAIR, Mark, name_counts, pair_counts, seeds_shown
from .systems import SYSTEM_MARKERS, SYSTEM_NAMES
from .theme import COLORS, COLUMN, floor_line, log_axis, new_figure

MARKERS = {kind: SYSTEM_MARKERS[SYSTEM_NAMES[kind]] for kind in ("sit", "dit")}
LINES = {"sit": "-", "dit": "--"}
ASIDE = {"sit": 1.0, "dit": 1.11}  # DiT's networks are as large as SiT's: drawn to the right, both are seen
BESIDE = {"baseline": 0.96, "infonce-l2": 1.04}  # as are those with and without the term
Rates = dict[str, dict[float, Estimate]]  # size → learning rate → distance


def size_figure(rows: list[compare.Row], cells: list[Cell], floor: float | None = None) -> Figure:
    """Distance and paired change against the number of parameters, and the paper's change at its own sizes.

    Args:
        rows: of ``compare``.
        cells: runs of ``model_size``.
        floor: noise floor of the distance.
    """
    figure, (left, right, beside) = new_figure(COLUMN, 4.4, columns=3)
    left.get_gridspec().set_width_ratios([4, 4, 1.3])
    beside.sharey(right)
    specs = {cell.label: cell.spec for cell in cells}
    by_label = {entry.label: entry for entry in rows}
    for kind in MARKERS:
        for term in PAIR:
            own = sorted(
                (s for s in specs if _is_of(specs[s], kind, term)), key=lambda s: parameters(specs[s])
            )
            x = [ASIDE[kind] * BESIDE[term] * parameters(specs[label]) for label in own]
            found = [by_label.get(label) for label in own]
            _line(left, x, [entry.metrics["fd"] if entry else None for entry in found], kind, term)
            changes = [entry.change if entry else None for entry in found]
            _line(right, x, [in_percent(change) if change else None for change in changes], kind, term)
    left.set(ylabel="Fréchet distance", title="Distance")
    right.set(ylabel="change against the baseline, %", title="Change")
    floor_line(left, floor, "real against real", right=False)
    if rows:
        log_axis(left.yaxis)
    sizes: dict[str, int] = {}
    for spec in specs.values():  # SiT's come first; DiT's are a few parameters larger
        sizes.setdefault(size_of(spec), parameters(spec))
    for size, count in sizes.items():
        there = [entry for entry in rows if size_of(specs[entry.label]) == size]
        if not there:
            not_trained(left, count)
        if not any(entry.change for entry in there):
            not_trained(right, count, said="no pair yet" if there else "not trained")
    marks: list[Mark] = []
    changed: list[Mark] = []
    for entry in rows:
        spec = specs[entry.label]
        place, kind = sizes[size_of(spec)], SYSTEM_NAMES[spec.objective.kind]
        marks.append((place, kind, len(entry.seeds)))
        changed += [(place, kind, entry.change.n)] if entry.change else []
    seeds = {n for _, _, n in marks + changed}
    for ax, own_marks in ((left, marks), (right, changed)):
        _size_axis(ax, sizes, own_marks, seeds)
    _published(beside)
    beside.tick_params(labelleft=False)
    for ax in (right, beside):
        ax.axhline(0, color=COLORS["baseline"], linewidth=1)
    _legend(figure, rows, [specs[entry.label] for entry in rows])
    return figure


def _is_of(spec: RunSpec, kind: str, term: str) -> bool:
    return spec.objective.kind == kind and bool(spec.regularizers) == (term != "baseline")


def _line(ax: Axes, x: list[float], means: list[Estimate | None], kind: str, term: str) -> None:
    """Means of one system and term, joined where neighbours are there."""
    points = [(place, mean.value) if mean else None for place, mean in zip(x, means, strict=True)]
    join(ax, points, color=COLORS[term], linestyle=LINES[kind], linewidth=1.4)
    for place, mean in zip(x, means, strict=True):
        if mean:
            mark(ax, place, mean, COLORS[term], shape=MARKERS[kind])


def _legend(figure: Figure, rows: list[compare.Row], specs: list[RunSpec]) -> None:
    """Of what is drawn: colours say the term, marks and lines the system; hollow is one seed."""
    ax = figure.axes[0]
    for term in PAIR:
        if any(_is_of(spec, kind, term) for spec in specs for kind in MARKERS):
            ax.plot([], [], color=COLORS[term], linewidth=5, label=paper.NAMES[term])
    for kind in MARKERS:
        if any(spec.objective.kind == kind for spec in specs):
            ax.plot(
                [], [], color="black", marker=MARKERS[kind], linestyle=LINES[kind], label=SYSTEM_NAMES[kind]
            )
    name_diamonds(ax, PAPER)
    handles, names = ax.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), columnspacing=1.2,
                  title=seeds_shown(len(entry.seeds) for entry in rows), title_fontsize=10)  # fmt: skip


def _size_axis(ax: Axes, sizes: dict[str, int], marks: list[Mark], seeds: set[int]) -> None:
    """Parameters on a logarithmic axis, with a tick, the size's name and the seeds at each of these."""
    ax.set_xlabel("parameters")
    if not sizes:
        return
    places = [float(count) for count in sizes.values()]
    room = (max(places) / min(places)) ** 0.14 if len(places) > 1 else 2.0
    ax.set_xlim(min(places) / room, max(places) * room)
    log_axis(ax.xaxis, places)
    name_counts(ax, {count: f"{size}\n{short(count)}" for size, count in sizes.items()}, marks, among=seeds)


def _published(ax: Axes) -> None:
    """The paper's changes of FID for SiT, at its own numbers of parameters."""
    sizes = {}
    for name, (base, fid) in paper.SIZES_FID.items():
        count = num_parameters(preset(name).config)
        sizes[name.removeprefix("SiT-").removesuffix("/2")] = count
        paper_diamond(ax, count, 100 * paper.relative_change(fid.value, base.value))
    ax.set_title("Paper: SiT")
    _size_axis(ax, sizes, [], set())


def size_of(spec: RunSpec) -> str:
    """Name of the size of a run's network: ``Nano`` of ``SiT-Nano/2``."""
    return spec.model.rpartition("-")[2].partition("/")[0]


def short(count: int) -> str:
    """A number of parameters in a few digits: ``330k``, ``1.2M``, ``131M``."""
    if count < 999_500:
        return f"{count / 1e3:.0f}k"
    return f"{count / 1e6:.1f}M" if count < 9.95e6 else f"{count / 1e6:.0f}M"


def scan_cells(pool: list[Record], row: Profile) -> list[Cell]:
    """Runs of ``rate_scan`` in the seeds of the pool."""
    return item("rate_scan", row.name, tuple(sorted({record["seed"] for record in pool})))


def rates(pool: list[Record], row: Profile) -> Rates:
    """Distance of the baselines of ``rate_scan`` at their end: size → rate → mean over seeds.

    Rates of one size are compared in the same seeds: those that have all of its rates that are there.
    """
    scan = scan_cells(pool, row)
    distances = compare.distances(pool, scan, row)
    found: dict[str, dict[float, dict[int, float]]] = {size: {} for size in row.sizes}
    for cell in scan:
        if cell.label in distances:
            found[size_of(cell.spec)][cell.spec.optimizer.lr] = distances[cell.label]
    means: Rates = {size: {} for size in row.sizes}
    for size, by_rate in found.items():
        shared = sorted(set.intersection(*map(set, by_rate.values()))) if by_rate else []
        means[size] = {
            rate: compare.mean_of("fd", (fd[s] for s in shared)) for rate, fd in by_rate.items() if shared
        }
    return means


def _each_doubling(part: Part) -> Estimate | None:
    return per_doubling(part).estimate if part.values else None


def paper_per_doubling() -> float:
    """The same of the paper's two sizes of SiT: no fit, a line through two points."""
    ends = [(num_parameters(preset(name).config), own.value / base.value)
            for name, (base, own) in paper.SIZES_FID.items()]  # fmt: skip
    (small, first), (large, last) = ends
    return math.log(last / first) / math.log2(large / small)


def size_markdown(rows: list[compare.Row], cells: list[Cell]) -> str:
    """A line for each size of each system, and for the paper's: parameters, distances, paired change."""
    columns = ("model", "parameters", "baseline", "InfoNCE, ℓ2", "Δ (paired, 95%)", "verdict", "seeds")
    lines: list[list[str]] = []
    by_label = {entry.label: entry for entry in rows}
    for cell in {cell.label: cell for cell in cells if cell.against}.values():
        own, base = by_label.get(cell.label), by_label.get(cell.against or "")
        if own and base and own.change:
            lines.append([
                cell.spec.model, short(parameters(cell.spec)), tables.with_interval(base.metrics["fd"]),
                tables.with_interval(own.metrics["fd"]), tables.percent_interval(own.change), own.verdict,
                _seeds(base, own),
            ])  # fmt: skip
    for name, (base_fid, fid) in paper.SIZES_FID.items():
        change = 100 * paper.relative_change(fid.value, base_fid.value)
        aside = "; read in one secondary source" if "S" in (fid.source, base_fid.source) else ""
        lines.append([
            f"*paper (FID, ImageNet{aside}):* {name}", short(num_parameters(preset(name).config)),
            f"{base_fid.value:.2f}", f"{fid.value:.2f}", f"{change:+.1f}%", "", "",
        ])  # fmt: skip
    return tables.markdown_table(columns, lines) + "\n"


def _seeds(base: compare.Row, own: compare.Row) -> str:
    """How many of the baseline, of the run with the term, and of both."""
    return pair_counts(len(base.seeds), len(own.seeds), len({*base.seeds} & {*own.seeds}))


def slopes_markdown(slopes: dict[str, Part]) -> str:
    """How the change moves with each doubling of the parameters; below zero, the gain grows."""
    lines: list[list[object]] = []
    for kind, part in slopes.items():
        step = _each_doubling(part)
        text = tables.percent_interval(step) or "not yet"
        lines.append([SYSTEM_NAMES[kind], text, step.n if step else 0])
    lines.append(["*paper:* SiT, two points", f"{100 * math.expm1(paper_per_doubling()):+.1f}%", ""])
    columns = ("system", "change per doubling of the parameters", "seeds with every size")
    return tables.markdown_table(columns, lines) + "\n"


def rates_markdown(scan: Rates, row: Profile) -> str:
    """Distance of each size's baseline at half, once and twice the profile's learning rate."""
    every = [factor * row.lr for factor in (0.5, 1, 2)]
    cells = []
    for size, by_rate in scan.items():
        best = min(by_rate, key=lambda rate: by_rate[rate].value) if len(by_rate) == len(every) else None
        count = next(iter(by_rate.values())).n if by_rate else 0
        cells.append([size, *(_rate_cell(by_rate.get(rate), best == rate) for rate in every), count])
    lines = [
        tables.markdown_table(["baseline of size", *(f"rate {rate:g}" for rate in every), "seeds"], cells),
        "",
        "Does one learning rate suit every size? SiT without the term, at half, once and twice the rate of "
        f"all runs above ({row.lr:g}); bold: the best of three. One seed has no interval.",
    ]
    return "\n".join(lines) + "\n"


def _rate_cell(fd: Estimate | None, best: bool) -> str:
    if fd is None:
        return "not there yet"
    text = tables.with_interval(fd)
    return f"**{text}**" if best else text


def draw_model_size(pool: list[Record], cells: list[Cell], row: Profile, folder: Path) -> tuple[Path, Path]:
    """Draw distances and changes over model size into ``folder``; returns (table, picture).

    Args:
        pool: evaluations; those of ``rate_scan`` among them are shown as far as they are there.
        cells: runs of ``model_size``.
        row: the profile.
        folder: where to.
    """
    rows = compare.compare(pool, cells, row)
    judgements = judge(model_size_claims(pool, cells, row))
    slopes, scan, floor = size_slopes(pool, cells, row), rates(pool, row), floor_of(row.protocol)
    protocols = {SYSTEM_NAMES[kind]: row.protocol_of(kind) for kind in MARKERS}
    samplers = "; ".join(f"{name}: {protocol.sampler.describe()}" for name, protocol in protocols.items())
    gone = missing(rows, cells)
    note = (
        "Mean ± half the 95% interval over training seeds (Student's t); one seed has no interval. The slope "
        "is fitted to the changes of one seed over the logarithm of the parameters, and averaged over seeds. "
        f"{row.num_steps} steps of {row.batch_size} images. {row.protocol.card()}. Samplers: {samplers}."
        f"{floor_sentence(row.protocol)}" + (f" Not trained yet: {'; '.join(gone)}." if gone else "")
    )
    table = folder / "model_size.md"
    claim, sizes = tables.claims_markdown(judgements), size_markdown(rows, cells)
    parts = (claim, sizes, slopes_markdown(slopes), note + "\n", rates_markdown(scan, row))
    atomic.write_text(table, "\n".join(parts))
    facts = {
        "item": "model_size",
        "protocols": {name: protocol.model_dump(mode="json") for name, protocol in protocols.items()},
        "noise_floor": floor,
        "parameters": {cell.label: parameters(cell.spec) for cell in cells},
        "rows": compare.as_json(rows),
        "claims": claim_facts(judgements),
        "per_doubling": plain({kind: _each_doubling(part) for kind, part in slopes.items()}),
        "paper": plain(
            {name: [dataclasses.asdict(fid) for fid in fids] for name, fids in paper.SIZES_FID.items()}
        ),
        "rates": plain(scan),
        "runs": run_facts(pool, [*cells, *scan_cells(pool, row)], row),
    }
    return table, save_results(
        size_figure(rows, cells, floor), folder / "model_size", facts, pool, cells, row
    )
