"""What the notebooks on systems, samplers and causes say of the published runs, sentence by sentence.

Each row is a notebook, a sentence, and whether it holds; another sentence is another row.
"""

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from disperse.experiments.published_systems import system_change

from . import published as of

SIZES = ("Pico", "Micro", "Nano", "Mini")
BOTH = ("none", "infonce-l2")  # variants
BANDS = ("low", "middle", "high")
STEPS = [600, 1200, 1800, 2400]
SECOND = {"size": "Nano", "patch": 2, "step": 2400, "token_scale": 1, "lr": 0.004}  # of MeanFlow's rows
FOUR, ROWS = {"token_scale": 1, "lr": 0.004}, ["size", "patch", "step"]  # the rows without their controls
PLAIN, TERM = {"variant": "none"}, {"variant": "infonce-l2"}
LONG, HALF, FAST = {"variant": "none", "token_scale": 4}, {"lr": 0.002}, {"lr": 0.008}
L2 = {"variant": "infonce-l2", "lam": 0.5, "tau": 0.5, "group": 16}  # of norm_cost
HEUN, EULER = {"solver": "heun", "nfe": 12}, {"solver": "euler", "nfe": 12}
FINEST = HEUN | {"nfe": 200}
SYSTEMS = ("sit", "dit", "meanflow")
SMALL = ({"lam": 0.05}, {"tau": 0.05})

few = partial(of.changes, "one_step", "nfe")
distance = partial(of.value, "one_step")
scale = partial(of.changes, "scale_of_effect", ["size", "images", "step"], step=STEPS)


def rising(values: Iterable[float]) -> bool:
    return all(first < second for first, second in pairwise(values))


def band(y: str, name: str, variant: str = "infonce-l2") -> of.Mean:
    return of.mean(of.noise("per_timestep", "band", band=name, variant=variant), y)


def bands(y: str) -> list[of.Mean]:
    """With the term minus without, at low, middle and high noise."""
    both = [of.noise("per_timestep", "band", band=name) for name in BANDS]
    return [of.over(of.with_term(each), of.without(each), y, log=False) for each in both]


def meanflow(own: dict[str, Any], base: dict[str, Any], y: str = "fd") -> of.Mean:
    """Among the second row and its controls."""
    return of.over(*(of.rows("meanflow", **SECOND | each) for each in (own, base)), y)


def longer(variant: str, seed: int) -> tuple[float, ...]:
    """Distance of a run of the second row, and three times as long."""
    run = {"variant": variant, "seed": seed}
    return tuple(round(of.value("meanflow", **SECOND | run | {"step": step}), 2) for step in (2400, 7200))


def gainers() -> set[str]:
    """Systems that a term improves clearly under the profile's own protocol."""
    told = (
        "variants blocks lambda_tau local_batch contrastive_to_dispersive model_size norm_cost systems_tour"
    )
    found = (of.changes(name, ["system", "name", "lr"]) for name in told.split())
    return {system for each in found for (system, *_), change in each.items() if change.sign < 0}


def guided(system: str, variant: str) -> of.Mean:
    """What guidance does to a distance."""
    return of.over(*(of.rows("systems", system=system, variant=variant, guidance=s) for s in (1.5, 1.0)))


def apart(name: str, own: dict[str, Any], base: dict[str, Any]) -> of.Mean:
    """The term's change in one case over that in another."""
    return of.over(*(of.pairs(name, **each) for each in (own, base)), "value", log=False)


def refined(solver: str, variant: str) -> list[float]:
    """Distances from the coarsest to the finest grid."""
    return [of.value("sampler", variant=variant, solver=solver, nfe=nfe) for nfe in (12, 24, 50, 100, 200)]


def trends() -> dict[str, of.Mean]:
    """Slopes per doubling of a plane that is fitted within each seed that has every cell."""
    axes = ["parameters", "images", "step"]
    found = of.pairs("scale_of_effect", axes, step=STEPS)
    whole = found.groupby("seed").filter(lambda one: len(one) == len(scale()))
    fits = {}
    for seed, one in whole.groupby("seed"):
        plane = np.column_stack([np.ones(len(one)), np.log2(one[axes].astype(float))])
        fits[seed] = dict(zip(axes, np.linalg.lstsq(plane, one.value, rcond=None)[0][1:], strict=True))
    slopes = pd.DataFrame(fits).T.rename_axis("seed").reset_index().eval("both = images + step")
    return {name: of.mean(slopes, name) for name in (*axes, "both")}


def setting(step: int, own: dict[str, Any]) -> Any:
    return of.rows("norm_cost", step=step, **{"token_scale": 1, "lr": 0.004} | own)


def cost(step: int, own: dict[str, Any], base: dict[str, Any], y: str = "fd") -> of.Mean:
    """Of norm_cost: one setting over another at a length."""
    return of.over(setting(step, own), setting(step, base), y)


def share(step: int, own: dict[str, Any]) -> float:
    """What a setting costs as a share of what the paper's costs."""
    return cost(step, own, PLAIN).percent / cost(step, L2, PLAIN).percent


def look(y: str, images: int, size: str = "Nano", *, log: bool = False) -> of.Mean:
    """Difference by the term in what is measured against training images."""
    found = of.noise("beyond_fid", images=images, size=size)
    return of.over(of.with_term(found), of.without(found), y, log=log)


def tells(images: int, size: str = "Nano") -> str:
    table = {(-1, -1): "less overfitting", (-1, 1): "less fitting", (1, 1): "more overfitting"}
    return table.get((look("gap", images, size).sign, look("log_unseen_loss", images, size).sign), "open")


def quality(y: str) -> of.Mean:
    """The same of what every evaluation measures, of the runs on all images."""
    found = of.rows("beyond_fid", against_training=False)
    return of.over(of.with_term(found), of.without(found), y, log=False)


SAID: list[of.Said] = [
    ("per_timestep", "(three seeds) the term has made features four to six times as long at every level",
     lambda: all(4 < band("rms", s).value / band("rms", s, "none").value < 6.2 and band("rms", s).n == 3 for s in BANDS)),
    ("per_timestep", "from fewer directions than the baseline's where the image is all but given to more where it is nearly gone",
     lambda: [each.sign for each in bands("effective_rank")][::2] == [-1, 1]
     and band("effective_rank", "low").high < band("effective_rank", "high").low),
    ("per_timestep", "Denoising is about 1% worse at low and middle noise and a third of a percent at high, each clear of zero",
     lambda: [(round(each.percent, 1), each.sign) for each in bands("log_unseen_loss")] == [(1.2, 1), (1.2, 1), (0.3, 1)]),
    ("per_timestep", "its gradient is less than a hundredth of the denoising loss's",
     lambda: all(np.exp(band("log_gradient_ratio", s).value) < 0.01 for s in BANDS)),
    ("per_timestep", "no group of levels shows a conflict", lambda: all(band("gradient_cosine", s).sign >= 0 for s in BANDS)),
    ("per_timestep", "the middle levels show agreement of the gradients",
     lambda: [band("gradient_cosine", s).sign for s in BANDS] == [0, 1, 0]),
    ("per_timestep", "six to thirty times as large as the denoising gradient",
     lambda: all(5.5 < np.exp(band("log_gradient_ratio", s, "none").value) < 30 for s in BANDS)),
    ("meanflow", "(three seeds) the term helps MeanFlow in every row and in each of the twelve pairs of runs, by 26 to 61%",
     lambda: (found := of.pairs("meanflow", **FOUR)).value.max() < 0 and len(found) == 12
     and [round(-f(each.percent for each in of.changes("meanflow", ROWS, **FOUR).values())) for f in (max, min)] == [26, 61]),
    ("meanflow", "is clear of zero by itself, so the claim, which asks for all four at once, stays open",
     lambda: [key for key, each in of.changes("meanflow", ROWS, **FOUR).items() if each.sign] == [("Nano", 2, 2400)]
     and of.verdicts(of.pairs("meanflow", ROWS, **FOUR)).verdict.item() == "open"),
    ("meanflow", "It is the one system here that gains", lambda: gainers() == {"meanflow"}),
    ("meanflow", "the halved rate gains 19% by itself, clear of zero, and the term can't be told from it",
     lambda: (half := meanflow(HALF, PLAIN)).sign == -1 and round(half.percent) == -19 and meanflow(TERM, HALF).sign == 0),
    ("meanflow", "Long tokens come to two thirds of that length; the halved rate leaves it about as it was.",
     lambda: meanflow(TERM, PLAIN, "rms").percent > 300 and -10 < meanflow(TERM, PLAIN, "effective_rank").percent < 10
     and -40 < meanflow(LONG, TERM, "rms").percent < -30 and -15 < meanflow(HALF, PLAIN, "rms").percent < 15),
    ("meanflow", "becomes *worse* (0.61 to 1.44 and 0.52 to 0.90), and with the term none does (0.29 to 0.33)", lambda: [longer("none", seed) for seed in (1, 2)] == [(0.61, 1.44), (0.52, 0.9)]
     and all(short > long for short, long in (longer("none", 0), *(longer("infonce-l2", seed) for seed in range(3))))
     and sorted(longer("infonce-l2", seed)[1] for seed in range(3))[::2] == [0.29, 0.33]),
    ("meanflow", "long tokens alone can't be told from the baseline, and the term gains 22% on them",
     lambda: meanflow(LONG, PLAIN).sign == 0 and (gain := meanflow(TERM, LONG)).sign == -1 and round(gain.percent) == -22),
    ("systems", "(three seeds) guidance mends DiT: its baseline's distance falls by 43%",
     lambda: (found := guided("dit", "none")).sign == -1 and round(found.percent) == -43 and found.n == 3),
    ("systems", "It lowers that of SiT with the term by 18%, and does nothing to SiT's baseline that can be told",
     lambda: [guided("sit", v).sign for v in BOTH] == [0, -1] and round(guided("sit", "infonce-l2").percent) == -18),
    ("systems", "the term makes no difference that can be told, in either: +2% [−8%, +13%] for SiT, −3% [−22%, +22%] for DiT",
     lambda: [of.change("systems", system=s, guidance=1.5).text for s in ("sit", "dit")]
     == ["+2% [−8%, +13%]", "−3% [−22%, +22%]"]),
    ("systems", "that the *effect* shrinks is not shown, since both intervals of its change hold zero",
     lambda: [apart("systems", *({"system": s, "guidance": g} for g in (1.5, 1.0))).sign for s in ("sit", "dit")] == [0, 0]),
    ("systems", "−13.6% without guidance, −15.4% with it. What is small is the gain at system level, −4.4%",
     lambda: [f"{100 * system_change(k).value:.1f}" for k in ("80-disp", "guided-disp", "system-disp")] == ["-13.6", "-15.4", "-4.4"]),
    ("one_step", "about as near to real digits as SiT with it in four Euler steps, −9% [−20%, +3%]",
     lambda: (found := of.over(*(of.rows("one_step", variant="infonce-l2", system=s, nfe=n)
                                 for s, n in (("meanflow", 1), ("sit", 4))))).text == "−9% [−20%, +3%]" and found.n == 3),
    ("one_step", "−29% [−47%, −5%] in one step, and can't be told from zero in two or four",
     lambda: few(system="meanflow")[1].text == "−29% [−47%, −5%]" and of.signs(few(system="meanflow")) == [-1, 0, 0]),
    ("one_step", "In one, MeanFlow's baseline has less than a fifth of the distance of SiT's; the term brings it to SiT in four",
     lambda: 0.15 < distance(system="meanflow", variant="none", nfe=1)
     / distance(system="sit", variant="none", nfe=1) < 0.2 and 0.9 < distance(system="meanflow", variant="infonce-l2", nfe=1)
     / distance(system="sit", variant="none", nfe=4) < 1.1),
    ("one_step", "the change itself is clearly larger in one step than in two or in four",
     lambda: [apart("one_step", *({"system": "meanflow", "nfe": n} for n in (1, more))).sign for more in (2, 4)] == [-1, -1]),
    ("one_step", "is a little better with the term, −7%; the cost that a fine grid shows comes as the steps grow", lambda: few(system="sit")[1].sign == -1 and round(few(system="sit")[1].percent) == -7
     and rising(few(system="sit")[n].value for n in (1, 2, 4, 8, 16))),
    ("one_step", "Euler's distance is *lower* at 8 or 16 steps than on a fine grid",
     lambda: all(distance(system="sit", variant=v, nfe=n) < refined("heun", v)[-1] for v in BOTH for n in (8, 16))),
    ("sampler", "(three seeds) twelve evaluations by Heun's method put the change at +8%, the finest grid at +23%",
     lambda: [(round(each.percent), each.n) for n in (12, 200) for each in [of.change("sampler", solver="heun", nfe=n)]]
     == [(8, 3), (23, 3)]),
    ("sampler", "The ratio of the two, −13% [−21%, −3%], is clear of zero though neither change is",
     lambda: apart("sampler", HEUN, FINEST).text == "−13% [−21%, −3%]"
     and [of.change("sampler", solver="heun", nfe=n).sign for n in (12, 200)] == [0, 0]),
    ("sampler", "The profile's choice is a point off",
     lambda: 0.5 < abs(apart("sampler", HEUN | {"nfe": 50}, FINEST).percent) < 1.5),
    ("sampler", "Heun comes down to its end, Euler comes up to the same end from the other side",
     lambda: all(rising(refined("euler", v)) and rising(refined("heun", v)[::-1])
                 and 0.97 < refined("euler", v)[-1] / refined("heun", v)[-1] < 1 for v in BOTH)),
    ("sampler", "Euler's error makes both models better by a fifth, and leaves the change as it is",
     lambda: all(0.75 < refined("euler", v)[0] / refined("heun", v)[-1] < 0.85 for v in BOTH)
     and apart("sampler", EULER, FINEST).sign == 0),
    ("scale_of_effect", "No cell is below zero in the published runs (three seeds, six for Nano on all images)",
     lambda: all(each.value > 0 and each.n == (6 if key[:2] == ("Nano", 1297) else 3) for key, each in scale().items())),
    ("scale_of_effect", "27 of the 48 cells cost something by their own intervals, among them all 12 after 600 steps",
     lambda: len(scale()) == 48 and of.signs(scale()).count(1) == 27
     and [each.sign for key, each in scale().items() if key[2] == 600] == [1] * 12),
    ("scale_of_effect", "each doubling takes the ratio of the distances down by 29% [−35%, −23%]",
     lambda: trends()["step"].text == "−29% [−35%, −23%]"),
    ("scale_of_effect", "Neither fewer images nor larger networks bring a gain",
     lambda: trends()["images"].value < 0 and trends()["parameters"].sign == 0),
    ("scale_of_effect", "in every network and on every data set the cost at the end is less than half of that at 600 steps",
     lambda: all(scale()[*key, 2400].percent < each.percent / 2 for (*key, k), each in scale().items() if k == 600)),
    ("scale_of_effect", "change the ratio by −31% [−38%, −23%]", lambda: trends()["both"].text == "−31% [−38%, −23%]"),
    ("scale_of_effect", "the trend is small and the other way, −3% [−5%, 0%] per doubling of the images",
     lambda: trends()["images"].text == "−3% [−5%, 0%]" and trends()["images"].sign == -1),
    ("scale_of_effect", "Of the size nothing can be told**: −3% [−8%, +3%] per doubling of the parameters",
     lambda: trends()["parameters"].text == "−3% [−8%, +3%]"),
    ("norm_cost", "by the first evaluation its loss sits at its floor", lambda: setting(600, L2).saturation.min() > 0.99),
    ("norm_cost", "features are four times as long as the baseline's at the first evaluation, and the factor grows",
     lambda: 290 < cost(600, L2, PLAIN, "rms").percent < 360 and rising(cost(step, L2, PLAIN, "rms").value for step in STEPS)),
    ("norm_cost", "is slower too; at the first step it pays about a third of what the ℓ2 term costs, at the end about half",
     lambda: cost(600, LONG, PLAIN).sign == 1 and 0.27 < share(600, LONG) < 0.4 < share(2400, LONG) < 0.6),
    ("norm_cost", "a smaller λ or τ saves much of the early cost", lambda: all(share(600, L2 | own) < 0.62 for own in SMALL)),
    ("norm_cost", "become nearly as long, since nothing else holds them back, but more slowly, and the early cost is little more than half",
     lambda: all(-25 < cost(step, L2 | SMALL[0], L2, "rms").percent < -10 for step in STEPS) and 0.5 < share(600, L2 | SMALL[0]) < 0.62),
    ("norm_cost", "As with τ, against ℓ2 itself the saving is clear at the first evaluation and open at the end",
     lambda: [[cost(step, L2 | own, L2).sign for step in (600, 2400)] for own in SMALL] == [[-1, 0], [-1, 0]]),
    ("norm_cost", "τ ten times smaller, features at little more than a third of the length, a fifth of the early cost",
     lambda: -67 < cost(600, L2 | SMALL[1], L2, "rms").percent < -58 and 0.15 < share(600, L2 | SMALL[1]) < 0.25),
    ("norm_cost", "The whole batch costs more than groups of 16 in the middle of training; at the end that is open",
     lambda: [cost(step, L2 | {"group": 128}, L2).sign for step in (1200, 2400)] == [1, 0]),
    ("norm_cost", "lowers the early cost; at the end three seeds can't tell whether it makes up for it",
     lambda: (late := cost(2400, L2 | FAST, PLAIN | FAST)).sign == 0 and late.n == 3
     and cost(600, L2 | FAST, PLAIN | FAST).percent < cost(600, L2, PLAIN).percent - 20),
    ("beyond_fid", "class agreement is a little worse, by 0.7 points; precision and recall can't be told",
     lambda: [quality(y).sign for y in ("agreement", "precision", "recall")] == [-1, 0, 0]
     and round(100 * quality("agreement").value, 1) == -0.7),
    ("beyond_fid", "closes for the cheaper reason, less *fitting*", lambda: tells(1297) == "less fitting"),
    ("beyond_fid", "lowers the gap by a sixth, the unseen loss by 5% and the copies by 2 points, each clear of zero: less *overfitting*", lambda: tells(160) == "less overfitting" and look("nearer_to_seen", 160).sign == -1
     and -19 < look("gap", 160, log=True).percent < -14
     and round(look("log_unseen_loss", 160).percent) == -5 and round(100 * look("nearer_to_seen", 160).value) == -2),
    ("beyond_fid", "the distance of the runs on 160 images is better in none of them, +6% [−1%, +14%] for Nano",
     lambda: all(look("fd", 160, size, log=True).value > 0 for size in SIZES)
     and look("fd", 160, log=True).text == "+6% [−1%, +14%]"),
    ("beyond_fid", "On 160 images nine samples of ten of Nano's are nearest to a training image",
     lambda: all(0.9 < of.mean(of.noise("beyond_fid", images=160, size="Nano", variant=v), "nearer_to_seen").value < 0.95
                 for v in BOTH)),
    ("beyond_fid", "So it is in two of the other three networks, Micro and Mini, with smaller changes; in Pico, the "
     "smallest, the gap is smaller as well, but the unseen loss can't be told, nor can it in any of the four on 450 images",
     lambda: [tells(160, n) for n in SIZES] == ["open", *["less overfitting"] * 3] and look("gap", 160, "Pico").sign == -1
     and all(look(y, 160, n).value > look(y, 160).value for n in ("Micro", "Mini")
             for y in ("gap", "log_unseen_loss", "nearer_to_seen"))
     and not any(look("log_unseen_loss", 450, n).sign for n in SIZES)),
    ("systems_tour", "in nine of ten samples or more without guidance, MeanFlow in a *single* network evaluation",
     lambda: min(of.means(of.rows("systems_tour"), "agreement", ["system", "variant"]).values()).value > 0.9
     and set(of.rows("systems_tour", system="meanflow").nfe) == {1}),
    ("systems_tour", "The term costs SiT and DiT quality at this scale; MeanFlow is better at the end in every seed", lambda: of.signs(of.changes("systems_tour", "system", system=["sit", "dit"])) == [1, 1]
     and of.pairs("systems_tour", system="meanflow").value.max() < 0),
    ("systems_tour", "At equal steps of training DiT is furthest behind. The term costs most early",
     lambda: all(max(SYSTEMS, key=lambda s: of.value("systems_tour", system=s, variant="none", step=k)) == "dit" for k in STEPS)
     and all(max(STEPS, key=lambda k: of.change("systems_tour", system=s, step=k).value) < 1800 for s in SYSTEMS)),
    ("systems_tour", "MeanFlow's gain is largest in a single step",
     lambda: min((1, 2, 4), key=lambda n: few(system="meanflow")[n].value) == 1),
]  # fmt: skip


@of.said(SAID)
def test_the_notebook_says_it_and_it_holds(notebook: str, sentence: str, holds: Callable[[], bool]) -> None:
    assert sentence in of.prose(notebook)
    assert holds()
