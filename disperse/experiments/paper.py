"""Published numbers, to stand beside ours; each says where it was read.

``P``: printed in the paper or its official repository. ``S``: read in one secondary source.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A number of the paper: value, and how sure it is."""

    value: float
    source: str = "P"


BASELINE_FID = Published(36.49)

# SiT-B/2 on ImageNet 256², 80 epochs, FID-50k without guidance, λ = 0.5, τ = 0.5 for ℓ2.
VARIANTS_SETTING = "SiT-B/2, ImageNet 256×256, 80 epochs, FID-50k, no guidance"
# fmt: off
VARIANTS_FID = {
    #                  independent      restricted       dispersive
    "infonce-l2":     (Published(43.66), Published(36.57), Published(32.35)),
    "infonce-cosine": (Published(41.62), Published(34.83), Published(34.33)),
    "hinge":          (Published(43.02), Published(35.14), Published(33.93)),
    "covariance":     (Published(37.85), Published(35.87), Published(35.82)),
}
# fmt: on
NAMES = {
    "baseline": "baseline",
    "infonce-l2": "InfoNCE, ℓ2",
    "infonce-cosine": "InfoNCE, cosine",
    "hinge": "hinge",
    "covariance": "covariance",
    "dit-baseline": "DiT, baseline",
    "dit-infonce-l2": "DiT, InfoNCE ℓ2",
    "meanflow-baseline": "MeanFlow, baseline",
    "meanflow-infonce-l2": "MeanFlow, InfoNCE ℓ2",
}


# The same model, the ℓ2 loss at one block of 12 (as the paper counts them) or at all.
BLOCKS_FID: dict[int | str, Published] = {
    0: Published(33.97, "S"),
    3: Published(32.35, "S"),
    6: Published(33.79, "S"),
    11: Published(33.86, "S"),
    "all": Published(32.05, "S"),
}

# The paper's claims, as this repository counts them.
CLAIMS = {
    1: "Every dispersive variant improves on the baseline.",
    2: "InfoNCE with ℓ2 distance is the best variant.",
    3: "Contrastive losses with independent noise hurt.",
    4: "Contrastive losses with restricted noise help, but for ℓ2.",
    5: "Dispersive beats contrastive (covariance: level).",
    6: "Regularising any block helps, and all blocks help most.",
    7: "Every λ and τ of the grid helps.",
    8: "The gain grows with model size, for DiT and SiT.",
    9: "The gain lasts with longer training.",
    10: "Regularising one block raises the norms of all.",
    11: "MeanFlow improves too.",
}

# The numbers behind each: relative change of FID; (S): read in one secondary source.
CLAIMED = {
    1: "−1.8% to −11.3%",
    2: "−11.3%, the next −7.0%",
    3: "+3.7% to +19.6%",
    4: "−1.7% to −4.5%; ℓ2 +0.2%",
    5: "ℓ2: −11.3% against +0.2%",
    6: "−6.9% to −11.3%; all −12.2% (S)",
    7: "every cell below 0 (S)",
    8: "SiT: B −11.3%, XL −13.6% (S)",
    9: "XL: −13.6%; ten times as long −10.1% (S)",
    10: "about ten times as long (S)",
    11: "−6.2% to −8.2%",
}

# What a claim says beyond the comparisons that its verdict stands on.
NOT_TESTED = {
    4: "that ℓ2 alone is not helped",
    5: "that covariance is level",
    8: "that the term reduces overfitting: see `beyond_fid`",
    10: "how much longer: only that norms rise",
    11: "that MeanFlow with the term beats other one-step systems, whose FIDs are of another data set",
}

# MeanFlow in one step, with its own guidance: name of the row → model, epochs, baseline, dispersive.
MEANFLOW_FID = {
    "patch4": ("MF-B/4", 80, Published(18.78), Published(17.61)),
    "patch2": ("MF-B/2", 80, Published(9.77), Published(8.97)),
    "patch2-longer": ("MF-B/2", 240, Published(6.17), Published(5.69)),
    "larger": ("MF-XL/2", 240, Published(3.43), Published(3.21)),
}


def name_of(label: str) -> str:
    """What people call a run."""
    return NAMES.get(label, label)


def relative_change(value: float, baseline: float) -> float:
    """``value/baseline − 1``: negative is better for a distance."""
    return value / baseline - 1


# (variant, view), as the columns of ``results.table`` name them → the paper's relative change of FID.
VARIANTS_CHANGE = {
    (variant, view): relative_change(fid.value, BASELINE_FID.value)
    for variant, columns in VARIANTS_FID.items()
    for view, fid in zip(("independent", "restricted", "one"), columns, strict=True)
}
