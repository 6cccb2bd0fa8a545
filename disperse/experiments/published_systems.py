"""Published systems on ImageNet 256×256, to stand beside ours: at system level, and in one step."""

from dataclasses import dataclass

from .paper import Published, relative_change

SOURCES = {"P": "printed in the paper or its repository", "S": "read in one secondary source"}


@dataclass(frozen=True)
class System:
    """A row of the comparison of systems.

    Attributes:
        name: as tables call it.
        fid: FID-50k.
        epochs, guidance: None where they were not read; guidance 1 is none.
        extra: what it needs beyond the images that it learns.
        against: label of the row that it is compared with.
        parameters: of the network that draws, in millions; counted in our preset. None: not read.
    """

    name: str
    fid: Published
    epochs: int | None = None
    guidance: float | None = None
    extra: str = "none"
    against: str | None = None
    parameters: int | None = 675


# fmt: off
SYSTEMS = {
    "80":            System("SiT-XL/2",               Published(18.46, "S"),  80, 1.0),
    "80-disp":       System("SiT-XL/2 + Disp",        Published(15.95, "S"),  80, 1.0, against="80"),
    "800":           System("SiT-XL/2",               Published(8.99, "S"),  800, 1.0),
    "800-disp":      System("SiT-XL/2 + Disp",        Published(8.08, "S"),  800, 1.0, against="800"),
    "guided":        System("SiT-XL/2",               Published(6.02),        80, 1.5),
    "guided-disp":   System("SiT-XL/2 + Disp",        Published(5.09),        80, 1.5, against="guided"),
    # λ = 0.25, τ = 1, last block; a baseline of the same code is not published.
    "released":      System("SiT-XL/2 + Disp, released PyTorch code", Published(4.74), None, 1.5),
    # As SiT's authors sample it: SDE, guidance 1.5; how its neighbour was sampled was not read.
    "system":        System("SiT-XL/2, system level", Published(2.06, "S"), None, 1.5),
    "system-disp":   System("SiT-XL/2 + Disp, system level", Published(1.97, "S"), against="system"),
    "repa":          System("REPA, system level",     Published(1.80, "S"),
                            extra="an encoder of 1.1B parameters and its 142M images", parameters=None),
}
# fmt: on


def system_change(label: str) -> Published | None:
    """Relative change of FID against the row that it names; as sure as the less sure of the two."""
    own = SYSTEMS[label]
    if own.against is None:
        return None
    base = SYSTEMS[own.against]
    source = "S" if "S" in (own.fid.source, base.fid.source) else "P"
    return Published(relative_change(own.fid.value, base.fid.value), source)


@dataclass(frozen=True)
class OneStep:
    """A system that draws in one step or two network evaluations: millions of parameters, steps, NFE, FID."""

    name: str
    parameters: int
    steps: int
    nfe: int
    fid: Published


# fmt: off
ONE_STEP = (
    OneStep("iCT-XL/2",              675, 1, 1, Published(34.24)),
    OneStep("Shortcut-XL/2",         675, 1, 1, Published(10.60)),
    OneStep("IMM-XL/2",              675, 1, 2, Published(7.77)),
    OneStep("MeanFlow-XL/2",         676, 1, 1, Published(3.43)),
    OneStep("MeanFlow-XL/2 + Disp",  676, 1, 1, Published(3.21)),
)
# fmt: on
