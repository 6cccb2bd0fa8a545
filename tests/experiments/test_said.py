"""What the notebooks say of the published runs, sentence by sentence, against the published results."""

from collections.abc import Callable

import numpy as np
import pytest

from disperse.experiments.tables import percent_interval

from . import published_looks as looks
from .published import (
    GROUPS,
    against_l2,
    against_no_attraction,
    apart,
    best_rate,
    by_length,
    by_seed,
    by_step,
    change,
    claim,
    clear,
    cost_by_steps,
    distances_at,
    facts,
    group,
    line_of,
    longer_features,
    longer_meanflow,
    norms_down,
    part,
    percent,
    place,
    prose,
    published_table,
    quality,
    rank,
    rank_difference,
    rms,
    rows,
    share_of_cost,
    sign,
    slope_of_groups,
    verdicts,
)

VARIANTS = ("infonce-l2", "infonce-cosine", "hinge", "covariance")
VIEWS = ("independent", "restricted")
LEVELS = ("low", "middle", "high")
PLACES = ("infonce-l2", "l2-block1", "l2-block2", "l2-block3", "l2-all")
GRID = [label for label in (f"l2-lam{lam}-tau{tau}" for lam in ("0.25", "0.5", "1")
                            for tau in ("0.25", "0.5", "1", "2")) if label != "l2-lam0.5-tau0.5"]  # fmt: skip
SIZES = ("Pico", "Micro", "Nano", "Mini")
MEANFLOW = [f"meanflow-{name}-infonce-l2" for name in ("patch4", "patch2", "patch2-longer", "larger")]

SAID: list[tuple[str, str, Callable[[], bool]]] = [
    ("00_start_here", "three of the four variants still end worse than the baseline on these digits",
     lambda: verdicts(*VARIANTS).count("worse") == 3),
    ("variants", "ℓ2, cosine and hinge are worse than the baseline, each clear of zero; covariance can't be told",
     lambda: verdicts(*VARIANTS) == ["worse", "worse", "worse", "can't tell"]),
    ("variants", "Covariance is the one variant that raises the effective rank without making features longer",
     lambda: [n for n in VARIANTS if rank(n) > rank("baseline") + 20] == ["covariance"]
     and rms("covariance") < 1.2 * rms("baseline")),
    ("variants", "clearly better than cosine and clearly worse than covariance, and against hinge the interval holds zero",
     lambda: [sign(part("variants_grid", f"infonce-l2 / {n}")) for n in ("infonce-cosine", "covariance", "hinge")]
     == [-1, 1, 0]),
    ("variants", "With independent noise ℓ2 and cosine are clearly worse than the baseline, as the paper finds; hinge and "
     "covariance can't be told from it",
     lambda: verdicts(*(f"{n}-independent" for n in VARIANTS)) == ["worse"] * 2 + ["can't tell"] * 2),
    ("variants", "none is better, and all but covariance are clearly worse",
     lambda: verdicts(*(f"{n}-restricted" for n in VARIANTS)) == ["worse"] * 3 + ["can't tell"]),
    ("variants", "none of claims 3 to 5 is decided",
     lambda: [c["verdict"] for c in facts("variants_grid")["claims"][2:]] == ["can't tell"] * 3),
    ("variants", "with independent noise ℓ2 is better without its positives, cosine better with them, and of the other four "
     "pairs none can be told",
     lambda: {p["compared"]: sign(p) for p in facts("variants_grid")["claims"][4]["parts"] if sign(p)}
     == {"infonce-l2 / infonce-l2-independent": -1, "infonce-cosine / infonce-cosine-independent": 1}),
    ("variants", "makes features 1.7 to 3.2 times as long as the dispersive one does, seed by seed",
     lambda: [round(f(longer_features("infonce-l2-restricted", "infonce-l2")), 1) for f in (min, max)] == [1.7, 3.2]),
    ("variants", "all eight span fewer directions than their dispersive child, with the cosine an eighth",
     lambda: all(rank(f"{n}-{view}") < rank(n) for n in VARIANTS for view in VIEWS)
     and all(6 < rank("infonce-cosine") / rank(f"infonce-cosine-{view}") < 10 for view in VIEWS)),
    ("norms", "is one that these runs agree with, in all sixteen comparisons",
     lambda: claim("norms") == "| 10. Regularising one block raises the norms of all. | **agrees**"
     and "16: 16 as claimed" in published_table("norms")),
    ("norms", "every block is about three to five times as long, wherever the term acts",
     lambda: all(2.7 < np.exp(r["log_ratio"]["value"]) < 5.6 for r in facts("norms")["ratios"])),
    ("norms", "in three of four blocks features span fewer directions than the baseline's",
     lambda: norms_down("effective_rank") == [0, 1, 3]),
    ("norms", "and in the first three they point less the same way", lambda: norms_down("mean_cosine") == [0, 1, 2]),
    ("per_timestep", "four to six times as long at every level",
     lambda: all(4 < group("infonce-l2", s, "rms")["value"] / group("baseline", s, "rms")["value"] < 6.2
                 for s in LEVELS)),
    ("per_timestep", "from fewer directions than the baseline's where the image is all but given to more where it is "
     "nearly gone, each clear of zero",
     lambda: rank_difference("low").high < 0 < rank_difference("high").low
     and group("infonce-l2", "low", "effective_rank")["high"] < group("infonce-l2", "high", "effective_rank")["low"]),
    ("per_timestep", "about 1% worse at low and middle noise and a third of a percent at high, each clear of zero",
     lambda: all(clear(group("infonce-l2", s, "change")) for s in LEVELS)
     and [round(100 * np.expm1(group("infonce-l2", s, "change")["value"]), 1) for s in LEVELS] == [1.2, 1.2, 0.3]),
    ("per_timestep", "less than a hundredth of the denoising loss's",
     lambda: all(group("infonce-l2", s, "gradient_ratio")["value"] < 0.01 for s in LEVELS)),
    ("per_timestep", "six to thirty times as large",
     lambda: all(5.5 < group("baseline", s, "gradient_ratio")["value"] < 30 for s in LEVELS)),
    ("per_timestep", "no group shows a conflict, and the middle one shows agreement",
     lambda: [v["verdict"] for v in facts("per_timestep")["groups"] if v["term"] == "infonce-l2"]
     == ["can't tell", "agreement", "can't tell"]),
    ("contrastive_to_dispersive", "the distance is 48% [+44%, +52%] larger than with none",
     lambda: against_no_attraction("1") == [48, 44, 52]),
    ("contrastive_to_dispersive", "half of it is clearly worse than none, while a quarter and three quarters can't be told",
     lambda: [against_no_attraction(a)[1] > 0 for a in ("0.25", "0.5", "0.75")] == [False, True, False]),
    ("contrastive_to_dispersive", "in every seed the first quarter takes it from about 190 directions to 16 or fewer, and "
     "makes features longer",
     lambda: all(185 < n < 195 for n in by_seed("l2-alpha0", "effective_rank").values())
     and max(by_seed("l2-alpha0.25", "effective_rank").values()) < 16.5
     and min(longer_features("l2-alpha0.25", "l2-alpha0")) > 1),
    ("blocks", "no place is shown to help", lambda: not any(change(b).high < 0 for b in
                                                           PLACES)),
    ("blocks", "All five cost about a fifth, between 19 and 21%", lambda: all(18.5 < percent(b) < 21.5 for b in PLACES)),
    ("blocks", "for all but the last block the interval leaves out zero",
     lambda: [b for b in PLACES if change(b).low <= 0] == ["l2-block3"]),
    ("lambda_tau", "every cell costs something, from +11% to +32%",
     lambda: [round(f(map(percent, (*GRID, "infonce-l2")))) for f in (min, max)] == [11, 32]),
    ("lambda_tau", "in eight of twelve the interval leaves out zero",
     lambda: sum(change(g).low > 0 for g in (*GRID, "infonce-l2")) == 8),
    ("lambda_tau", "grows with τ in every row and hardly with λ",
     lambda: all(rms(f"l2-lam{lam}-tau2") > 1.9 * rms(f"l2-lam{lam}-tau0.25") for lam in ("0.25", "0.5", "1"))
     and all(max(v) < 1.2 * min(v) for v in ([rms(f"l2-lam{lam}-tau{tau}") for lam in ("0.25", "0.5", "1")]
                                             for tau in ("0.25", "1", "2")))),
    ("local_batch", "rises with the group, from 17% at 4 and 8 to 30% for the whole batch",
     lambda: [round(percent(g)) for g in GROUPS] == sorted(round(percent(g)) for g in GROUPS)
     and [round(percent(g)) for g in (*GROUPS[:2], "l2-group-whole")] == [17, 17, 30]),
    ("local_batch", "the slope is +2% [−2%, +6%] for a doubling of the group", lambda: slope_of_groups() == [2, -2, 6]),
    ("local_batch", "Length grows with every step but the one to the paper's groups",
     lambda: [rms(g) for g in GROUPS if g != "infonce-l2"] == sorted(rms(g) for g in GROUPS if g != "infonce-l2")),
    ("model_size", "every size costs something in the mean, in both systems: SiT 5 to 20%, DiT 36 to 60%",
     lambda: [[round(f(percent(f"{kind}-{size}-infonce-l2") for size in SIZES)) for f in (min, max)]
              for kind in ("sit", "dit")] == [[5, 20], [36, 60]]),
    ("model_size", "0% [−6%, +7%] per doubling for SiT and +4% [−10%, +19%] for DiT",
     lambda: "| SiT | 0% [-6%, +7%] | 3 |" in published_table("model_size")
     and "| DiT | +4% [-10%, +19%] | 3 |" in published_table("model_size")),
    ("model_size", "both baselines still become better up to the largest size",
     lambda: all(fds == sorted(fds, reverse=True) for fds in (
         [rows()[f"{kind}-{size}-baseline"].metrics["fd"].value for size in SIZES] for kind in ("sit", "dit")))),
    ("model_size", "the correction for ten comparisons (p = 0.053)",
     lambda: "| **can't tell** | 0.053 |" in published_table("model_size")),
    ("model_size", "for the two smallest SiT the interval holds zero, for the other six it doesn't",
     lambda: [n for n in SIZES if change(f"sit-{n}-infonce-l2").low < 0] == ["Pico", "Micro"]
     and all(change(f"dit-{n}-infonce-l2").low > 0 for n in SIZES)),
    ("model_size", "on the one seed of the scan the two smallest networks do best at twice our rate (Pico at 0.86 instead of "
     "1.06)",
     lambda: [best_rate(n) for n in SIZES] == ["0.008", "0.008", "0.004", "0.004"]
     and "| Pico | 1.88 | 1.06 | **0.86** | 1 |" in published_table("model_size")),
    ("meanflow", "in every row and in each of the twelve pairs of runs, by 26 to 61% in the mean",
     lambda: all(change(n, seed).value < 0 for n in MEANFLOW for seed in range(3))
     and [round(-f(map(percent, MEANFLOW))) for f in (max, min)] == [26, 61]),
    ("meanflow", "Only the second row's interval is clear of zero by itself",
     lambda: verdicts(*MEANFLOW) == ["can't tell", "improves", "can't tell", "can't tell"]),
    ("meanflow", "It is the one system here that gains",
     lambda: not any(row.verdict == "improves" for label, row in rows().items() if not label.startswith("meanflow"))),
    ("meanflow", "*worse* (0.61 to 1.44 and 0.52 to 0.90), and with the term none does (0.29 to 0.33)",
     lambda: [longer_meanflow("baseline", seed) for seed in (1, 2)] == [(0.61, 1.44), (0.52, 0.9)]
     and all(short > long for short, long in (longer_meanflow("infonce-l2", seed) for seed in range(3)))
     and sorted(longer_meanflow("infonce-l2", seed)[1] for seed in range(3))[::2] == [0.29, 0.33]),
    ("meanflow", "the halved rate gains 19% by itself, clear of zero, and the term can't be told from it",
     lambda: round(percent("meanflow-lr-half")) == -19 and change("meanflow-lr-half").high < 0
     and not clear(facts("meanflow")["against_controls"]["meanflow-lr-half"])),
    ("meanflow", "long tokens alone can't be told from the baseline, and the term gains 22% on them",
     lambda: verdicts("meanflow-long") == ["can't tell"] and clear(facts("meanflow")["against_controls"]["meanflow-long"])
     and round(100 * np.expm1(facts("meanflow")["against_controls"]["meanflow-long"]["value"])) == -22),
    ("longer_training", "from +115% at a quarter of the usual length to +20% at it",
     lambda: "| +115% [" in line_of(600) and "| +20% [" in line_of(2400)),
    ("longer_training", "end at +15% [+8%, +23%], worse in each of them, with no fall since three times",
     lambda: "| +15% [+8%, +23%] |" in line_of(9600) and all(by_length(s)[9600] > 0 for s in range(3))
     and line_of(7200).split("| +")[1] < line_of(9600).split("| +")[1]),
    ("longer_training", "a difference of 0.03 between two distances that both fell by half since the usual length",
     lambda: "| 0.03 ±" in line_of(9600) and all(0.4 < long / short < 0.6 for long, short in zip(
         distances_at(9600), distances_at(2400), strict=True))),
    ("longer_training", "the paper's claim is contradicted at this scale",
     lambda: facts("longer_training")["claims"][0]["verdict"] == "disagrees"),
    ("beyond_fid", "class agreement is a little worse, by 0.7 points; precision and recall can't be told",
     lambda: [clear(quality(n)) for n in ("agreement", "precision", "recall")] == [True, False, False]
     and round(100 * quality("agreement")["value"], 1) == -0.7),
    ("beyond_fid", "less *fitting*", lambda: place(1297)["so"] == "less fitting"),
    ("beyond_fid", "lowers the gap by a sixth, the unseen loss by 5% and the copies by 2 points, each clear of zero: less "
     "*overfitting*",
     lambda: place(160)["so"] == "less overfitting" and clear(place(160)["near_difference"])
     and 0.14 < -place(160)["gap_difference"]["value"] / place(160)["gap"]["baseline"]["value"] < 0.19
     and round(100 * np.expm1(place(160)["unseen_change"]["value"])) == -5
     and round(100 * place(160)["near_difference"]["value"]) == -2),
    ("beyond_fid", "So it is in two of the other three networks, Micro and Mini, with smaller changes; in Pico, the "
     "smallest, the gap is smaller as well, but the unseen loss can't be told, nor can it in any of the four on 450 images",
     lambda: [place(160, n)["so"] for n in SIZES] == ["can't tell", *["less overfitting"] * 3]
     and not clear(place(160, "Pico")["unseen_change"])
     and all(place(160, n)[k]["value"] > place(160)[k]["value"] for n in ("Micro", "Mini")
             for k in ("gap_difference", "unseen_change", "near_difference"))
     and clear(place(160, "Pico")["gap_difference"])
     and not any(clear(place(450, n)["unseen_change"]) for n in SIZES)),
    ("beyond_fid", "is better in none of them, +6% [−1%, +14%] for Nano",
     lambda: min(percent(f"sit-{n}-160-infonce-l2") for n in SIZES) > 0
     and percent_interval(change("sit-Nano-160-infonce-l2")) == "+6% [-1%, +14%]"),
    ("systems_tour", "in nine of ten samples or more without guidance",
     lambda: all(looks.unguided(s).groupby("variant").agreement.mean().min() > 0.9 for s in ("sit", "dit", "meanflow"))),
    ("systems_tour", "better at the end in every seed that was trained",
     lambda: (looks.ratios(looks.unguided("meanflow")).value < 0).all()),
    ("norm_cost", "four times as long as the baseline's at the first evaluation, and the factor grows",
     lambda: 3.9 < by_step("rms", "infonce-l2", 600) < 4.6 and by_step("rms", "infonce-l2", 600)
     < by_step("rms", "infonce-l2", 1200) < by_step("rms", "infonce-l2", 2400)),
    ("norm_cost", "at the first step it pays about a third of what the ℓ2 term costs, at the end about half",
     lambda: 0.27 < share_of_cost("baseline-long", 600) < 0.4 < share_of_cost("baseline-long", 2400) < 0.6),
    ("norm_cost", "the early cost is little more than half", lambda: 0.5 < share_of_cost("l2-lam0.05", 600) < 0.62),
    ("norm_cost", "features at little more than a third of the length, a fifth of the early cost",
     lambda: 0.33 < by_step("rms", "l2-tau0.05", 600, "infonce-l2") < 0.42
     and 0.15 < share_of_cost("l2-tau0.05", 600) < 0.25),
    ("norm_cost", "against ℓ2 itself the saving is clear at the first evaluation and open at the end",
     lambda: all(clear(against_l2(n, 600)) and not clear(against_l2(n, 2400)) for n in ("l2-lam0.05", "l2-tau0.05"))),
    ("norm_cost", "more than groups of 16 in the middle of training; at the end that is open",
     lambda: clear(against_l2("l2-group-whole", 1200)) and not clear(against_l2("l2-group-whole", 2400))),
    ("scale_of_effect", "three seeds, six for Nano on all images",
     lambda: {c["n"] for c in facts("scale_of_effect")["cells"] if (c["size"], c["images"]) != ("Nano", 1297)} == {3}),
    ("scale_of_effect", "No cell is below zero", lambda: all(c["value"] > 0 for c in facts("scale_of_effect")["cells"])),
    ("scale_of_effect", "27 of the 48 cells cost something by their own intervals, among them all 12 after 600 steps",
     lambda: [len(facts("scale_of_effect")["cells"]), sum(c["low"] > 0 for c in facts("scale_of_effect")["cells"])] == [48, 27]
     and sum(c["low"] > 0 for c in facts("scale_of_effect")["cells"] if c["step"] == 600) == 12),
    ("scale_of_effect", "each doubling takes the ratio of the distances down by 29% [−35%, −23%]",
     lambda: "| steps | -29% [-35%, -23%] | 3 |" in published_table("scale_of_effect")),
    ("scale_of_effect", "change the ratio by −31% [−38%, −23%]",
     lambda: "| images and steps together | -31% [-38%, -23%] | 3 |" in published_table("scale_of_effect")),
    ("scale_of_effect", "the trend is small and the other way, −3% [−5%, 0%] per doubling of the images",
     lambda: "| training images | -3% [-5%, 0%] | 3 |" in published_table("scale_of_effect")
     and facts("scale_of_effect")["trends"]["training images"]["high"] < 0),
    ("scale_of_effect", "−3% [−8%, +3%] per doubling of the parameters",
     lambda: "| parameters | -3% [-8%, +3%] | 3 |" in published_table("scale_of_effect")),
    ("scale_of_effect", "the cost stays at +15% [+8%, +23%]",
     lambda: "+15% [+8%, +23%]" in line_of(9600)),
    ("scale_of_effect", "in every network and on every data set the cost at the end is less than half of that at 600 steps",
     lambda: len(cost_by_steps(600, 2400)) == 12
     and all(np.expm1(late) < 0.5 * np.expm1(early) for early, late in cost_by_steps(600, 2400))),
    ("samples", "the term moves an image about as far as chance does",
     lambda: abs(apart("with and without the term") - apart("two training seeds")) < 0.01),
    ("samples", "images with and without the term were 0.085 apart, those of two training seeds 0.087, and two "
     "noises of one digit 0.54",
     lambda: [round(apart(kind), 3) for kind in ("with and without the term", "two training seeds",
                                                 "two noises of one class")] == [0.085, 0.087, 0.538]),
    ("02_gallery", "images differ about as much",
     lambda: abs(apart("with and without the term") - apart("two training seeds")) < 0.01),
    ("norm_cost", "of three seeds: +15% [+8%, +23%]", lambda: "+15% [+8%, +23%]" in line_of(9600)),
    ("sampler", "three seeds) twelve evaluations by Heun's method put the change at +8%, the finest grid at +23%",
     lambda: [looks.percents(looks.on_grid("heun", n))[0] for n in (12, 200)] == [8, 23]),
    ("sampler", "−13% [−21%, −3%], is clear of zero though neither change is",
     lambda: looks.percents(looks.off("heun", 12)) == (-13, -21, -3)
     and not looks.is_clear(looks.on_grid("heun", 12)) and not looks.is_clear(looks.on_grid("heun", 200))),
    ("sampler", "Euler's error makes both models better by a fifth, and leaves the change as it is",
     lambda: all(-25 < looks.error("euler", 12, v)[0] < -15 for v in ("none", "infonce-l2"))
     and not looks.is_clear(looks.off("euler", 12))),
    ("sampler", "The profile's choice is a point off", lambda: looks.percents(looks.off("heun", 50))[0] == -1),
    ("systems", "mends DiT: its baseline's distance falls by 43%",
     lambda: looks.percents(looks.lift("dit", "none"))[0] == -43 and looks.is_clear(looks.lift("dit", "none"))),
    ("systems", "lowers that of SiT with the term by 18%, and does nothing to SiT's baseline that can be told",
     lambda: looks.percents(looks.lift("sit", "infonce-l2"))[0] == -18
     and looks.is_clear(looks.lift("sit", "infonce-l2")) and not looks.is_clear(looks.lift("sit", "none"))),
    ("systems", "Under it the term makes no difference that can be told, in either: +2% [−8%, +13%] for SiT, −3% [−22%, +22%] "
     "for DiT",
     lambda: [looks.percents(looks.ratios(looks.guided(s))) for s in ("sit", "dit")] == [(2, -8, 13), (-3, -22, 22)]),
    ("systems", "that the *effect* shrinks is not shown, since both intervals of its change hold zero",
     lambda: not any(looks.is_clear(looks.shift(s)) for s in ("sit", "dit"))),
    ("one_step", "−29% [−47%, −5%] in one step, and can't be told from zero in two or four",
     lambda: looks.percents(looks.ratios(looks.in_steps("meanflow", 1))) == (-29, -47, -5)
     and not any(looks.is_clear(looks.ratios(looks.in_steps("meanflow", n))) for n in (2, 4))),
    ("one_step", "about as near to real digits as SiT with it in four Euler steps, −9% [−20%, +3%]",
     lambda: looks.one_against_four() == (-9, -20, 3)),
    ("one_step", "the change itself is clearly larger in one step than in two or in four",
     lambda: all(looks.is_clear(looks.against(*(looks.ratios(looks.in_steps("meanflow", k)) for k in (1, n))))
                 for n in (2, 4))),
    ("one_step", "In one step even SiT's average image is a little better with the term, −7%",
     lambda: looks.percents(looks.ratios(looks.in_steps("sit", 1)))[0] == -7
     and looks.is_clear(looks.ratios(looks.in_steps("sit", 1)))),
]  # fmt: skip


@pytest.mark.parametrize(("notebook", "sentence", "holds"), SAID, ids=[f"{n}: {s[:40]}" for n, s, _ in SAID])
def test_the_notebook_says_it_and_it_holds(notebook: str, sentence: str, holds: Callable[[], bool]) -> None:
    assert sentence in prose(notebook)
    assert holds()
