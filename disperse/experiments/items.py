"""Items of the paper as lists of runs."""

from dataclasses import dataclass, replace
from typing import Any

from ..errors import unknown
from ..models import preset
from ..regularizers import AlignmentSpec
from ..regularizers.paper import DISPERSIVE, VIEWS, contrastive_term, dispersive_term
from ..spec import OptimizerSpec, RunSpec, TermSpec
from .profiles import Profile, profile

LENGTHS = (1, 2, 3, 4, 8)  # times the profile's, at which longer runs are evaluated on the way


@dataclass(frozen=True)
class Cell:
    """One entry of a table or curve: its label and its run for one seed.

    Attributes:
        against: label of the run of the same seed that it is compared with; None: a baseline.
    """

    label: str
    spec: RunSpec
    against: str | None = None


def _cell(
    row: Profile, seed: int, label: str, *terms: TermSpec, against: str = "baseline", **changes: Any
) -> Cell:
    """A run of a profile, named as its label, compared with the run ``against``, unless it is that."""
    return Cell(
        label, row.spec(label, seed, *terms).replace(**changes), against if label != against else None
    )


def variants(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """Baseline and the four dispersive variants, as the paper sets them.

    λ = 0.5, τ = 0.5, a quarter of the depth, groups of 16 rows (the paper's 16 devices with 16 samples
    each). λ of hinge and covariance and the hinge's ε are unpublished: 0.5 and 1.

    Source: paper, ablation of variants.
    """
    row = profile(profile_name)
    return [
        cell
        for seed in seeds
        for cell in (
            _cell(row, seed, "baseline"),
            *(_cell(row, seed, name, dispersive_term(name)) for name in DISPERSIVE),
        )
    ]


def pair(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """The baseline and the paper's own variant alone, of ``variants``: what the ablations stand beside."""
    shown = ("baseline", "infonce-l2")
    return [cell for cell in variants(profile_name, seeds) if cell.label in shown]


def large_pair(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """The pair at the size of ``longer``: by it the paper shows systems and samples.

    Source: paper, comparison of systems and Figure 5.
    """
    row = profile(profile_name)
    terms: dict[str, tuple[TermSpec, ...]] = {"baseline": (), "infonce-l2": (dispersive_term("infonce-l2"),)}
    return [
        Cell(label, row.spec(label, seed, *own, size=row.longer[0]), "baseline" if own else None)
        for seed in seeds
        for label, own in terms.items()
    ]


def contrastive(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """The contrastive columns: all variants with independent and with restricted noise, λ and τ as above.

    To stand beside the runs of ``variants``. The candidates (the second view's rows), the bound on the
    restricted difference of t (0.005) and the covariance's w (1) are unpublished.

    Source: paper, ablation of variants.
    """
    row = profile(profile_name)
    return [
        _cell(row, seed, f"{name}-{view}", contrastive_term(name, view))
        for seed in seeds
        for view in VIEWS
        for name in DISPERSIVE
    ]


def systems_tour(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """DiT and MeanFlow, plain and with the dispersive term, at the size, length and rate of ``large_pair``.

    λ, τ and block of MeanFlow with dispersion are unpublished: SiT's.
    """
    row, term = profile(profile_name), dispersive_term("infonce-l2")
    return [
        Cell(
            label,
            row.spec(label, seed, *terms, system=system, size=row.longer[0]),
            f"{system}-baseline" if terms else None,
        )
        for seed in seeds
        for system in ("dit", "meanflow")
        for label, terms in ((f"{system}-baseline", ()), (f"{system}-infonce-l2", (term,)))
    ]


def norm_cost(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """Why the paper's setting slows small models at first: one thing changed at a time.

    λ, τ (the loss is satisfied once rows are a few √τ apart), the group, and the learning rate. ``long``
    is the counter-check: a baseline whose tokens are four times as long from the start, without any
    dispersive term. To stand beside the runs of ``variants``.
    """
    row, term = profile(profile_name), dispersive_term("infonce-l2")
    changed_terms: dict[str, dict[str, Any]] = {
        "l2-lam0.05": {"lam": 0.05},
        "l2-tau0.05": {"tau": 0.05},
        "l2-group-whole": {"local_batch": None},
    }
    double = OptimizerSpec(lr=2 * row.lr, beta2=row.beta2, warmup_steps=row.warmup_steps)
    return [
        cell
        for seed in seeds
        for cell in (
            *(_cell(row, seed, k, term.model_copy(update=v)) for k, v in changed_terms.items()),
            _cell(row, seed, "l2-lr-double", term, against="baseline-lr-double", optimizer=double),
            _cell(row, seed, "baseline-lr-double", optimizer=double),
            _cell(row, seed, "baseline-long", overrides={**row.overrides, "token_scale": 4}),
        )
    ]


def longer(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """Baseline and the paper's setting, several times as long: the runs of ``large_pair``, gone on.

    Source: paper, longer training.
    """
    row = profile(profile_name)
    steps = _longer(row, row.longer[1])
    return [replace(cell, spec=cell.spec.replace(**steps)) for cell in large_pair(profile_name, seeds)]


def pair_longer(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """``longer`` where its runs are those of ``variants`` gone on; none where they are of another size."""
    row = profile(profile_name)
    return longer(profile_name, seeds) if row.longer[0] == row.size else []


def _longer(row: Profile, times: int) -> dict[str, Any]:
    """Fields of a run so many times as long as the profile's, with a milestone at some of its lengths."""
    lengths = (k * row.num_steps for k in LENGTHS if k < times)
    return {"num_steps": times * row.num_steps, "milestones": (*row.milestones, *lengths)}


def blocks(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """The paper's setting at one block after another, and at all; that at ¼ of the depth is of ``variants``.

    The paper names its blocks 0, 3, 6 and 11 of 12. Its 3, the default, may be index 2 or 3: both are here.

    Source: paper, ablation of the block.
    """
    row = profile(profile_name)
    depth = preset(row.model).config.depth
    quarter = max(depth // 4 - 1, 0)
    single = sorted({0, depth // 4, depth // 2, depth - 1} - {quarter})
    term = dispersive_term("infonce-l2")
    return [
        _cell(row, seed, label, term.model_copy(update={"blocks": where}))
        for seed in seeds
        for label, where in ((*((f"l2-block{i}", (i,)) for i in single), ("l2-all", "all")))
    ]


def lambda_tau(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """λ ∈ {¼, ½, 1} by τ ∈ {¼, ½, 1, 2}; the paper's setting (½, ½) is of ``variants``.

    Source: paper, ablation of λ and τ.
    """
    row, term = profile(profile_name), dispersive_term("infonce-l2")
    return [
        _cell(row, seed, f"l2-lam{lam:g}-tau{tau:g}", term.model_copy(update={"lam": lam, "tau": tau}))
        for seed in seeds
        for lam in (0.25, 0.5, 1.0)
        for tau in (0.25, 0.5, 1.0, 2.0)
        if (lam, tau) != (0.5, 0.5)
    ]


def local_batch(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """How many rows see each other: groups of 4 up to the whole batch; those of 16 are of ``variants``."""
    row, term = profile(profile_name), dispersive_term("infonce-l2")
    groups = [2**k for k in range(2, 9) if 2**k < row.batch_size and 2**k != 16]
    return [
        _cell(row, seed, label, term.model_copy(update={"local_batch": group}))
        for seed in seeds
        for label, group in (*((f"l2-group{g}", g) for g in groups), ("l2-group-whole", None))
    ]


def contrastive_to_dispersive(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """``α E_i[D(z_i, z_i⁺)]/τ + log E_ij[exp(−D_ij/τ)]``, α from 1 to 0, two views throughout.

    α = 0 is the dispersive loss of ``variants`` exactly; what it costs more is a second forward pass.
    """
    row, term = profile(profile_name), dispersive_term("infonce-l2")
    return [
        _cell(row, seed, f"l2-alpha{alpha:g}", term, AlignmentSpec(lam=alpha * term.lam, tau=term.tau))
        for seed in seeds
        for alpha in (1.0, 0.75, 0.5, 0.25, 0.0)
    ]


def rate_scan(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """Baselines of every size at half, once and twice the profile's learning rate: how rates were chosen."""
    row = profile(profile_name)
    return [
        Cell(f"{size}-lr{rate * row.lr:g}", row.spec("scan", seed, size=size, lr=rate * row.lr))
        for seed in seeds
        for size in row.sizes
        for rate in (0.5, 1, 2)
    ]


def model_size(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """SiT and DiT of every size, plain and with the dispersive term, all at the profile's learning rate.

    One rate for all sizes, as in the paper; ``rate_scan`` says whether it suits them.

    Source: paper, ablation of the model.
    """
    row = profile(profile_name)
    return [
        cell
        for seed in seeds
        for system in ("sit", "dit")
        for size in row.sizes
        for cell in _with_and_without(f"{system}-{size}", row.spec("run", seed, system=system, size=size))
    ]


def meanflow(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """The paper's four rows of MeanFlow, plain and with the dispersive term; and two controls without it.

    The controls ask whether the gain is that of representations, or of a long residual stream, which
    every update moves less: the second row's baseline with tokens four times as long, and at half the rate.

    Source: paper, table of MeanFlow.
    """
    row = profile(profile_name)
    cells = []
    for seed in seeds:
        plain = row.spec("run", seed, system="meanflow")
        larger, longest = row.larger_meanflow
        for name, size, patch, times in (
            ("patch4", row.size, 4, 1),
            ("patch2", row.size, 2, 1),
            ("patch2-longer", row.size, 2, 3),
            ("larger", larger, 2, longest),
        ):
            model = f"MF-{size}/{patch}"
            own = {"model": model, "objective": preset(model).objective, **_longer(row, times)}
            cells += _with_and_without(f"meanflow-{name}", plain.replace(**own))
        half = OptimizerSpec(lr=row.lr / 2, beta2=row.beta2, warmup_steps=row.warmup_steps)
        long = {**row.overrides, "token_scale": 4}
        for name, changed in (("long", {"overrides": long}), ("lr-half", {"optimizer": half})):
            label = f"meanflow-{name}"
            cells.append(Cell(label, plain.replace(name=label, **changed), "meanflow-patch2-baseline"))
    return cells


def scale_of_effect(profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """SiT of every size on parts of the training set, plain and with the dispersive term.

    The whole set is that of ``model_size``; lengths of training are the milestones of every run.
    """
    row = profile(profile_name)
    return [
        cell
        for seed in seeds
        for size in row.sizes
        for count in row.subsets
        for cell in _with_and_without(
            f"sit-{size}-{count}", row.spec("run", seed, size=size).replace(data=f"{row.data}:{count}")
        )
    ]


def _with_and_without(name: str, spec: RunSpec) -> list[Cell]:
    """A run and the same with the paper's term, as ``<name>-baseline`` and ``<name>-infonce-l2``."""
    base, own = f"{name}-baseline", f"{name}-infonce-l2"
    term = dispersive_term("infonce-l2")
    return [
        Cell(base, spec.replace(name=base.lower())),
        Cell(own, spec.replace(name=own.lower(), regularizers=(term,)), base),
    ]


ITEMS = {
    "variants": variants,
    "contrastive": contrastive,
    "norm_cost": norm_cost,
    "longer": longer,
    "pair_longer": pair_longer,
    "systems_tour": systems_tour,
    "blocks": blocks,
    "lambda_tau": lambda_tau,
    "local_batch": local_batch,
    "contrastive_to_dispersive": contrastive_to_dispersive,
    "model_size": model_size,
    "meanflow": meanflow,
    "scale_of_effect": scale_of_effect,
    "rate_scan": rate_scan,
    "pair": pair,
    "large_pair": large_pair,
}


def item(name: str, profile_name: str, seeds: tuple[int, ...]) -> list[Cell]:
    """Runs of an item of the paper.

    Raises:
        ConfigError: unknown item.
    """
    if name not in ITEMS:
        raise unknown("item", name, ITEMS)
    return ITEMS[name](profile_name, seeds)
