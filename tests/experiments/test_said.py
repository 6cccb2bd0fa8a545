"""What the notebooks on the paper's tables say of the published runs, sentence by sentence.

A sentence of a notebook on ``03_representations`` or ``samples`` is one more row. Other notebooks are in
``test_said_systems.py`` and ``test_said_causes.py``.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from disperse.results import Claim, where
from disperse.results import pairs as paired

from .published import (
    Said,
    block_changes,
    block_pairs,
    blocks,
    change,
    changes,
    check,
    everything,
    means,
    names,
    over,
    pairs,
    rows,
    signs,
    slope,
    verdicts,
    way,
    with_term,
    without,
)

VARIANTS = ("infonce-l2", "infonce-cosine", "hinge", "covariance")
VIEWS = ("independent", "restricted")
PLACES = ((0,), (1,), (2,), (3,), (0, 1, 2, 3))
SIZES = ("Pico", "Micro", "Nano", "Mini")
LAMS, TAUS = (0.25, 0.5, 1.0), (0.25, 0.5, 1.0, 2.0)
L2 = {"variant": "infonce-l2", "view": "one"}


def variant(name: str, view: str = "one") -> Any:
    return change("variants", variant=name, view=view)


def variant_signs(view: str) -> list[int]:
    """Of ℓ2, cosine, hinge and covariance: 1 is clearly worse than the baseline, −1 clearly better."""
    return [variant(name, view).sign for name in VARIANTS]


def inside(y: str, name: str, view: str = "one") -> float:
    """Mean of a measure of a variant's features at a quarter of the depth."""
    return rows("variants", variant=name, view=view)[y].mean()


def against(name: str, view: str, other: str, other_view: str = "one") -> int:
    return over(*(rows("variants", variant=n, view=v) for n, v in ((name, view), (other, other_view)))).sign


def variant_claims() -> list[str]:
    one, two = rows("variants", view="one"), rows("variants", view=list(VIEWS))
    of_two, by = pairs(two, "variants", ["variant", "view"]), ["variant", "view"]
    l2, others = one[one.variant == "infonce-l2"], one[one.variant != "infonce-l2"]
    dispersive = paired(two[two.variant != "covariance"], one, "fd", by=by, match=["seed", "variant"])
    parts = [
        pairs(one, "variants", ["variant"]),
        paired(others, l2, "fd", by="variant").eval("value = -value"),
        of_two[of_two["view"] == "independent"].eval("value = -value"),
        of_two[(of_two["view"] == "restricted") & (of_two.variant != "infonce-l2")],
        dispersive.eval("value = -value"),
    ]
    return verdicts(*(Claim.of(number, part) for number, part in enumerate(parts, 1)))


def parents_clear() -> dict[tuple[str, str], int]:
    """Dispersive loss over its contrastive parent, where the interval leaves out zero."""
    found = {(name, view): against(name, "one", name, view) for name in VARIANTS[:3] for view in VIEWS}
    return {key: sign for key, sign in found.items() if sign}


def longer_than(name: str, by: str, own: Any, base: Any, **columns: Any) -> list[float]:
    """How many times as long features are as those of another run of the same seed, from least to most."""
    parts = (where(rows(name, **columns), **{by: value}) for value in (own, base))
    return sorted(np.exp(paired(*parts, "rms").value))


def places(y: str = "fd") -> Any:
    return changes(with_term(rows("blocks")), "blocks", "blocks", y)


def norms_down(y: str) -> list[int]:
    """Blocks where the paper's setting has clearly less of a measure than the baseline."""
    found = block_changes("norms", y, log=False)
    return [block for block in range(4) if found[(0,), block].sign < 0]


def norm_claim() -> Any:
    found = block_pairs("norms", "rms").eval("value = -value")
    return Claim.of(10, found[found["at"].map(len) == 1])


def before_over_after() -> list[float]:
    """Where the term acts later: by how much blocks before it become longer, over those from it on."""
    found = {key: np.exp(each.value) for key, each in block_changes("norms", "rms").items()}
    return [
        np.mean([found[at, k] for k in range(at[0])]) / np.mean([found[at, k] for k in range(at[0], 4)])
        for at in PLACES[1:4]
    ]  # fmt: skip


def cells() -> Any:
    return changes(with_term(rows("lambda_tau")), "lambda_tau", ["lam", "tau"])


def length(lam: float, tau: float) -> float:
    return rows("lambda_tau", lam=lam, tau=tau).rms.mean()


def groups() -> Any:
    return changes(with_term(rows("local_batch")).sort_values("group"), "local_batch", "group")


def group_lengths(*seeds: int) -> list[float]:
    found = with_term(rows("local_batch", seed=list(seeds)))
    return [each.value for _, each in sorted(means(found, "rms", "group").items())]


def sizes(system: str) -> list[Any]:
    found = changes(with_term(rows("model_size", system=system)), "model_size", "size")
    return [found[size] for size in SIZES]


def size_pairs(system: str) -> Any:
    return pairs(rows("model_size", system=system), "model_size", ["system", "size", "parameters"])


def size_verdict() -> Any:
    from disperse.results import judge, slopes

    both = [size_pairs(system) for system in ("sit", "dit")]
    parts = [slopes(each, "parameters", "slope " + each.system.iloc[0]) for each in both]
    return judge([Claim.of(8, *both, *parts)]).iloc[0]


def rate_scan(size: str) -> dict[float, float]:
    """Rate → distance of the baseline of seed 0."""
    own = {"system": "sit", "size": size, "seed": 0, "variant": "none", "token_scale": 1, "step": 2400}
    found = where(everything(), **own, images=1297, solver="heun", nfe=50, guidance=1.0, against_training=False)
    return dict(zip(found.lr, found.fd.round(2), strict=True))


def alpha(value: float) -> Any:
    none = rows("contrastive_to_dispersive", alpha=0.0)
    return over(rows("contrastive_to_dispersive", alpha=value), none)


def ranks(value: float) -> Any:
    return rows("contrastive_to_dispersive", alpha=value).effective_rank


def at_length(step: int, **columns: Any) -> Any:
    return change("longer_training", step=step, **columns)


def distance(step: int, variant: str) -> float:
    return rows("longer_training", step=step, variant=variant, seed=[0, 1, 2]).fd.mean()


SAID: list[Said] = [
    ("00_start_here", "three of the four variants still end worse than the baseline on these digits",
     lambda: variant_signs("one").count(1) == 3),
    ("variants", "the paper's first claim is contradicted at this scale", lambda: variant_claims()[0] == "disagrees"),
    ("variants", "ℓ2, cosine and hinge are worse than the baseline, each clear of zero; covariance can't be told from it",
     lambda: variant_signs("one") == [1, 1, 1, 0]),
    ("variants", "Early in training the ℓ2 term more than doubles the distance, and the gap closes step by step",
     lambda: (way_ := [change("variants", **L2, step=step).percent for step in (2400, 1800, 1200, 600)])[-1] > 100
     and way_ == sorted(way_)),
    ("variants", "Of the contrastive columns none of claims 3 to 5 is decided",
     lambda: variant_claims()[2:] == ["open"] * 3),
    ("variants", "Covariance is the one variant that raises the effective rank without making features longer, and the one "
     "whose cost can't be told from none",
     lambda: [n for n in VARIANTS if inside("effective_rank", n) > inside("effective_rank", "none", "none") + 20
              and inside("rms", n) < 1.2 * inside("rms", "none", "none")] == ["covariance"]
     and [n for n in VARIANTS if not variant(n).sign] == ["covariance"]),
    ("variants", "Cosine never saturates (its off-diagonal weight stays high), and ends worst",
     lambda: way("variants", variant="infonce-cosine", view="one").off_diagonal_weight.min() > 0.6
     and max(VARIANTS, key=lambda n: variant(n).value) == "infonce-cosine"),
    ("variants", "Whether ℓ2 is the *best* can't be told: it is clearly better than cosine and clearly worse than "
     "covariance, and against hinge the interval holds zero",
     lambda: [against("infonce-l2", "one", n) for n in ("infonce-cosine", "covariance", "hinge")] == [-1, 1, 0]
     and variant_claims()[1] == "open"),
    ("variants", "The contrastive columns stand on three seeds",
     lambda: {variant(n, view).n for n in VARIANTS for view in VIEWS} == {3}),
    ("variants", "With independent noise ℓ2 and cosine are clearly worse than the baseline, as the paper finds; hinge and "
     "covariance can't be told from it", lambda: variant_signs("independent") == [1, 1, 0, 0]),
    ("variants", "none is better, and all but covariance are clearly worse",
     lambda: variant_signs("restricted") == [1, 1, 1, 0]),
    ("variants", "with independent noise ℓ2 is better without its positives, cosine better with them, and of the other four "
     "pairs none can be told",
     lambda: parents_clear() == {("infonce-l2", "independent"): -1, ("infonce-cosine", "independent"): 1}),
    ("variants", "all eight span fewer directions than their dispersive child, with the cosine an eighth",
     lambda: all(inside("effective_rank", n, view) < inside("effective_rank", n) for n in VARIANTS for view in VIEWS)
     and all(7 < inside("effective_rank", "infonce-cosine") / inside("effective_rank", "infonce-cosine", view) < 9.5
             for view in VIEWS)),
    ("variants", "With restricted noise ℓ2 makes features 1.7 to 3.2 times as long as the dispersive one does, seed by seed",
     lambda: [round(f, 1) for f in longer_than("variants", "view", "restricted", "one", variant="infonce-l2")][::2]
     == [1.7, 3.2]),
    ("variants", "ours a third of a million and 1297 digits",
     lambda: set(rows("variants").images) == {1297} and abs(3 * rows("variants").parameters / 1e6 - 1).max() < 0.05),
    ("norms", "every block is about three to five times as long, wherever the term acts",
     lambda: all(2.7 < np.exp(each.value) < 5.6 for each in block_changes("norms", "rms").values())),
    ("norms", "those before it nearly as much as those after", lambda: all(0.9 < r < 1.15 for r in before_over_after())),
    ("norms", "is one that these runs agree with, in all sixteen comparisons",
     lambda: verdicts(norm_claim()) == ["agrees"] and list(signs(
         {k: v for k, v in block_changes("norms", "rms").items() if len(k[0]) == 1}).values()) == [1] * 16),
    ("norms", "in three of four blocks features span fewer directions than the baseline's, by a few percent",
     lambda: norms_down("effective_rank") == [0, 1, 3]
     and all(-8 < block_changes("norms", "effective_rank")[(0,), k].percent < -2 for k in (0, 1, 3))),
    ("norms", "and in the first three they point less the same way", lambda: norms_down("mean_cosine") == [0, 1, 2]),
    ("norms", "the factor grows with the length of training",
     lambda: (factors := [change("variants", "rms", **L2, step=k).value for k in (600, 1200, 1800, 2400)])
     == sorted(factors) and factors[-1] > 1.1 * factors[0]),
    ("contrastive_to_dispersive", "(three seeds) the ends are far apart: with the whole attraction the distance is 48% "
     "[+44%, +52%] larger than with none", lambda: alpha(1.0).text == "+48% [+44%, +52%]" and alpha(1.0).n == 3),
    ("contrastive_to_dispersive", "half of it is clearly worse than none, while a quarter and three quarters can't be told",
     lambda: [alpha(a).sign for a in (0.25, 0.5, 0.75)] == [0, 1, 0]),
    ("contrastive_to_dispersive", "in every seed the first quarter takes it from about 190 directions to 16 or fewer, and "
     "makes features longer",
     lambda: ranks(0.0).between(185, 195).all() and ranks(0.25).max() < 16.5
     and longer_than("contrastive_to_dispersive", "alpha", 0.25, 0.0)[0] > 1),
    ("blocks", "no place is shown to help", lambda: not any(each.sign < 0 for each in places().values())),
    ("blocks", "All five cost about a fifth, between 19 and 21%, and for all but the last block the interval leaves out zero",
     lambda: all(18.5 < each.percent < 21.5 for each in places().values())
     and [place for place in PLACES if places()[place].sign != 1] == [(3,)]),
    ("blocks", "there is no trend with depth",
     lambda: not slope(pairs(rows("blocks", blocks=list(PLACES[:4])), "blocks", ["blocks"])
                       .assign(depth=lambda t: t.blocks.map(lambda b: b[0] + 1)), "depth").sign),
    ("lambda_tau", "every cell costs something, from +11% to +32%, and in eight of twelve the interval leaves out zero",
     lambda: [round(f(each.percent for each in cells().values())) for f in (min, max)] == [11, 32]
     and sorted(signs(cells()).values()) == [0] * 4 + [1] * 8),
    ("lambda_tau", "grows with τ in every row and hardly with λ",
     lambda: all(length(lam, 2.0) > 1.9 * length(lam, 0.25) for lam in LAMS)
     and all(length(1.0, tau) < 1.2 * length(0.25, tau) for tau in TAUS)),
    ("lambda_tau", "corrected for twelve comparisons our verdict stays open",
     lambda: verdicts(Claim.of(7, pairs(rows("lambda_tau"), "lambda_tau", ["lam", "tau"]))) == ["open"]),
    ("lambda_tau", "In the two lower rows the cost rises with τ too, in the first it doesn't",
     lambda: [cells()[lam, 2.0].percent > cells()[lam, 0.25].percent + 10 for lam in LAMS] == [False, True, True]
     and cells()[0.25, 2.0].value < cells()[0.25, 0.25].value),
    ("local_batch", "(six seeds for 16, three elsewhere) the mean cost rises with the group, from 17% at 4 and 8 to 30% for "
     "the whole batch",
     lambda: (found := [round(each.percent) for each in groups().values()]) == sorted(found)
     and [found[k] for k in (0, 1, 5)] == [17, 17, 30] and [each.n for each in groups().values()] == [3, 3, 6, 3, 3, 3]),
    ("local_batch", "the slope is +2% [−2%, +6%] for a doubling of the group, which can't be told from none",
     lambda: slope(pairs(rows("local_batch"), "local_batch", ["group"]), "group").text == "+2% [−2%, +6%]"),
    ("local_batch", "Length grows with every step.",
     lambda: all((found := group_lengths(*seeds)) == sorted(found) for seeds in (range(3), range(6)))),
    ("local_batch", "From end to end the length grows by a fifth",
     lambda: 1.17 < group_lengths(*range(6))[-1] / group_lengths(*range(6))[0] < 1.23),
    ("model_size", "(three seeds, six for Nano) every size costs something in the mean, in both systems: SiT 5 to 20%, DiT 36 "
     "to 60%; for the two smallest SiT the interval holds zero, for the other six it doesn't",
     lambda: [[round(f(each.percent for each in sizes(k))) for f in (min, max)] for k in ("sit", "dit")]
     == [[5, 20], [36, 60]] and [each.sign for k in ("sit", "dit") for each in sizes(k)] == [0, 0] + 6 * [1]
     and [each.n for each in sizes("sit")] == [3, 3, 6, 3]),
    ("model_size", "Neither slope can be told from none, 0% [−6%, +7%] per doubling for SiT and +4% [−10%, +19%] for DiT",
     lambda: [slope(size_pairs(system), "parameters").text for system in ("sit", "dit")]
     == ["0% [−6%, +7%]", "+4% [−10%, +19%]"]),
    ("model_size", "That the claim stays open, and isn't contradicted, is the correction for ten comparisons (p = 0.053)",
     lambda: [size_verdict()[k] for k in ("verdict", "comparisons")] == ["open", 10] and f"{size_verdict().p:.3f}" == "0.053"),
    ("model_size", "both baselines still become better up to the largest size",
     lambda: all((found := [rows("model_size", system=k, size=size, variant="none").fd.mean() for size in SIZES])
                 == sorted(found, reverse=True) for k in ("sit", "dit"))),
    ("model_size", "on the one seed of the scan the two smallest networks do best at twice our rate (Pico at 0.86 instead of "
     "1.06)",
     lambda: [min(rate_scan(size), key=rate_scan(size).get) for size in SIZES] == [0.008, 0.008, 0.004, 0.004]
     and (rate_scan("Pico")[0.008], rate_scan("Pico")[0.004]) == (0.86, 1.06)),
    ("longer_training", "from +115% at a quarter of the usual length to +20% at it, and then stays",
     lambda: [round(at_length(k).percent) for k in (600, 2400)] == [115, 20]),
    ("longer_training", "three seeds go on to four times that length and end at +15% [+8%, +23%], worse in each of them, with "
     "no fall since three times",
     lambda: at_length(9600).text == "+15% [+8%, +23%]" and at_length(9600).n == 3
     and (pairs(rows("longer_training", step=9600), "longer_training").value > 0).all()
     and at_length(9600).value >= at_length(7200).value),
    ("longer_training", "So the paper's claim is contradicted at this scale",
     lambda: verdicts(Claim.of(9, pairs(rows("longer_training", step=9600), "longer_training"))) == ["disagrees"]),
    ("longer_training", "a difference of 0.03 between two distances that both fell by half since the usual length",
     lambda: round(distance(9600, "infonce-l2") - distance(9600, "none"), 2) == 0.03
     and all(0.4 < distance(9600, n) / distance(2400, n) < 0.6 for n in ("none", "infonce-l2"))),
    ("scale_of_effect", "the cost stays at +15% [+8%, +23%]", lambda: at_length(9600).text == "+15% [+8%, +23%]"),
    ("norm_cost", "of three seeds: +15% [+8%, +23%]", lambda: at_length(9600).text == "+15% [+8%, +23%]"),
]  # fmt: skip


@pytest.mark.parametrize(("notebook", "sentence", "holds"), SAID, ids=names(SAID))
def test_the_notebook_says_it_and_it_holds(notebook: str, sentence: str, holds: Callable[[], bool]) -> None:
    check(notebook, sentence, holds)
