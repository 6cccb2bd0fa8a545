"""What the notebooks on the paper's ablations say of the published runs, sentence by sentence.

Each row is a notebook, a sentence, and whether it holds; another sentence is another row. The notebooks on systems,
samplers and causes are in ``test_said_systems.py``.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from disperse import results

from . import published as of

VARIANTS = ("infonce-l2", "infonce-cosine", "hinge", "covariance")
VIEWS = ("independent", "restricted")
SIZES = ("Pico", "Micro", "Nano", "Mini")
LAMS, TAUS = (0.25, 0.5, 1.0), (0.25, 0.5, 1.0, 2.0)
STEPS = [600, 1200, 1800, 2400]
L2 = {"variant": "infonce-l2", "view": "one"}

inside = partial(of.value, "variants")
cells = partial(of.changes, "lambda_tau", ["lam", "tau"])
length = partial(of.value, "lambda_tau", "rms")
groups = partial(of.changes, "local_batch", "group")
sizes = partial(of.changes, "model_size", "size")
size_pairs = partial(of.pairs, "model_size", ["system", "size", "parameters"])
alphas = partial(of.rows, "contrastive_to_dispersive")
at_length = partial(of.change, "longer_training")
distance = partial(of.value, "longer_training", seed=[0, 1, 2])


def variant(name: str, view: str = "one") -> of.Mean:
    return of.change("variants", variant=name, view=view)


def signs(view: str) -> list[int]:
    """Of ℓ2, cosine, hinge and covariance: 1 is clearly worse than the baseline, −1 clearly better."""
    return [variant(name, view).sign for name in VARIANTS]


def against(name: str, other: str, view: str = "one") -> int:
    """A dispersive loss over another, or over a contrastive parent."""
    own, base = (of.rows("variants", variant=n, view=v) for n, v in ((name, "one"), (other, view)))
    return of.over(own, base).sign


def poorer(name: str, view: str) -> float:
    """Directions of a contrastive parent over those of its dispersive child."""
    return inside("effective_rank", variant=name, view=view) / inside(
        "effective_rank", variant=name, view="one"
    )


def variant_verdicts() -> list[str]:
    by, minus = ["variant", "view"], "value = -value"
    one, two = (of.rows("variants", view=views) for views in (["one"], [*VIEWS]))
    dispersive = results.pairs(two[two.variant != "covariance"], one, "fd", by=by, match=["seed", "variant"])
    l2, others = one[one.variant == "infonce-l2"], one[one.variant != "infonce-l2"]
    others = results.pairs(others, l2, "fd", by="variant")
    independent, restricted = (of.pairs("variants", by, view=view) for view in VIEWS)
    restricted = restricted[restricted.variant != "infonce-l2"]
    every = (of.pairs("variants", by, view="one"), others.eval(minus), independent.eval(minus), restricted)
    return list(of.verdicts(*every, dispersive.eval(minus)).verdict)


def longer(name: str, by: str, own: object, base: object) -> list[float]:
    """How many times as long ℓ2's features are in one setting as in another, seed by seed, in order."""
    parts = (of.rows(name, variant="infonce-l2", **{by: value}) for value in (own, base))
    return sorted(np.exp(results.pairs(*parts, "rms").value))


def blocks(y: str, *, log: bool = False) -> dict[tuple[tuple[int, ...], int], of.Mean]:
    """What the term does to each block, by where it acts and the block that is measured."""
    return of.means(of.block_pairs("norms", y, log=log), "value", ["at", "block"])


def alpha(value: float) -> of.Mean:
    """Distance with this weight of the attraction over that with none."""
    return of.over(alphas(alpha=value), alphas(alpha=0.0))


def before_over_after(at: int) -> float:
    """By how much blocks before the regularised one become longer, over those from it on."""
    found = [np.exp(blocks("rms", log=True)[(at,), k].value) for k in range(4)]
    return np.mean(found[:at]) / np.mean(found[at:])


def size_verdict() -> pd.Series:
    both = {system: size_pairs(system=system) for system in ("sit", "dit")}
    slopes = [results.slopes(each, "parameters", system) for system, each in both.items()]
    return of.verdicts([*both.values(), *slopes]).iloc[0]


def scan(size: str) -> dict[float, float]:
    """Rate → distance of the baseline of seed 0."""
    asked = f"size == '{size}' and system == 'sit' and images == 1297 and variant == 'none' and token_scale == 1 and seed == 0"
    how = "step == 2400 and solver == 'heun' and nfe == 50 and guidance == 1 and not against_training"
    found = of.everything().query(f"{asked} and {how}")
    return dict(zip(found.lr, found.fd.round(2), strict=True))


SAID: list[of.Said] = [
    ("00_start_here", "three of the four variants still end worse than the baseline on these digits",
     lambda: signs("one").count(1) == 3),
    ("variants", "the paper's first claim is contradicted at this scale", lambda: variant_verdicts()[0] == "disagrees"),
    ("variants", "ℓ2, cosine and hinge are worse than the baseline, each clear of zero; covariance can't be told from it",
     lambda: signs("one") == [1, 1, 1, 0]),
    ("variants", "Early in training the ℓ2 term more than doubles the distance, and the gap closes step by step",
     lambda: (way := [of.change("variants", **L2, step=step).percent for step in STEPS])[0] > 100
     and way == sorted(way, reverse=True)),
    ("variants", "Of the contrastive columns none of claims 3 to 5 is decided",
     lambda: variant_verdicts()[2:] == ["open"] * 3),
    ("variants", "the one variant that raises the effective rank without making features longer, and the one whose cost can't be told",
     lambda: [n for n in VARIANTS if of.change("variants", "effective_rank", variant=n, view="one").value > 0.1
              and of.change("variants", "rms", variant=n, view="one").value < 0.2] == ["covariance"]
     and [n for n in VARIANTS if not variant(n).sign] == ["covariance"]),
    ("variants", "Cosine never saturates (its off-diagonal weight stays high), and ends worst",
     lambda: of.rows("variants", variant="infonce-cosine", view="one", step=STEPS).off_diagonal_weight.min() > 0.6
     and max(VARIANTS, key=lambda n: variant(n).value) == "infonce-cosine"),
    ("variants", "it is clearly better than cosine and clearly worse than covariance, and against hinge the interval holds zero",
     lambda: [against("infonce-l2", n) for n in ("infonce-cosine", "covariance", "hinge")] == [-1, 1, 0]
     and variant_verdicts()[1] == "open"),
    ("variants", "The contrastive columns stand on three seeds",
     lambda: {variant(n, view).n for n in VARIANTS for view in VIEWS} == {3}),
    ("variants", "ℓ2 and cosine are clearly worse than the baseline, as the paper finds; hinge and covariance can't be told from it", lambda: signs("independent") == [1, 1, 0, 0]),
    ("variants", "none is better, and all but covariance are clearly worse", lambda: signs("restricted") == [1, 1, 1, 0]),
    ("variants", "ℓ2 is better without its positives, cosine better with them, and of the other four pairs none can be told",
     lambda: [[against(n, n, view) for n in VARIANTS[:3]] for view in VIEWS] == [[-1, 1, 0], [0, 0, 0]]),
    ("variants", "all eight span fewer directions than their dispersive child, with the cosine an eighth",
     lambda: all(poorer(n, view) < 1 for n in VARIANTS for view in VIEWS)
     and all(1 / 9.5 < poorer("infonce-cosine", view) < 1 / 7 for view in VIEWS)),
    ("variants", "With restricted noise ℓ2 makes features 1.7 to 3.2 times as long as the dispersive one does, seed by seed",
     lambda: [round(f, 1) for f in longer("variants", "view", "restricted", "one")][::2] == [1.7, 3.2]),
    ("variants", "ours a third of a million and 1297 digits",
     lambda: set(of.rows("variants").images) == {1297} and abs(3 * of.rows("variants").parameters / 1e6 - 1).max() < 0.05),
    ("norms", "every block is about three to five times as long, wherever the term acts",
     lambda: all(2.7 < np.exp(each.value) < 5.6 for each in blocks("rms", log=True).values())),
    ("norms", "those before it nearly as much as those after", lambda: all(0.9 < before_over_after(at) < 1.15 for at in (1, 2, 3))),
    ("norms", "is one that these runs agree with, in all sixteen comparisons",
     lambda: of.verdicts(of.block_pairs("norms", "rms").loc[lambda found: found["at"].map(len) == 1].eval("value = -value"))
     .iloc[0][["verdict", "comparisons", "below"]].tolist() == ["agrees", 16, 16]),
    ("norms", "in three of four blocks features span fewer directions than the baseline's, by a few percent",
     lambda: [k for k in range(4) if blocks("effective_rank")[(0,), k].sign < 0] == [0, 1, 3]
     and all(-8 < blocks("effective_rank", log=True)[(0,), k].percent < -2 for k in (0, 1, 3))),
    ("norms", "and in the first three they point less the same way",
     lambda: [k for k in range(4) if blocks("mean_cosine")[(0,), k].sign < 0] == [0, 1, 2]),
    ("norms", "the factor grows with the length of training",
     lambda: (factors := [of.change("variants", "rms", **L2, step=k).value for k in STEPS])
     == sorted(factors) and factors[-1] > 1.1 * factors[0]),
    ("contrastive_to_dispersive", "with the whole attraction the distance is 48% [+44%, +52%] larger than with none", lambda: (found := alpha(1.0)).text == "+48% [+44%, +52%]" and found.n == 3),
    ("contrastive_to_dispersive", "half of it is clearly worse than none, while a quarter and three quarters can't be told",
     lambda: [alpha(a).sign for a in (0.25, 0.5, 0.75)] == [0, 1, 0]),
    ("contrastive_to_dispersive", "the first quarter takes it from about 190 directions to 16 or fewer, and makes features longer",
     lambda: alphas(alpha=0.0).effective_rank.between(185, 195).all() and alphas(alpha=0.25).effective_rank.max() < 16.5
     and longer("contrastive_to_dispersive", "alpha", 0.25, 0.0)[0] > 1),
    ("blocks", "no place is shown to help", lambda: min(of.signs(of.changes("blocks", "blocks"))) >= 0),
    ("blocks", "All five cost about a fifth, between 19 and 21%, and for all but the last block the interval leaves out zero",
     lambda: len(found := of.changes("blocks", "blocks")) == 5
     and [round(f(each.percent for each in found.values())) for f in (min, max)] == [19, 21]
     and [place for place, each in found.items() if each.sign != 1] == [(3,)]),
    ("blocks", "there is no trend with depth",
     lambda: of.slope(of.pairs("blocks", ["blocks"], blocks=[(k,) for k in range(4)]).assign(
         depth=lambda found: found.blocks.map(lambda place: place[0] + 1)), "depth").sign == 0),
    ("lambda_tau", "every cell costs something, from +11% to +32%, and in eight of twelve the interval leaves out zero",
     lambda: [round(f(each.percent for each in cells().values())) for f in (min, max)] == [11, 32]
     and sorted(of.signs(cells())) == [0] * 4 + [1] * 8),
    ("lambda_tau", "grows with τ in every row and hardly with λ",
     lambda: all(length(lam=lam, tau=2.0) > 1.9 * length(lam=lam, tau=0.25) for lam in LAMS)
     and all(length(lam=1.0, tau=tau) < 1.2 * length(lam=0.25, tau=tau) for tau in TAUS)),
    ("lambda_tau", "corrected for twelve comparisons our verdict stays open",
     lambda: of.verdicts(of.pairs("lambda_tau", ["lam", "tau"])).verdict.item() == "open"),
    ("lambda_tau", "In the two lower rows the cost rises with τ too, in the first it doesn't",
     lambda: [cells()[lam, 2.0].percent > cells()[lam, 0.25].percent + 10 for lam in LAMS] == [False, True, True]
     and cells()[0.25, 2.0].value < cells()[0.25, 0.25].value),
    ("local_batch", "(six seeds for 16, three elsewhere) the mean cost rises with the group, from 17% at 4 and 8 to 30%", lambda: (found := [round(each.percent) for each in groups().values()]) == sorted(found)
     and [found[k] for k in (0, 1, 5)] == [17, 17, 30] and [each.n for each in groups().values()] == [3, 3, 6, 3, 3, 3]),
    ("local_batch", "the slope is +2% [−2%, +6%] for a doubling of the group, which can't be told from none",
     lambda: of.slope(of.pairs("local_batch", ["group"]), "group").text == "+2% [−2%, +6%]"),
    ("local_batch", "Length grows with every step.",
     lambda: all((found := [each.value for each in groups("rms", seed=seeds).values()]) == sorted(found)
                 for seeds in ([0, 1, 2], [*range(6)]))),
    ("local_batch", "From end to end the length grows by a fifth",
     lambda: 1.17 < np.exp(groups("rms")[128].value - groups("rms")[4].value) < 1.23),
    ("model_size", "(three seeds, six for Nano) every size costs something in the mean, in both systems: SiT 5 to 20%, DiT 36 "
     "to 60%; for the two smallest SiT the interval holds zero, for the other six it doesn't",
     lambda: [[round(f(each.percent for each in sizes(system=k).values())) for f in (min, max)] for k in ("sit", "dit")]
     == [[5, 20], [36, 60]] and [of.signs(sizes(system=k)) for k in ("sit", "dit")] == [[0, 0, 1, 1], [1] * 4]
     and [each.n for each in sizes(system="sit").values()] == [3, 3, 6, 3]),
    ("model_size", "Neither slope can be told from none, 0% [−6%, +7%] per doubling for SiT and +4% [−10%, +19%] for DiT",
     lambda: [of.slope(size_pairs(system=system), "parameters").text for system in ("sit", "dit")]
     == ["0% [−6%, +7%]", "+4% [−10%, +19%]"]),
    ("model_size", "That the claim stays open, and isn't contradicted, is the correction for ten comparisons (p = 0.053)",
     lambda: [size_verdict()[k] for k in ("verdict", "comparisons")] == ["open", 10] and f"{size_verdict().p:.3f}" == "0.053"),
    ("model_size", "both baselines still become better up to the largest size",
     lambda: all((found := [of.value("model_size", system=k, size=size, variant="none") for size in SIZES])
                 == sorted(found, reverse=True) for k in ("sit", "dit"))),
    ("model_size", "the two smallest networks do best at twice our rate (Pico at 0.86 instead of 1.06)", lambda: [min(scan(size), key=scan(size).get) for size in SIZES] == [0.008, 0.008, 0.004, 0.004]
     and (scan("Pico")[0.008], scan("Pico")[0.004]) == (0.86, 1.06)),
    ("longer_training", "from +115% at a quarter of the usual length to +20% at it, and then stays",
     lambda: [round(at_length(step=k).percent) for k in (600, 2400)] == [115, 20]),
    ("longer_training", "and end at +15% [+8%, +23%], worse in each of them, with no fall since three times", lambda: at_length(step=9600).text == "+15% [+8%, +23%]" and at_length(step=9600).n == 3
     and of.pairs("longer_training", step=9600).value.min() > 0
     and at_length(step=9600).value >= at_length(step=7200).value),
    ("longer_training", "So the paper's claim is contradicted at this scale",
     lambda: of.verdicts(of.pairs("longer_training", step=9600)).verdict.item() == "disagrees"),
    ("longer_training", "a difference of 0.03 between two distances that both fell by half since the usual length",
     lambda: round(distance(step=9600, variant="infonce-l2") - distance(step=9600, variant="none"), 2) == 0.03
     and all(0.4 < distance(step=9600, variant=n) / distance(step=2400, variant=n) < 0.6 for n in ("none", "infonce-l2"))),
    ("scale_of_effect", "the cost stays at +15% [+8%, +23%]", lambda: at_length(step=9600).text == "+15% [+8%, +23%]"),
    ("norm_cost", "of three seeds: +15% [+8%, +23%]", lambda: at_length(step=9600).text == "+15% [+8%, +23%]"),
]  # fmt: skip


@of.said(SAID)
def test_the_notebook_says_it_and_it_holds(notebook: str, sentence: str, holds: Callable[[], bool]) -> None:
    assert sentence in of.prose(notebook)
    assert holds()
