"""The sweeps that ``docs/rules.md`` names, each the runs of one seed of a profile.

They are frozen with the rules. A notebook declares its own runs; where both ask the same question, both find
the same runs in the store, since a run is what its specification says.
"""

from typing import Any

from ..models import preset
from ..regularizers.paper import DISPERSIVE, VIEWS, contrastive_term, dispersive_term
from ..spec import OptimizerSpec, RunSpec
from .profiles import Profile

L2 = "infonce-l2"
LENGTHS = (1, 2, 3, 4, 8)  # times the profile's, at which longer runs are evaluated on the way
RATES = (1e-3, 2e-3, 4e-3)  # of MeanFlow


def pair(row: Profile, seed: int) -> list[RunSpec]:
    """The baseline, and the paper's own variant as the paper sets it."""
    return [row.run(seed), row.run(seed, dispersive_term(L2))]


def variants(row: Profile, seed: int) -> list[RunSpec]:
    """Baseline and the four dispersive variants. Source: paper, ablation of variants."""
    return [row.run(seed), *(row.run(seed, dispersive_term(name)) for name in DISPERSIVE)]


def contrastive(row: Profile, seed: int) -> list[RunSpec]:
    """All variants with independent and with restricted noise. Source: paper, ablation of variants."""
    return [
        row.run(seed, contrastive_term(name, view), name=f"{name}-{view}")
        for view in VIEWS
        for name in DISPERSIVE
    ]


def longer(row: Profile, seed: int) -> list[RunSpec]:
    """The pair at the size and length of ``row.longer``. Source: paper, longer training."""
    size, times = row.longer
    terms = ((), (dispersive_term(L2),))
    return [row.run(seed, *own, size=size, **_times(row, times)) for own in terms]


def blocks(row: Profile, seed: int) -> list[RunSpec]:
    """The term at other blocks than the usual one, and at all. Source: paper, ablation of the block."""
    term, depth = dispersive_term(L2), row.depth
    single = sorted({0, depth // 4, depth // 2, depth - 1} - {max(depth // 4 - 1, 0)})
    at = [*((f"l2-block{i}", (i,)) for i in single), ("l2-all", "all")]
    return [row.run(seed, term.replace(blocks=where), name=name) for name, where in at]


def lambda_tau(row: Profile, seed: int) -> list[RunSpec]:
    """λ ∈ {¼, ½, 1} by τ ∈ {¼, ½, 1, 2} without the paper's own. Source: paper, ablation of λ and τ."""
    term = dispersive_term(L2)
    return [
        row.run(seed, term.replace(lam=lam, tau=tau), name=f"l2-lam{lam:g}-tau{tau:g}")
        for lam in (0.25, 0.5, 1.0)
        for tau in (0.25, 0.5, 1.0, 2.0)
        if (lam, tau) != (0.5, 0.5)
    ]


def model_size(row: Profile, seed: int) -> list[RunSpec]:
    """SiT and DiT of every size, plain and with the term. Source: paper, ablation of the model."""
    return [
        spec
        for system in ("sit", "dit")
        for size in row.sizes
        for spec in with_and_without(row.run(seed, system=system, size=size), f"{system}-{size.lower()}")
    ]


def meanflow(row: Profile, seed: int) -> list[RunSpec]:
    """The paper's four rows of MeanFlow, plain and with the term, and two controls without it.

    The controls: tokens four times as long, and half the learning rate. Source: paper, table of MeanFlow.
    """
    plain = row.run(seed, system="meanflow")
    larger, longest = row.larger_meanflow
    found = []
    for name, size, patch, times in (
        ("patch4", row.size, 4, 1),
        ("patch2", row.size, 2, 1),
        ("patch2-longer", row.size, 2, 3),
        ("larger", larger, 2, longest),
    ):
        model = f"MF-{size}/{patch}"
        spec = plain.replace(model=model, objective=preset(model).objective, **_times(row, times))
        found += with_and_without(spec, f"meanflow-{name}")
    half = OptimizerSpec(lr=row.lr / 2, beta2=row.beta2, warmup_steps=row.warmup_steps)
    return [
        *found,
        plain.replace(name="meanflow-long", overrides={**row.overrides, "token_scale": 4}),
        plain.replace(name="meanflow-lr-half", optimizer=half),
    ]


def meanflow_rates(row: Profile, seed: int) -> list[RunSpec]:
    """MeanFlow at three learning rates, plain and with the term."""
    return [
        spec
        for lr in RATES
        for spec in with_and_without(row.run(seed, system="meanflow", lr=lr), f"meanflow-lr{lr:g}")
    ]


def meanflow_pair(row: Profile, seed: int) -> list[RunSpec]:
    """MeanFlow plain and with the term, each at the rate that was chosen for it."""
    arms = zip(((), (dispersive_term(L2),)), row.meanflow_lr or (row.lr, row.lr), strict=True)
    return [row.run(seed, *terms, system="meanflow", lr=lr) for terms, lr in arms]


def safe_settings(row: Profile, seed: int) -> list[RunSpec]:
    """The pair, and three settings that a small model may bear better.

    ℓ2 distances divided by the mean squared length; λ 0 for a quarter of training, then whole;
    covariance at λ 2.
    """
    term, quarter = dispersive_term(L2), row.num_steps // 4
    late = ((quarter, 0.0), (quarter + 1, 1.0))
    return [
        *pair(row, seed),
        row.run(seed, term.replace(scale="rms"), name="l2-rms"),
        row.run(seed, term.replace(lam_schedule=late), name="l2-late"),
        row.run(seed, dispersive_term("covariance").replace(lam=2.0), name="covariance-lam2"),
    ]


def clock(row: Profile, seed: int) -> list[RunSpec]:
    """Few images, followed step by step: baseline, the term, and a baseline at half the rate."""
    often, found = tuple(range(100, row.num_steps, 100)), []
    for count in (160, 450):
        few: dict[str, Any] = {"data": f"{row.data}:{count}", "milestones": often}
        found += with_and_without(row.run(seed, **few), f"sit-{count}")
        found.append(row.run(seed, lr=row.lr / 2, name=f"sit-{count}-slow", **few))
    return found


def with_and_without(spec: RunSpec, name: str) -> list[RunSpec]:
    """A run and the same with the paper's term."""
    own = spec.replace(name=f"{name}-{L2}", regularizers=(dispersive_term(L2),))
    return [spec.replace(name=f"{name}-baseline"), own]


def _times(row: Profile, times: int) -> dict[str, Any]:
    """Fields of a run so many times as long as the profile's, with a milestone at some of its lengths."""
    lengths = (k * row.num_steps for k in LENGTHS if k < times)
    return {"num_steps": times * row.num_steps, "milestones": (*row.milestones, *lengths)}
