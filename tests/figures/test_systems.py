"""The systems side by side: what their table leaves empty, what the pictures name, and solvers' colours."""

from pathlib import Path

from disperse.experiments import PROFILES, item
from disperse.experiments.items import Cell
from disperse.figures import COLORS, draw_systems, read_sidecar, solver_order_figure
from disperse.figures.systems import SOLVERS, systems_figure, systems_frame
from disperse.store import Record

from ..experiments.cases import record

ROW = PROFILES["smoke"]


def evaluated(*seeds: int) -> tuple[list[Record], list[Cell]]:
    cells = [cell for name in ("pair", "systems_tour") for cell in item(name, "smoke", seeds)]
    pool = [
        record(cell.spec, step, ROW.protocol_of(cell.spec.objective.kind), fd=1 + cell.spec.seed)
        for cell in cells
        for step in (*cell.spec.milestones, cell.spec.num_steps)
    ]
    return pool, cells


def test_without_guidance_nothing_stands_under_it(tmp_path: Path) -> None:
    """MeanFlow is sampled at guidance 1, which is none; the others under guidance too."""
    table, picture = draw_systems(*evaluated(0), ROW, tmp_path)
    lines = table.read_text(encoding="utf-8").splitlines()
    ends = {line.split(" | ")[0]: line.split(" | ")[-2:] for line in lines if line.startswith("| ")}
    assert ends["| MeanFlow, baseline"] == ends["| MeanFlow, InfoNCE ℓ2"] == ["", "1 |"]
    assert ends["| SiT, baseline"] == ends["| DiT, InfoNCE ℓ2"] == ["1.00", "1 |"]
    agreement = {r["label"]: r["metrics"]["guided_agreement"]["value"] for r in read_sidecar(picture)["rows"]}
    assert agreement["meanflow-baseline"] is None
    assert agreement["dit-baseline"] == 1.0


def test_the_legend_has_the_numbers_of_seeds_where_they_differ() -> None:
    pool, cells = evaluated(0, 1)
    fewer = {c.spec.fingerprint for c in cells if c.label.startswith("dit") and c.spec.seed}
    part = [r for r in pool if r["fingerprint"] not in fewer]
    for found, names in ((pool, ["SiT", "DiT", "MeanFlow"]),
                         (part, ["SiT, n = 2", "DiT, n = 1", "MeanFlow, n = 2"])):  # fmt: skip
        (legend,) = systems_figure(systems_frame(found, cells, ROW), ROW).legends
        assert [text.get_text() for text in legend.get_texts()][2:] == names


def test_curves_of_one_seed_are_hollow() -> None:
    pool, cells = evaluated(0, 1)
    fewer = {c.spec.fingerprint for c in cells if c.label.startswith("dit") and c.spec.seed}
    part = [r for r in pool if r["fingerprint"] not in fewer]
    for ax in systems_figure(systems_frame(part, cells, ROW), ROW).axes:
        marks = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_marker() in "os^"]
        assert len(marks) == 6
        assert all((line.get_markerfacecolor() == "white") == (line.get_marker() == "s") for line in marks)


def test_a_band_of_shares_ends_at_one() -> None:
    """Its interval by Student's t alone would go on; that of distances does."""
    pool, cells = evaluated(0, 1)
    for entry in pool:
        entry["metrics"]["agreement"]["value"] = 0.98 + 0.02 * entry["seed"]
    distance, agreement = systems_figure(systems_frame(pool, cells, ROW), ROW).axes
    tops = [band.get_paths()[0].vertices[:, 1].max() for band in agreement.collections]
    assert tops == [1.0] * 6
    assert max(band.get_paths()[0].vertices[:, 1].max() for band in distance.collections) > 7


def test_a_solver_has_no_colour_of_a_term() -> None:
    steps = (8, 16, 32, 64)
    (ax,) = solver_order_figure({solver: [1 / n for n in steps] for solver in SOLVERS}, steps).axes
    colors = {line.get_color() for line in ax.lines}
    assert colors.isdisjoint({COLORS["baseline"], COLORS["infonce-l2"]})
    drawn = {(line.get_color(), line.get_linestyle()) for line in ax.lines if line.get_marker() != "None"}
    assert len(drawn) == len(SOLVERS)
