"""The claims of each item as paired comparisons of its runs; ``claims.judge`` says what they are worth."""

from collections.abc import Callable, Mapping

from ..models import config_of
from ..models.flops import num_parameters
from ..regularizers.paper import DISPERSIVE, VIEWS
from ..spec import RunSpec
from ..store import Record
from . import paper
from .claims import Claim, Part, Values, difference, paired, per_doubling, slope
from .compare import distances, finals
from .items import Cell, item
from .profiles import Profile


def variants_claims(pool: list[Record], cells: list[Cell], row: Profile) -> list[Claim]:
    """Claims 1 to 5. Where the paper says "level", and of ℓ2 with restricted noise, nothing is tested."""
    fd = distances(pool, cells, row)
    others = [name for name in DISPERSIVE if name != "infonce-l2"]
    beaten = [f"{name}-{view}" for view in VIEWS for name in DISPERSIVE if name != "covariance"]
    return [
        Claim(1, tuple(difference(fd, name, "baseline") for name in DISPERSIVE)),
        Claim(2, tuple(difference(fd, "infonce-l2", name) for name in others)),
        Claim(3, tuple(difference(fd, "baseline", f"{name}-independent") for name in DISPERSIVE)),
        Claim(4, tuple(difference(fd, f"{name}-restricted", "baseline") for name in others)),
        Claim(5, tuple(difference(fd, name.rpartition("-")[0], name) for name in beaten)),
    ]


def blocks_claims(pool: list[Record], cells: list[Cell], row: Profile) -> list[Claim]:
    """Claim 6: each place against the baseline, and all blocks against each."""
    fd = distances(pool, cells, row)
    places = [cell.label for cell in cells if cell.against and cell.label != "l2-all"]
    places = list(dict.fromkeys(places))
    helps = (difference(fd, label, "baseline") for label in ("l2-all", *places))
    return [Claim(6, (*helps, *(difference(fd, "l2-all", label) for label in places)))]


def lambda_tau_claims(pool: list[Record], cells: list[Cell], row: Profile) -> list[Claim]:
    """Claim 7: each cell of the grid against the baseline."""
    return [Claim(7, _against_their_own(pool, cells, row))]


def group_sizes(cells: list[Cell]) -> dict[str, int]:
    """Label → rows that see each other in its dispersive term, the batch where it has no groups."""
    return {
        cell.label: getattr(term, "local_batch", None) or cell.spec.batch_size
        for cell in cells
        for term in cell.spec.regularizers
        if term.kind == "dispersive"
    }


def attraction_weights(cells: list[Cell]) -> dict[str, float]:
    """Label → weight α of the attraction, of the runs with two views."""
    lams = {cell.label: {term.kind: term.lam for term in cell.spec.regularizers} for cell in cells}
    return {name: lam["alignment"] / lam["dispersive"] for name, lam in lams.items() if "alignment" in lam}


def group_comparisons(pool: list[Record], cells: list[Cell], row: Profile) -> list[Part]:
    """What each doubling of the rows that see each other changes: a fit within each seed with every group."""
    fd = distances(pool, cells, row)
    groups = group_sizes(cells)
    changes = {label: difference(fd, label, "baseline").values for label in groups}
    return [per_doubling(slope(groups, changes, "each doubling of the group"))]


def attraction_comparisons(pool: list[Record], cells: list[Cell], row: Profile) -> list[Part]:
    """Each weight of the attraction against none, both with two views."""
    fd = distances(pool, cells, row)
    alphas = attraction_weights(cells)
    (none,) = [label for label, alpha in alphas.items() if alpha == 0] or [""]
    return [
        paired(fd.get(label, {}), fd.get(none, {}), f"α = {alpha:g} / α = 0")
        for label, alpha in sorted(alphas.items(), key=lambda entry: entry[1])
        if label != none
    ]


def longer_claims(pool: list[Record], cells: list[Cell], row: Profile) -> list[Claim]:
    """Claim 9: at the end of the long runs."""
    return [Claim(9, _against_their_own(pool, cells, row))]


def meanflow_claims(pool: list[Record], cells: list[Cell], row: Profile) -> list[Claim]:
    """Claim 11: each of the paper's rows against its own baseline, also those that aren't there yet.

    Other runs that are compared with a baseline, the controls without the term, are no part of it.
    """
    fd = distances(pool, cells, row)
    names = [f"meanflow-{name}" for name in paper.MEANFLOW_FID]
    return [Claim(11, tuple(difference(fd, f"{name}-infonce-l2", f"{name}-baseline") for name in names))]


def model_size_claims(pool: list[Record], cells: list[Cell], row: Profile) -> list[Claim]:
    """Claim 8: every size improves, and the change falls with the logarithm of the parameters.

    Of every size of the profile and both systems, also those that aren't there yet.
    """
    changes = _size_changes(pool, cells, row)
    every = tuple(part for by_size in changes.values() for part in by_size.values())
    return [Claim(8, (*every, *size_slopes(pool, cells, row).values()))]


def size_slopes(pool: list[Record], cells: list[Cell], row: Profile) -> dict[str, Part]:
    """System → slope of the change over the logarithm of the parameters, of the seeds with every size."""
    sizes = {cell.label: float(parameters(cell.spec)) for cell in item("model_size", row.name, (0,))}
    slopes = {}
    for kind, by_size in _size_changes(pool, cells, row).items():
        values = {label: part.values for label, part in by_size.items()}
        own = {label: sizes[label] for label in by_size}
        slopes[kind] = slope(own, values, f"{kind}: change over size")
    return slopes


def _size_changes(pool: list[Record], cells: list[Cell], row: Profile) -> dict[str, dict[str, Part]]:
    """System → label → change against the baseline, of every size of the profile."""
    fd = distances(pool, cells, row)
    changes: dict[str, dict[str, Part]] = {}
    for cell in item("model_size", row.name, (0,)):
        if cell.against:
            part = difference(fd, cell.label, cell.against)
            changes.setdefault(cell.spec.objective.kind, {})[cell.label] = part
    return changes


def parameters(spec: RunSpec) -> int:
    """Parameters of a run's network."""
    return num_parameters(config_of(spec))


def norms_claims(pool: list[Record], cells: list[Cell], row: Profile, level: float = 0.5) -> list[Claim]:
    """Claim 10: with one block regularised, each in turn, the norm of every block against the baseline's."""
    rms = {label: _norms(records, level) for label, records in finals(pool, cells, row).items()}
    base = rms.get("baseline", {})
    labels = dict.fromkeys(cell.label for cell in cells if cell.against and cell.label != "l2-all")
    parts = [
        paired(base[block], rms.get(label, {}).get(block, {}), f"baseline / {label}, block {block}")
        for label in labels
        for block in base
    ]
    return [Claim(10, tuple(parts))]


def _norms(records: Mapping[int, Record], level: float) -> dict[int, dict[int, float]]:
    """Block → seed → feature rms at a noise level."""
    found: dict[int, dict[int, float]] = {}
    for seed, record in records.items():
        for entry in record["blocks"]:
            if entry["level"] == level:
                found.setdefault(entry["block"], {})[seed] = entry["rms"]
    return found


def _against_their_own(pool: list[Record], cells: list[Cell], row: Profile) -> tuple[Part, ...]:
    fd: Values = distances(pool, cells, row)
    own = {cell.label: cell.against for cell in cells if cell.against}
    return tuple(difference(fd, label, against) for label, against in own.items())


STATEMENTS: dict[str, Callable[[list[Record], list[Cell], Profile], list[Claim]]] = {
    "variants": variants_claims,
    "blocks": blocks_claims,
    "lambda_tau": lambda_tau_claims,
    "norms": norms_claims,
    "model_size": model_size_claims,
    "longer": longer_claims,
    "meanflow": meanflow_claims,
}
