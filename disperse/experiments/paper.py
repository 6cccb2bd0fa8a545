"""Published numbers, to stand beside ours; each says where it was read.

``P``: printed in the paper or its official repository. ``S``: read in one secondary source.
"""

import re
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
    "l2-lam0.05": "ℓ2, λ = 0.05",
    "l2-tau0.05": "ℓ2, τ = 0.05",
    "l2-all": "ℓ2, all blocks",
    "l2-group-whole": "ℓ2, whole batch",
    "l2-lr-double": "ℓ2, learning rate × 2",
    "baseline-lr-double": "baseline, learning rate × 2",
    "baseline-long": "baseline, tokens × 4",
    "dit-baseline": "DiT, baseline",
    "dit-infonce-l2": "DiT, InfoNCE ℓ2",
    "meanflow-baseline": "MeanFlow, baseline",
    "meanflow-infonce-l2": "MeanFlow, InfoNCE ℓ2",
    "meanflow-long": "MeanFlow, patch 2, tokens × 4",
    "meanflow-lr-half": "MeanFlow, patch 2, learning rate ÷ 2",
}


# The same model, the ℓ2 loss at one block of 12 (as the paper counts them) or at all.
BLOCKS_DEPTH = 12
BLOCKS_FID: dict[int | str, Published] = {
    0: Published(33.97, "S"),
    3: Published(32.35, "S"),
    6: Published(33.79, "S"),
    11: Published(33.86, "S"),
    "all": Published(32.05, "S"),
}

# The same setting at other sizes; the rest of the paper's sizes, and DiT's, are known by the statement alone.
SIZES_FID = {
    "SiT-B/2": (BASELINE_FID, VARIANTS_FID["infonce-l2"][2]),
    "SiT-XL/2": (Published(18.46, "S"), Published(15.95, "S")),
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

COLUMNS = ("independent", "restricted", "dispersive")  # of VARIANTS_FID
NAMES |= {f"{v}-{view}": f"{NAMES[v]}, {view}" for v in VARIANTS_FID for view in COLUMNS[:2]}


# MeanFlow in one step, with its own guidance: name of the row → model, epochs, baseline, dispersive.
MEANFLOW_FID = {
    "patch4": ("MF-B/4", 80, Published(18.78), Published(17.61)),
    "patch2": ("MF-B/2", 80, Published(9.77), Published(8.97)),
    "patch2-longer": ("MF-B/2", 240, Published(6.17), Published(5.69)),
    "larger": ("MF-XL/2", 240, Published(3.43), Published(3.21)),
}
_ROWS = {"patch4": "patch 4", "patch2": "patch 2", "patch2-longer": "patch 2, longer", "larger": "larger"}
for _row, _name in _ROWS.items():
    NAMES |= {f"meanflow-{_row}-baseline": f"MeanFlow, {_name}"}
    NAMES |= {f"meanflow-{_row}-infonce-l2": f"MeanFlow, {_name}, InfoNCE ℓ2"}

# SiT-XL/2: name of the row → epochs (None: not known), guided or not, baseline, dispersive.
LONGER_FID = {
    "80 epochs": (80, False, Published(18.46, "S"), Published(15.95, "S")),
    "800 epochs": (800, False, Published(8.99, "S"), Published(8.08, "S")),
    "80 epochs, guidance 1.5": (80, True, Published(6.02), Published(5.09)),
    "the longest run, guided": (None, True, Published(2.06, "S"), Published(1.97, "S")),
}

# Labels with a number or a size in them.
_PATTERNS = {
    r"l2-block(\d+)": "ℓ2, block {}",
    r"l2-lam([\d.]+)-tau([\d.]+)": "ℓ2, λ = {}, τ = {}",
    r"l2-alpha([\d.]+)": "ℓ2, α = {}",
    r"l2-group(\d+)": "ℓ2, groups of {}",
    r"(\w+)-lr([\d.e-]+)": "{}, learning rate {}",
    r"sit-([A-Z]\w*)-baseline": "SiT-{}",
    r"sit-([A-Z]\w*)-infonce-l2": "SiT-{}, InfoNCE ℓ2",
    r"dit-([A-Z]\w*)-baseline": "DiT-{}",
    r"dit-([A-Z]\w*)-infonce-l2": "DiT-{}, InfoNCE ℓ2",
    r"sit-(\w+)-(\d+)-baseline": "SiT-{}, {} images",
    r"sit-(\w+)-(\d+)-infonce-l2": "SiT-{}, {} images, InfoNCE ℓ2",
}


def name_of(label: str) -> str:
    """What tables and legends call a cell."""
    if label in NAMES:
        return NAMES[label]
    for pattern, name in _PATTERNS.items():
        found = re.fullmatch(pattern, label)
        if found:
            return name.format(*found.groups())
    return label


def variants_fid(label: str) -> Published:
    """The paper's FID of the baseline, of a dispersive variant, or of ``<variant>-<view>`` of two views."""
    if label == "baseline":
        return BASELINE_FID
    for column, view in enumerate(COLUMNS[:2]):
        if label.endswith(f"-{view}"):
            return VARIANTS_FID[label.removesuffix(f"-{view}")][column]
    return VARIANTS_FID[label][2]


def grid_label(variant: str, column: str) -> str:
    """Label of a cell of the paper's grid, variant by ``COLUMNS``."""
    return variant if column == "dispersive" else f"{variant}-{column}"


def variants_change(label: str) -> float | None:
    """The paper's relative change of FID; None for the baseline."""
    return None if label == "baseline" else relative_change(variants_fid(label).value, BASELINE_FID.value)


def relative_change(value: float, baseline: float) -> float:
    """``value/baseline − 1``: negative is better for a distance."""
    return value / baseline - 1


# (variant, view), as the columns of ``results.table`` name them → the paper's relative change of FID.
VARIANTS_CHANGE = {
    (variant, view): relative_change(fid.value, BASELINE_FID.value)
    for variant, columns in VARIANTS_FID.items()
    for view, fid in zip(("independent", "restricted", "one"), columns, strict=True)
}
