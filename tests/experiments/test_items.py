"""The runs of an item, and its table by hand."""

import dataclasses
import math

import pytest

from disperse.evaluation import Estimate, mean_over_seeds
from disperse.experiments import ITEMS, LOOKS, PROFILES, Cell, compare, item, paper, tables
from disperse.experiments.items import dispersive_term
from disperse.experiments.looks import convergence, guided
from disperse.experiments.verdicts import SHOWN_BY
from disperse.figures.sections import SECTIONS
from disperse.losses import VARIANTS
from disperse.models import model_config
from disperse.regularizers import DispersiveSpec, block_indices
from disperse.reproduce.jobs import NOTEBOOKS
from disperse.spec import RunSpec

from .cases import TOY, record

PROTOCOL = TOY.protocol


@pytest.mark.parametrize("name", PROFILES)
def test_variants_are_the_papers_and_share_everything_else(name: str) -> None:
    cells = item("variants", name, (0, 3))
    assert [(cell.label, cell.spec.seed) for cell in cells] == [
        (label, seed) for seed in (0, 3) for label in ("baseline", *VARIANTS)
    ]
    for cell in cells:
        baseline = PROFILES[name].spec("baseline", cell.spec.seed)
        assert cell.spec.replace(regularizers=(), name="baseline") == baseline
        if cell.label == "baseline":
            assert cell.spec.regularizers == ()
            continue
        (term,) = cell.spec.regularizers
        assert (term.variant, term.lam, term.tau, term.eps) == (cell.label, 0.5, 0.5, 1.0)
        assert (term.blocks, term.local_batch) == ("quarter", 16)
        assert (term.diagonal, term.scale, term.tokens) == ("keep", "dim", "flatten")
        assert cell.spec.batch_size % 16 == 0
        depth = model_config(cell.spec.model).depth
        assert block_indices(term.blocks, depth) == (depth // 4 - 1,)
    assert len({cell.spec.run_id for cell in cells}) == len(cells)


@pytest.mark.parametrize("name", PROFILES)
def test_norm_cost_changes_one_thing_at_a_time(name: str) -> None:
    shared = {cell.label: cell.spec for cell in item("variants", name, (0,))}
    (own,) = shared["infonce-l2"].regularizers
    lr = shared["baseline"].optimizer.lr
    found = {}
    for cell in item("norm_cost", name, (0,)):
        spec, origin = cell.spec, shared["baseline" if cell.label.startswith("baseline") else "infonce-l2"]
        differ = {
            **{k: v for k, v in dict(spec).items() if v != getattr(origin, k)},
            **{k: v for term in spec.regularizers for k, v in dict(term).items() if v != getattr(own, k)},
        }
        differ |= {"optimizer": differ["optimizer"].lr / lr} if "optimizer" in differ else {}
        found[cell.label] = {k: v for k, v in differ.items() if k not in ("name", "regularizers")}
    assert found == {
        "l2-lam0.05": {"lam": 0.05}, "l2-tau0.05": {"tau": 0.05},
        "l2-group-whole": {"local_batch": None}, "l2-lr-double": {"optimizer": 2.0},
        "baseline-lr-double": {"optimizer": 2.0}, "baseline-long": {"overrides": {**PROFILES[name].overrides, "token_scale": 4}},
    }  # fmt: skip


@pytest.mark.parametrize("name", PROFILES)
def test_longer_runs_are_those_of_the_same_size_gone_on(name: str) -> None:
    row = PROFILES[name]
    shared = {cell.label: cell.spec for cell in item("large_pair", name, (0,))}
    for cell in item("longer", name, (0,)):
        short = shared[cell.label]
        assert cell.spec.run_id == short.run_id
        assert cell.spec.num_steps == row.longer[1] * short.num_steps
        assert {*short.milestones, short.num_steps} <= {*cell.spec.milestones}
    if name == "paper":
        assert item("pair_longer", name, (0,)) == []
    else:  # small rows have but one size
        assert item("large_pair", name, (0,)) == item("pair", name, (0,))
        assert item("pair_longer", name, (0,)) == item("longer", name, (0,))
        assert row.longer == (row.size, 4)


def test_the_papers_longer_training_systems_and_samples_are_of_its_largest_network() -> None:
    epoch = 1_281_167 / 256
    for cell in item("longer", "paper", (0,)):
        assert cell.spec.model == "SiT-XL/2"
        assert [round(step / epoch) for step in (400_000, cell.spec.num_steps)] == [80, 799]
        assert [step / 400_000 for step in cell.spec.milestones] == [0.5, 1, 2, 3, 4, 8]
    row = PROFILES["paper"]
    large = {cell.label: cell.spec for cell in item("large_pair", "paper", (0,))}
    sizes = {cell.label: cell.spec for cell in item("model_size", "paper", (0,))}
    for label, spec in large.items():
        assert spec.fingerprint == sizes[f"sit-XL-{label}"].fingerprint
        (under,) = guided(row, "sit")
        assert (under.guidance, spec.num_steps) == (1.5, 400_000)
    looked = {cell.spec.fingerprint for name in LOOKS["systems"].items for cell in item(name, "paper", (0,))}
    assert {spec.fingerprint for spec in large.values()} <= looked
    mf = {cell.label: cell.spec for cell in item("systems_tour", "paper", (0,))}["meanflow-baseline"]
    longest = {cell.label: cell.spec for cell in item("meanflow", "paper", (0,))}["meanflow-larger-baseline"]
    assert (mf.fingerprint, 3 * mf.num_steps) == (longest.fingerprint, longest.num_steps)


def test_both_rows_of_the_papers_sampler_are_compared() -> None:
    found = [protocol.sampler for protocol in convergence(PROFILES["paper"], "sit")]
    assert {(each.solver, each.nfe) for each in found} >= {("heun", 498), ("heun", 250)}
    small = [protocol.num_steps for protocol in convergence(PROFILES["cpu"], "sit")]
    assert small == [6, 12, 25, 50, 100, 12, 24, 50, 100, 200]


@pytest.mark.parametrize("name", PROFILES)
def test_a_label_names_one_run_wherever_items_are_shown_together(name: str) -> None:
    together = {
        *((*section.beside, section.own) for section in SECTIONS),
        *((draws.own, *draws.beside) for draws in NOTEBOOKS.values()),
        *(look.items for look in LOOKS.values()),
        *(items for _, items in SHOWN_BY.values()),
    }
    for items in together:
        runs: dict[str, set[str]] = {}
        for cell in (cell for each in items if each for cell in item(each, name, (0,))):
            runs.setdefault(cell.label, set()).add(cell.spec.fingerprint)
        assert all(len(own) == 1 for own in runs.values()), items


@pytest.mark.parametrize("name", PROFILES)
def test_every_run_of_the_ladder_is_a_valid_spec(name: str) -> None:
    for entry in ITEMS:
        for cell in item(entry, name, (0,)):
            assert RunSpec.parse(cell.spec.model_dump(mode="json")) == cell.spec
            assert cell.spec.milestones == tuple(sorted(set(cell.spec.milestones)))
            assert max((0, *cell.spec.milestones)) < cell.spec.num_steps
            assert paper.name_of(cell.label) != cell.label or cell.label in paper.NAMES
    protocol = PROFILES[name].protocol
    assert protocol.weights in RunSpec().ema
    assert len({p.hash for p in convergence(PROFILES[name], "sit")}) == 10


def test_every_run_has_the_optimiser_of_its_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "toy", dataclasses.replace(TOY, beta2=0.9, warmup_steps=3))
    for name in ITEMS:
        for cell in item(name, "toy", (0,)):
            assert (cell.spec.optimizer.beta2, cell.spec.optimizer.warmup_steps) == (0.9, 3), (
                name,
                cell.label,
            )


def test_published_numbers() -> None:
    assert paper.BASELINE_FID.value == 36.49
    best = {name: row[2].value for name, row in paper.VARIANTS_FID.items()}
    assert best == {"infonce-l2": 32.35, "infonce-cosine": 34.33, "hinge": 33.93, "covariance": 35.82}
    for independent, restricted, dispersive in paper.VARIANTS_FID.values():
        assert dispersive.value < restricted.value < independent.value
    assert paper.relative_change(32.35, 36.49) == pytest.approx(-0.11345574)


def test_the_cell_of_the_paper_is_trained_once() -> None:
    """Blocks, λ × τ and groups leave out the run that ``variants`` has."""
    (own,) = [c.spec for c in item("variants", "cpu", (0,)) if c.label == "infonce-l2"]
    for name, count in (("blocks", 4), ("lambda_tau", 11), ("local_batch", 5)):
        cells = item(name, "cpu", (0,))
        assert len({c.spec.fingerprint for c in cells} | {own.fingerprint}) == count + 1
        for cell in cells:
            (term,) = cell.spec.regularizers
            kept = {"blocks", "lam", "tau", "local_batch"}
            assert term.model_dump(exclude=kept) == own.regularizers[0].model_dump(exclude=kept)
    where = [cell.spec.regularizers[0].blocks for cell in item("blocks", "cpu", (0,))]
    assert where == [(1,), (2,), (3,), "all"]
    assert [c.spec.optimizer.lr for c in item("rate_scan", "cpu", (0,))][:3] == [0.002, 0.004, 0.008]


def test_contrastive_cells_are_the_variants_on_two_views() -> None:
    cells = item("contrastive", "cpu", (2,))
    assert len({cell.spec.fingerprint for cell in cells}) == len(cells) == 8
    dispersive = {cell.label: cell.spec.regularizers[0] for cell in item("variants", "cpu", (2,))[1:]}
    for cell in cells:
        (term,) = cell.spec.regularizers
        own = dispersive[term.variant]
        assert cell.label == f"{term.variant}-{term.view}"
        assert (term.lam, term.tau, term.blocks, term.local_batch) == (own.lam, own.tau, own.blocks, 16)
        assert cell.spec.replace(regularizers=(), name="baseline") == PROFILES["cpu"].spec("baseline", 2)
    assert paper.variants_fid("hinge-independent").value == 43.02
    assert paper.variants_fid("covariance-restricted").value == 35.87
    assert paper.variants_fid("infonce-l2").value == 32.35
    assert paper.variants_change("infonce-l2") == pytest.approx(32.35 / 36.49 - 1)
    assert paper.variants_change("baseline") is None


def test_systems_differ_in_model_and_objective_alone() -> None:
    plain = PROFILES["cpu"].spec("baseline", 0)
    for cell in item("systems_tour", "cpu", (0,)):
        system = cell.label.split("-")[0]
        assert cell.spec.objective.kind == model_config(cell.spec.model).system == system
        same = cell.spec.replace(
            regularizers=(), name="baseline", model=plain.model, objective=plain.objective
        )
        assert same == plain
        protocol = PROFILES["cpu"].protocol_of(system)
        assert protocol.sampler.nfe == {"dit": 50, "meanflow": 1}[system]


def made(values: dict[str, tuple[float, ...]], step: int = 4) -> tuple[list[Cell], list[dict]]:
    """Cells and final evaluations with these distances, one for each seed; NaN is not finished."""
    cells, pool = [], []
    for label, distances in values.items():
        terms = () if label == "baseline" else (DispersiveSpec(variant=label),)  # type: ignore[arg-type]
        for seed, fd in enumerate(distances):
            cells.append(
                Cell(label, TOY.spec(label, seed, *terms), None if label == "baseline" else "baseline")
            )
            if math.isfinite(fd):
                pool.append(record(cells[-1].spec, step, PROTOCOL, fd=fd, rms=1.0 + seed))
    return cells, pool


def test_the_table_by_hand() -> None:
    nan = math.nan
    cells, pool = made({
        "baseline": (2.0, 4.0, 8.0), "infonce-l2": (1.0, 2.0, 4.0), "hinge": (4.0, 2.0, nan),
        "infonce-cosine": (nan, nan, 16.1), "covariance": (nan, nan, nan),
    })  # fmt: skip
    rows = {row.label: row for row in compare.compare(pool, cells, TOY)}
    assert list(rows) == ["baseline", "infonce-l2", "hinge", "infonce-cosine"]  # unfinished is left out

    base = rows["baseline"]
    assert (base.seeds, base.change, base.verdict) == ([0, 1, 2], None, "")
    assert base.metrics["fd"].value == pytest.approx(14 / 3)
    half = 4.302652729911275 * math.sqrt(28 / 3) / math.sqrt(3)  # Student's t, 2 degrees of freedom
    assert base.metrics["fd"].high - base.metrics["fd"].value == pytest.approx(half)
    assert base.block["rms"].value == pytest.approx(2.5)  # block 0 of 4, noise level 0.5, seeds 0 to 2

    l2 = rows["infonce-l2"]  # half the distance in every seed: no spread
    assert l2.change is not None
    assert (l2.change.value, l2.change.low, l2.change.high) == pytest.approx((-math.log(2),) * 3)
    assert l2.verdict == "improves"

    hinge = rows["hinge"]  # +log 2 and -log 2
    assert hinge.seeds == [0, 1]
    assert hinge.change is not None
    assert hinge.change.value == pytest.approx(0)
    assert hinge.change.high == pytest.approx(12.706204736 * math.log(2))
    assert hinge.verdict == "can't tell"

    cosine = rows["infonce-cosine"]  # one seed: a value, no interval, no verdict
    assert cosine.change is not None
    assert cosine.change.value == pytest.approx(math.log(16.1 / 8))
    assert math.isnan(cosine.change.high)
    assert cosine.verdict == "can't tell"


def test_the_step_of_the_spec_counts_and_no_other() -> None:
    cells, pool = made({"baseline": (2.0,), "hinge": (1.0,)})
    longer = [record(cell.spec, 8, PROTOCOL, fd=0.1) for cell in cells]
    early = [record(cell.spec, 2, PROTOCOL, fd=9.0) for cell in cells]
    rows = compare.compare([*longer, *pool, *early], cells, TOY)
    assert [row.metrics["fd"].value for row in rows] == [2.0, 1.0]
    assert compare.compare(early, cells, TOY) == []
    curve = compare.curves([*longer, *pool, *early, *pool], [*cells, *cells], TOY)
    assert [(row["label"], row["step"], row["fd"]) for row in curve] == [
        ("baseline", 2, 9.0), ("baseline", 4, 2.0), ("hinge", 2, 9.0), ("hinge", 4, 1.0),
    ]  # fmt: skip
    assert [row["rms"] for row in curve] == [1.5] * 4


@pytest.mark.parametrize(
    ("low", "high", "says"),
    [(-2.0, -0.1, "improves"), (0.1, 2.0, "worse"), (-0.1, 0.1, "can't tell"), (-1.0, 0.0, "can't tell"),
     (0.0, 1.0, "can't tell"), (math.nan, math.nan, "can't tell")],
)  # fmt: skip
def test_verdicts(low: float, high: float, says: str) -> None:
    assert compare.verdict(Estimate(-0.5, low, high, 3, "")) == says


def test_numbers_as_text() -> None:
    wide, alone = Estimate(1.234, 0.984, 1.484, 3, ""), Estimate(1.234, math.nan, math.nan, 1, "")
    assert tables.with_interval(wide) == "1.23 ± 0.25"
    assert tables.with_interval(wide, 1) == "1.2 ± 0.2"
    assert tables.with_interval(alone) == "1.23"
    assert tables.with_interval(Estimate(0.37, -0.604, 1.0, 3, "")) == "0.37 [-0.60, 1.00]"  # cut at 1
    assert tables.with_interval(Estimate(0.004, -0.001, 0.031, 3, "")) == "0.00 [0.00, 0.03]"  # no -0.00
    assert tables.with_interval(Estimate(0.996, 0.992, 0.999, 3, "")) == "1.00 ± 0.00"  # both halves
    assert [tables.with_interval(wide, seeds=n) for n in (3, 2)] == ["1.23 ± 0.25", "1.23 ± 0.25, n = 3"]
    assert tables.with_interval(alone, seeds=2) == "1.23, n = 1"
    change = Estimate(math.log(1.12), math.log(1.05), math.log(1.2), 3, "")
    assert tables.percent_interval(change) == "+12% [+5%, +20%]"
    assert tables.percent_interval(Estimate(math.log(0.5), math.nan, math.nan, 1, "")) == "-50% (one seed)"
    assert tables.percent_interval(None) == tables.percent_interval(None, seeds=3) == ""
    assert tables.percent_interval(change, seeds=0) == "+12% [+5%, +20%], n = 3"
    assert tables.percent_interval(Estimate(0.0, math.nan, math.nan, 1, ""), seeds=3) == "0% (one seed)"
    small = Estimate(math.log(0.999), math.log(0.996), math.log(1.002), 3, "")
    assert tables.percent_interval(small) == "0% [0%, 0%]"
    assert [tables.whole(value) for value in (-10.4, 9.5, 0.6, -0.4, 100.0)] == [
        "-10",
        "+10",
        "+1",
        "0",
        "+100",
    ]


def test_the_markdown_says_how_and_how_many() -> None:
    cells, pool = made({"baseline": (2.0, 4.0), "infonce-l2": (1.0, 2.0)})
    rows = compare.compare(pool, cells, TOY)
    text = tables.variants_markdown(rows, TOY)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert "| InfoNCE, ℓ2 | 32.35 | -11.35% | 1.50 [0.00, 7.85] | -50% [-50%, -50%] | improves |" in table[3]
    for part in (PROTOCOL.card(), "n = 30", "Noise floor", "Student's t", "only the sign"):
        assert part in text


def test_a_change_over_fewer_seeds_than_its_row_says_so() -> None:
    cells, pool = made({"baseline": (2.0, 4.0, math.nan), "hinge": (1.0, 2.0, 3.0)})
    rows = compare.compare(pool, cells, TOY)
    for text in (tables.variants_markdown(rows, TOY), tables.comparison_markdown(rows, "")):
        (line,) = [line for line in text.splitlines() if line.startswith("| hinge |")]
        assert "| -50% [-50%, -50%], n = 2 |" in line
        assert line.endswith("| 3 |")


def test_tables_as_json_have_no_nan() -> None:
    cells, pool = made({"baseline": (2.0,), "hinge": (1.0,)})
    plain = compare.as_json(compare.compare(pool, cells, TOY))
    assert plain[1]["change"]["low"] is None
    assert plain[1]["change"]["value"] == pytest.approx(-math.log(2))


def test_the_interval_of_a_share_stays_within_its_range() -> None:
    cells, pool = made({"baseline": (1.0, 1.0, 1.0)})
    for entry, value in zip(pool, (1.0, 1.0, 0.98), strict=True):
        entry["metrics"]["guided_agreement"]["value"] = value
    (row,) = compare.compare(pool, cells, TOY)
    assert row.metrics["guided_agreement"].high == 1.0
    assert row.metrics["guided_agreement"].low < 0.98
    low, high = row.metrics["guided_agreement"].low, row.metrics["guided_agreement"].high
    assert f"| 0.99 [{low:.2f}, {high:.2f}] |" in tables.comparison_markdown([row], "")


def test_every_measure_has_its_range() -> None:
    wide = [-0.9, 2.95]
    whole = mean_over_seeds(wide)
    ends = {name: compare.mean_of(name, wide) for name in compare.RANGES}
    assert set(compare.METRICS) <= ends.keys()
    assert {(mean.low, mean.high) for mean in ends.values()} == {
        (0.0, 1.0), (-1.0, 1.0), (0.0, whole.high), (1.0, whole.high),
    }  # fmt: skip
    assert (ends["rms"].low, ends["effective_rank"].low) == (0.0, 1.0)
    assert compare.mean_of("lies beyond", wide) == whole


def test_the_paper_s_profile_names_what_is_ours() -> None:
    """Each value that it calls unpublished is the one that its runs have."""
    row = PROFILES["paper"]
    hinge, covariance = (
        next(iter(cell.spec.regularizers))
        for label in ("hinge", "covariance")
        for cell in item("variants", "paper", (0,))
        if cell.label == label
    )
    restricted = next(
        term
        for cell in item("contrastive", "paper", (0,))
        for term in cell.spec.regularizers
        if cell.label == "covariance-restricted"
    )
    named = {
        f"precision {row.precision}",
        "no warm-up" if row.warmup_steps == 0 else f"warm-up {row.warmup_steps}",
        f"λ {hinge.lam} of hinge and covariance",
        f"the hinge's ε {hinge.eps:g}",
        f"the covariance's w {restricted.offdiagonal_weight:g}",
        f"restricted noise: |t − t'| ≤ {restricted.max_dt}",
        "MeanFlow's λ, τ and block: SiT's",
    }
    assert named <= set(row.unpublished)
    assert hinge.lam == covariance.lam
    terms = {cell.label: cell.spec.regularizers for cell in item("systems_tour", "paper", (0,))}
    assert terms["meanflow-infonce-l2"] == terms["dit-infonce-l2"] == row.spec(
        "a", 0, dispersive_term("infonce-l2")
    ).regularizers  # fmt: skip
    assert not any(PROFILES[name].unpublished for name in ("smoke", "cpu", "gpu"))
