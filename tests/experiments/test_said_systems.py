"""What the notebooks on systems, samplers and causes say of the published runs, sentence by sentence."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest

from disperse import results
from disperse.results import Claim, where

from .published import (
    Mean,
    Said,
    change,
    changes,
    check,
    mean,
    means,
    names,
    noise,
    over,
    pairs,
    rows,
    signs,
    verdicts,
    way,
    with_term,
    without,
)

SIZES = ("Pico", "Micro", "Nano", "Mini")
BANDS = ("low", "middle", "high")
SECOND = {"size": "Nano", "patch": 2, "step": 2400, "token_scale": 1, "lr": 0.004}  # of MeanFlow's rows
ROWS = ("size", "patch", "step")
L2 = {"variant": "infonce-l2", "lam": 0.5, "tau": 0.5, "group": 16, "lr": 0.004}  # of norm_cost
BASE = {"variant": "none", "token_scale": 1, "lr": 0.004}
LONG = {"variant": "none", "token_scale": 4}


def band(y: str, name: str, variant: str = "infonce-l2") -> Mean:
    return mean(where(noise("per_timestep", "noise"), noise=name, variant=variant)[y])


def band_change(y: str, name: str) -> Mean:
    """Of a group of levels: with the term minus without."""
    both = where(noise("per_timestep", "noise"), noise=name)
    return over(with_term(both), without(both), y, log=False)


def meanflow_ends() -> pd.DataFrame:
    """Of the four rows: without the controls."""
    return rows("meanflow", token_scale=1, lr=0.004, step=[2400, 7200]).loc[lambda t: t.final]


def meanflow_rows() -> list[Mean]:
    """Patch 4, patch 2, longer, larger."""
    found = changes(meanflow_ends(), "meanflow", list(ROWS))
    return [found[key] for key in (("Nano", 4, 2400), ("Nano", 2, 2400), ("Nano", 2, 7200), ("Mini", 2, 2400))]


def meanflow(**columns: Any) -> pd.DataFrame:
    """Of the second row and its controls."""
    return rows("meanflow", **SECOND | columns)


def longer(variant: str, seed: int) -> tuple[float, float]:
    """Distance of a run of the second row, and three times as long."""
    found = [meanflow(variant=variant, seed=seed, step=step).fd.item() for step in (2400, 7200)]
    return round(found[0], 2), round(found[1], 2)


def times(y: str, own: dict[str, Any], base: dict[str, Any]) -> float:
    return meanflow(**own)[y].mean() / meanflow(**base)[y].mean()


def gains_elsewhere() -> set[str]:
    """Systems that a term improves clearly at the profile's own protocol, in any notebook of trained pairs."""
    found = set()
    for name in ("variants", "blocks", "lambda_tau", "local_batch", "contrastive_to_dispersive", "model_size",
                 "systems_tour", "norm_cost"):  # fmt: skip
        by = ["system", "name", "lr"]
        found |= {key[0] for key, sign in signs(changes(with_term(rows(name)), name, by)).items() if sign < 0}
    return found


def guided(system: str, variant: str) -> Mean:
    """What guidance does to a distance."""
    one = rows("systems", system=system, variant=variant)
    return over(one[one.guidance > 1], one[one.guidance == 1])


def shift(system: str) -> Mean:
    """What guidance does to the term's change."""
    found = pairs(rows("systems", system=system), "systems", ["guidance"])
    return over(found[found.guidance > 1], found[found.guidance == 1], "value", log=False)


def few(system: str) -> dict[int, Mean]:
    return changes(rows("one_step", system=system), "one_step", "nfe")


def one_over(more: int) -> Mean:
    """MeanFlow's change in one step over that in more."""
    found = pairs(rows("one_step", system="meanflow"), "one_step", ["nfe"])
    return over(found[found.nfe == 1], found[found.nfe == more], "value", log=False)


def distance(name: str, **columns: Any) -> float:
    return rows(name, **columns).fd.mean()


def grid(solver: str, nfe: int) -> Mean:
    return change("sampler", solver=solver, nfe=nfe)


def off(solver: str, nfe: int) -> Mean:
    """How far a grid's change is off that of the finest."""
    found = pairs(rows("sampler"), "sampler", ["solver", "nfe"])
    own, finest = (where(found, solver=s, nfe=n) for s, n in ((solver, nfe), ("heun", 200)))
    return over(own, finest, "value", log=False)


def error(variant: str, solver: str, nfe: int) -> Mean:
    """What a grid does to a model's distance, over the finest."""
    own, finest = (rows("sampler", variant=variant, solver=s, nfe=n) for s, n in ((solver, nfe), ("heun", 200)))
    return over(own, finest)


def on_way(solver: str) -> list[list[float]]:
    """Distances from the coarsest to the finest grid, of the baseline and with the term."""
    return [[distance("sampler", variant=v, solver=solver, nfe=n) for n in (12, 24, 50, 100, 200)]
            for v in ("none", "infonce-l2")]  # fmt: skip


def scale_cells() -> dict[tuple[str, int, int], Mean]:
    return changes(way("scale_of_effect"), "scale_of_effect", ["size", "images", "step"])


def trends() -> dict[str, Mean]:
    """Slopes per doubling of a plane that is fitted within each seed that has every cell."""
    axes = ["parameters", "images", "step"]
    found = pairs(way("scale_of_effect"), "scale_of_effect", axes)
    slopes = []
    for _, one in found.groupby("seed"):
        if len(one) == len(scale_cells()):
            plane = np.column_stack([np.ones(len(one)), np.log2(one[axes].astype(float))])
            slopes.append(np.linalg.lstsq(plane, one.value, rcond=None)[0][1:])
    both = {name: values for name, values in zip(axes, np.transpose(slopes), strict=True)}
    both["images and steps"] = both["images"] + both["step"]
    return {name: mean(values) for name, values in both.items()}


def cost(step: int, own: dict[str, Any], base: dict[str, Any] = BASE, y: str = "fd") -> Mean:
    """Of norm_cost: one setting over another at a length."""
    return over(*(rows("norm_cost", step=step, **{"token_scale": 1} | one) for one in (own, base)), y)


def times_as_long(step: int, own: dict[str, Any], base: dict[str, Any] = BASE) -> float:
    return float(np.exp(cost(step, own, base, "rms").value))


def share(step: int, own: dict[str, Any]) -> float:
    """What a setting costs as a share of what the paper's costs."""
    return cost(step, own).percent / cost(step, L2).percent


def looks(images: int, size: str = "Nano") -> pd.DataFrame:
    return where(noise("beyond_fid"), images=images, size=size)


def look(y: str, images: int, size: str = "Nano", *, log: bool = False) -> Mean:
    """Change, or difference, by the term of what is measured against training images."""
    found = looks(images, size)
    return over(with_term(found), without(found), y, log=log)


def means_what(images: int, size: str = "Nano") -> str:
    table = {(-1, -1): "less overfitting", (-1, 1): "less fitting", (1, 1): "more overfitting"}
    return table.get((look("gap", images, size).sign, look("log_unseen_loss", images, size).sign), "open")


def quality(y: str) -> Mean:
    found = rows("beyond_fid", against_training=False)
    return over(with_term(found), without(found), y, log=False)


def tour(system: str, **columns: Any) -> Mean:
    return change("systems_tour", system=system, **columns)


SAID: list[Said] = [
    ("per_timestep", "(three seeds) the term has made features four to six times as long at every level",
     lambda: all(4 < band("rms", s).value / band("rms", s, "none").value < 6.2 and band("rms", s).n == 3 for s in BANDS)),
    ("per_timestep", "their rank rises with the noise, from fewer directions than the baseline's where the image is all but "
     "given to more where it is nearly gone, each clear of zero",
     lambda: [band_change("effective_rank", s).sign for s in ("low", "high")] == [-1, 1]
     and band("effective_rank", "low").high < band("effective_rank", "high").low),
    ("per_timestep", "Denoising is about 1% worse at low and middle noise and a third of a percent at high, each clear of zero",
     lambda: [round(band_change("log_unseen_loss", s).percent, 1) for s in BANDS] == [1.2, 1.2, 0.3]
     and [band_change("log_unseen_loss", s).sign for s in BANDS] == [1, 1, 1]),
    ("per_timestep", "its gradient is less than a hundredth of the denoising loss's",
     lambda: all(np.exp(band("log_gradient_ratio", s).value) < 0.01 for s in BANDS)),
    ("per_timestep", "no group of levels shows a conflict", lambda: all(band("gradient_cosine", s).sign >= 0 for s in BANDS)),
    ("per_timestep", "the middle levels show agreement of the gradients",
     lambda: [band("gradient_cosine", s).sign for s in BANDS] == [0, 1, 0]),
    ("per_timestep", "six to thirty times as large as the denoising gradient",
     lambda: all(5.5 < np.exp(band("log_gradient_ratio", s, "none").value) < 30 for s in BANDS)),
    ("meanflow", "(three seeds) the term helps MeanFlow in every row and in each of the twelve pairs of runs, by 26 to 61% in "
     "the mean",
     lambda: (found := pairs(meanflow_ends(), "meanflow")).value.max() < 0 and len(found) == 12
     and [round(-f(each.percent for each in meanflow_rows())) for f in (max, min)] == [26, 61]),
    ("meanflow", "Only the second row's interval is clear of zero by itself, so the claim, which asks for all four at once, "
     "stays open",
     lambda: [each.sign for each in meanflow_rows()] == [0, -1, 0, 0]
     and verdicts(Claim.of(11, pairs(meanflow_ends(), "meanflow", ROWS))) == ["open"]),
    ("meanflow", "It is the one system here that gains", lambda: gains_elsewhere() == {"meanflow"}),
    ("meanflow", "the halved rate gains 19% by itself, clear of zero, and the term can't be told from it",
     lambda: (half := over(meanflow(lr=0.002), meanflow(variant="none"))).sign == -1 and round(half.percent) == -19
     and over(meanflow(variant="infonce-l2"), meanflow(lr=0.002)).sign == 0),
    ("meanflow", "With the term they are long, of about as many directions. Long tokens come to two thirds of that length; the "
     "halved rate leaves it about as it was",
     lambda: times("rms", {"variant": "infonce-l2"}, {"variant": "none"}) > 4
     and 0.85 < times("effective_rank", {"variant": "infonce-l2"}, {"variant": "none"}) < 1.15
     and 0.6 < times("rms", {"token_scale": 4}, {"variant": "infonce-l2"}) < 0.7
     and 0.85 < times("rms", {"lr": 0.002}, {"variant": "none"}) < 1.15),
    ("meanflow", "the baseline of two seeds of three becomes *worse* (0.61 to 1.44 and 0.52 to 0.90), and with the term none "
     "does (0.29 to 0.33)",
     lambda: [longer("none", seed) for seed in (1, 2)] == [(0.61, 1.44), (0.52, 0.9)]
     and longer("none", 0)[0] > longer("none", 0)[1]
     and all(short > long for short, long in (longer("infonce-l2", seed) for seed in range(3)))
     and sorted(longer("infonce-l2", seed)[1] for seed in range(3))[::2] == [0.29, 0.33]),
    ("meanflow", "long tokens alone can't be told from the baseline, and the term gains 22% on them",
     lambda: over(meanflow(token_scale=4), meanflow(variant="none")).sign == 0
     and (gain := over(meanflow(variant="infonce-l2"), meanflow(token_scale=4))).sign == -1 and round(gain.percent) == -22),
    ("systems", "(three seeds) guidance mends DiT: its baseline's distance falls by 43%",
     lambda: guided("dit", "none").sign == -1 and round(guided("dit", "none").percent) == -43 and guided("dit", "none").n == 3),
    ("systems", "It lowers that of SiT with the term by 18%, and does nothing to SiT's baseline that can be told",
     lambda: round(guided("sit", "infonce-l2").percent) == -18
     and [guided("sit", v).sign for v in ("infonce-l2", "none")] == [-1, 0]),
    ("systems", "Under it the term makes no difference that can be told, in either: +2% [−8%, +13%] for SiT, −3% [−22%, +22%] "
     "for DiT",
     lambda: [change("systems", system=s, guidance=1.5).text for s in ("sit", "dit")] == ["+2% [−8%, +13%]", "−3% [−22%, +22%]"]),
    ("systems", "that the *effect* shrinks is not shown, since both intervals of its change hold zero",
     lambda: [shift(system).sign for system in ("sit", "dit")] == [0, 0]),
    ("one_step", "(three seeds) MeanFlow with the term comes in one evaluation about as near to real digits as SiT with it in "
     "four Euler steps, −9% [−20%, +3%]",
     lambda: (found := over(*(rows("one_step", variant="infonce-l2", system=s, nfe=n) for s, n in (("meanflow", 1), ("sit", 4))))
              ).text == "−9% [−20%, +3%]" and found.n == 3),
    ("one_step", "−29% [−47%, −5%] in one step, and can't be told from zero in two or four",
     lambda: few("meanflow")[1].text == "−29% [−47%, −5%]" and [few("meanflow")[n].sign for n in (2, 4)] == [0, 0]),
    ("one_step", "In one, MeanFlow's baseline has less than a fifth of the distance of SiT's; the term brings it to SiT in four",
     lambda: 0.15 < distance("one_step", system="meanflow", variant="none", nfe=1)
     / distance("one_step", system="sit", variant="none", nfe=1) < 0.2
     and abs(distance("one_step", system="meanflow", variant="infonce-l2", nfe=1)
             / distance("one_step", system="sit", variant="none", nfe=4) - 1) < 0.1),
    ("one_step", "the change itself is clearly larger in one step than in two or in four",
     lambda: [one_over(n).sign for n in (2, 4)] == [-1, -1]),
    ("one_step", "In one step even SiT's average image is a little better with the term, −7%; the cost that a fine grid shows "
     "comes as the steps grow",
     lambda: few("sit")[1].sign == -1 and round(few("sit")[1].percent) == -7
     and all(first < second for first, second in pairwise(few("sit")[n].value for n in (1, 2, 4, 8, 16)))),
    ("one_step", "Euler's distance is *lower* at 8 or 16 steps than on a fine grid",
     lambda: all(distance("one_step", system="sit", variant=v, nfe=n) < distance("sampler", variant=v, solver="heun", nfe=200)
                 for v in ("none", "infonce-l2") for n in (8, 16))),
    ("sampler", "(three seeds) twelve evaluations by Heun's method put the change at +8%, the finest grid at +23%",
     lambda: [round(grid("heun", n).percent) for n in (12, 200)] == [8, 23] and {grid("heun", n).n for n in (12, 200)} == {3}),
    ("sampler", "The ratio of the two, −13% [−21%, −3%], is clear of zero though neither change is",
     lambda: off("heun", 12).text == "−13% [−21%, −3%]" and [grid("heun", n).sign for n in (12, 200)] == [0, 0]),
    ("sampler", "The profile's choice is a point off", lambda: 0.5 < abs(off("heun", 50).percent) < 1.5),
    ("sampler", "Heun comes down to its end, Euler comes up to the same end from the other side",
     lambda: all(one == sorted(one, reverse=True) for one in on_way("heun"))
     and all(one == sorted(one) and one[-1] < fine[-1] < 1.03 * one[-1]
             for one, fine in zip(on_way("euler"), on_way("heun"), strict=True))),
    ("sampler", "Euler's error makes both models better by a fifth, and leaves the change as it is",
     lambda: all(-25 < error(v, "euler", 12).percent < -15 for v in ("none", "infonce-l2")) and off("euler", 12).sign == 0),
    ("scale_of_effect", "No cell is below zero in the published runs (three seeds, six for Nano on all images)",
     lambda: all(each.value > 0 for each in scale_cells().values())
     and all(each.n == (6 if key[:2] == ("Nano", 1297) else 3) for key, each in scale_cells().items())),
    ("scale_of_effect", "27 of the 48 cells cost something by their own intervals, among them all 12 after 600 steps",
     lambda: len(scale_cells()) == 48 and sum(each.sign for each in scale_cells().values()) == 27
     and [each.sign for key, each in scale_cells().items() if key[2] == 600] == [1] * 12),
    ("scale_of_effect", "each doubling takes the ratio of the distances down by 29% [−35%, −23%]",
     lambda: trends()["step"].text == "−29% [−35%, −23%]"),
    ("scale_of_effect", "Neither fewer images nor larger networks bring a gain",
     lambda: trends()["images"].value < 0 and trends()["parameters"].sign == 0),
    ("scale_of_effect", "in every network and on every data set the cost at the end is less than half of that at 600 steps",
     lambda: all(scale_cells()[*key, 2400].percent < each.percent / 2
                 for (*key, step), each in scale_cells().items() if step == 600)),
    ("scale_of_effect", "change the ratio by −31% [−38%, −23%]", lambda: trends()["images and steps"].text == "−31% [−38%, −23%]"),
    ("scale_of_effect", "the trend is small and the other way, −3% [−5%, 0%] per doubling of the images",
     lambda: trends()["images"].text == "−3% [−5%, 0%]" and trends()["images"].sign == -1),
    ("scale_of_effect", "Of the size nothing can be told**: −3% [−8%, +3%] per doubling of the parameters",
     lambda: trends()["parameters"].text == "−3% [−8%, +3%]"),
    ("norm_cost", "by the first evaluation its loss sits at its floor",
     lambda: rows("norm_cost", step=600, **L2).saturation.min() > 0.99),
    ("norm_cost", "features are four times as long as the baseline's at the first evaluation, and the factor grows",
     lambda: 3.9 < times_as_long(600, L2) < 4.6
     and all(a < b for a, b in pairwise(times_as_long(step, L2) for step in (600, 1200, 1800, 2400)))),
    ("norm_cost", "a baseline with long tokens and no dispersive loss is slower too; at the first step it pays about a third of "
     "what the ℓ2 term costs, at the end about half",
     lambda: cost(600, LONG).sign == 1 and 0.27 < share(600, LONG) < 0.4 < share(2400, LONG) < 0.6),
    ("norm_cost", "a smaller λ or τ saves much of the early cost",
     lambda: all(cost(600, L2 | one, L2).sign == -1 for one in ({"lam": 0.05}, {"tau": 0.05}))),
    ("norm_cost", "With λ ten times smaller the features become nearly as long, since nothing else holds them back, but more "
     "slowly, and the early cost is little more than half",
     lambda: all(0.75 < times_as_long(step, L2 | {"lam": 0.05}, L2) < 0.95 for step in (600, 1200, 1800, 2400))
     and 0.5 < share(600, L2 | {"lam": 0.05}) < 0.62),
    ("norm_cost", "As with τ, against ℓ2 itself the saving is clear at the first evaluation and open at the end",
     lambda: all([cost(k, L2 | one, L2).sign for k in (600, 2400)] == [-1, 0] for one in ({"lam": 0.05}, {"tau": 0.05}))),
    ("norm_cost", "τ ten times smaller, features at little more than a third of the length, a fifth of the early cost",
     lambda: 0.33 < times_as_long(600, L2 | {"tau": 0.05}, L2) < 0.42 and 0.15 < share(600, L2 | {"tau": 0.05}) < 0.25),
    ("norm_cost", "The whole batch costs more than groups of 16 in the middle of training; at the end that is open",
     lambda: [cost(k, L2 | {"group": 128}, L2).sign for k in (1200, 2400)] == [1, 0]),
    ("norm_cost", "lowers the early cost; at the end three seeds can't tell whether it makes up for it",
     lambda: (fast := {"lr": 0.008}) and (late := cost(2400, L2 | fast, BASE | fast)).sign == 0 and late.n == 3
     and cost(600, L2 | fast, BASE | fast).percent < cost(600, L2).percent - 20),
    ("beyond_fid", "class agreement is a little worse, by 0.7 points; precision and recall can't be told",
     lambda: [quality(y).sign for y in ("agreement", "precision", "recall")] == [-1, 0, 0]
     and round(100 * quality("agreement").value, 1) == -0.7),
    ("beyond_fid", "closes for the cheaper reason, less *fitting*", lambda: means_what(1297) == "less fitting"),
    ("beyond_fid", "lowers the gap by a sixth, the unseen loss by 5% and the copies by 2 points, each clear of zero: less "
     "*overfitting*",
     lambda: means_what(160) == "less overfitting" and look("nearer_to_seen", 160).sign == -1
     and 0.14 < -look("gap", 160).value / without(looks(160)).gap.mean() < 0.19
     and round(look("log_unseen_loss", 160).percent) == -5 and round(100 * look("nearer_to_seen", 160).value) == -2),
    ("beyond_fid", "the distance of the runs on 160 images is better in none of them, +6% [−1%, +14%] for Nano",
     lambda: all(look("fd", 160, size, log=True).value > 0 for size in SIZES)
     and look("fd", 160, log=True).text == "+6% [−1%, +14%]"),
    ("beyond_fid", "On 160 images nine samples of ten of Nano's are nearest to a training image",
     lambda: {round(each.value, 1) for each in means(looks(160), "nearer_to_seen", "variant").values()} == {0.9}),
    ("beyond_fid", "So it is in two of the other three networks, Micro and Mini, with smaller changes; in Pico, the "
     "smallest, the gap is smaller as well, but the unseen loss can't be told, nor can it in any of the four on 450 images",
     lambda: [means_what(160, n) for n in SIZES] == ["open", *["less overfitting"] * 3]
     and all(look(y, 160, n).value > look(y, 160).value for n in ("Micro", "Mini")
             for y in ("gap", "log_unseen_loss", "nearer_to_seen"))
     and look("gap", 160, "Pico").sign == -1 and not any(look("log_unseen_loss", 450, n).sign for n in SIZES)),
    ("systems_tour", "in nine of ten samples or more without guidance, MeanFlow in a *single* network evaluation",
     lambda: min(each.value for each in means(rows("systems_tour"), "agreement", ["system", "variant"]).values()) > 0.9
     and set(rows("systems_tour", system="meanflow").nfe) == {1}),
    ("systems_tour", "The term costs SiT and DiT quality at this scale; MeanFlow is better at the end in every seed that was "
     "trained", lambda: [tour(s).sign for s in ("sit", "dit")] == [1, 1]
     and pairs(rows("systems_tour", system="meanflow"), "systems_tour").value.max() < 0),
    ("systems_tour", "At equal steps of training DiT is furthest behind. The term costs most early",
     lambda: all(max(("sit", "dit", "meanflow"), key=lambda s: distance("systems_tour", system=s, variant="none", step=k))
                 == "dit" for k in (600, 1200, 1800, 2400))
     and all(max((600, 1200, 1800, 2400), key=lambda k: tour(s, step=k).value) < 1800 for s in ("sit", "dit", "meanflow"))),
    ("systems_tour", "MeanFlow's gain is largest in a single step",
     lambda: min((1, 2, 4), key=lambda n: few("meanflow")[n].value) == 1),
]  # fmt: skip


@pytest.mark.parametrize(("notebook", "sentence", "holds"), SAID, ids=names(SAID))
def test_the_notebook_says_it_and_it_holds(notebook: str, sentence: str, holds: Callable[[], bool]) -> None:
    check(notebook, sentence, holds)
