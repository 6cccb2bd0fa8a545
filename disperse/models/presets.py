"""One row per published model, and the small ones of the ladder."""

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError

from ..errors import ConfigError, unknown
from ..objectives import DiTSpec, MeanFlowSpec, SiTSpec
from ..rng import check_seed
from ..spec import ObjectiveSpec, RunSpec
from .transformer import DiffusionTransformer, TransformerConfig


@dataclass(frozen=True)
class Preset:
    """A model: its network, what it learns, and what was published of it.

    Attributes:
        config: shape of the network.
        objective: what it learns, with the published settings.
        fid: FID-50k on ImageNet 256² as its authors report it; None where our sources have none.
        setting: of that number: epochs, sampler, guidance.
    """

    config: TransformerConfig
    objective: ObjectiveSpec
    fid: float | None = None
    setting: str = ""


# fmt: off
SIZES = {
    #        depth  width  heads
    "S":   (    12,   384,     6),
    "B":   (    12,   768,    12),
    "M":   (    16,  1024,    16),   # MeanFlow only
    "L":   (    24,  1024,    16),
    "XL":  (    28,  1152,    16),
    # Small images in pixels; not published, ours.
    "Pico": (    4,    32,     2),
    "Micro": (   4,    48,     3),
    "Nano": (    4,    64,     4),   # tests, the smoke and cpu profiles
    "Tiny": (    8,    64,     4),
    "Mini": (    4,    96,     4),
    "Midi": (    4,   128,     4),
    "Maxi": (    8,   128,     4),   # the fashion profile
}
# fmt: on


def _config(system: str, size: str, patch: int, **changes: int | bool) -> TransformerConfig:
    depth, width, heads = SIZES[size]
    shape: dict[str, Any] = {"depth": depth, "hidden_size": width, "num_heads": heads, "patch_size": patch}
    kind = {"keep_sigma": system == "DiT", "learn_sigma": system != "MF", "second_time": system == "MF"}
    return TransformerConfig(**{**shape, **kind, **changes})


def dit(size: str, patch: int, fid: float | None = None, setting: str = "") -> Preset:
    """A row of DiT."""
    return Preset(_config("DiT", size, patch), DiTSpec(), fid, setting)


def sit(size: str, patch: int, fid: float | None = None, setting: str = "") -> Preset:
    """A row of SiT: linear path, velocity."""
    return Preset(_config("SiT", size, patch), SiTSpec(), fid, setting)


def meanflow(
    size: str, patch: int, omega: float, kappa: float, end: float, fid: float | None, setting: str
) -> Preset:
    """A row of MeanFlow, its target guided for t in [0, end]."""
    objective = MeanFlowSpec(omega=omega, kappa=kappa, interval=(0.0, end))
    return Preset(_config("MF", size, patch), objective, fid, setting)


def _small() -> dict[str, Preset]:
    table = {}
    sizes = ("Pico", "Micro", "Nano", "Tiny", "Mini", "Midi", "Maxi")
    for size, patch in itertools.product(sizes, (2, 4, 7)):
        # Seven divides the side of 28 pixels, not that of 8.
        shape = {"input_size": 28 if patch == 7 else 8, "in_channels": 1, "num_classes": 10}
        table[f"SiT-{size}/{patch}"] = Preset(
            _config("SiT", size, patch, **shape, learn_sigma=False), SiTSpec()
        )
        table[f"DiT-{size}/{patch}"] = Preset(_config("DiT", size, patch, **shape), DiTSpec())
        table[f"MF-{size}/{patch}"] = Preset(_config("MF", size, patch, **shape), MeanFlowSpec())
    return table


# All are trained with AdamW, lr 1e-4 constant, batch 256, EMA .9999, label drop 0.1.
# fmt: off
MODELS: dict[str, Preset] = {
    #                   size patch  FID    of
    "DiT-S/2":  dit(    "S",  2),
    "DiT-S/4":  dit(    "S",  4),
    "DiT-S/8":  dit(    "S",  8),
    "DiT-B/2":  dit(    "B",  2),
    "DiT-B/4":  dit(    "B",  4),
    "DiT-B/8":  dit(    "B",  8),
    "DiT-L/2":  dit(    "L",  2),
    "DiT-L/4":  dit(    "L",  4),
    "DiT-L/8":  dit(    "L",  8),
    "DiT-XL/2": dit(    "XL", 2,   2.27,  "250 DDPM steps, guidance 1.5"),
    "DiT-XL/4": dit(    "XL", 4),
    "DiT-XL/8": dit(    "XL", 8),
    "SiT-S/2":  sit(    "S",  2),
    "SiT-S/4":  sit(    "S",  4),
    "SiT-S/8":  sit(    "S",  8),
    "SiT-B/2":  sit(    "B",  2,   36.49, "80 epochs, Heun ODE, no guidance"),
    "SiT-B/4":  sit(    "B",  4),
    "SiT-B/8":  sit(    "B",  8),
    "SiT-L/2":  sit(    "L",  2),
    "SiT-L/4":  sit(    "L",  4),
    "SiT-L/8":  sit(    "L",  8),
    "SiT-XL/2": sit(    "XL", 2,   2.06,  "SDE, guidance 1.5"),
    "SiT-XL/4": sit(    "XL", 4),
    "SiT-XL/8": sit(    "XL", 8),
    #                   size patch omega kappa end    FID    of
    "MF-B/4":   meanflow("B",  4,   1.0,  0.5,  1.0,   19.15, "80 epochs, 1 step"),
    "MF-B/2":   meanflow("B",  2,   1.0,  0.5,  1.0,   6.17,  "240 epochs, 1 step"),
    "MF-S/2":   meanflow("S",  2,   1.0,  0.5,  1.0,   None,  "not published: guided as B/2"),
    "MF-S/4":   meanflow("S",  4,   1.0,  0.5,  1.0,   None,  "not published: guided as B/4"),
    "MF-M/2":   meanflow("M",  2,   1.0,  0.5,  1.0,   None,  "its guidance is unknown to us: that of B/2"),
    "MF-L/2":   meanflow("L",  2,   0.2,  0.92, 0.8,   3.84,  "1 step"),
    "MF-XL/2":  meanflow("XL", 2,   0.2,  0.92, 0.75,  3.43,  "240 epochs, 1 step"),
    **_small(),
}
# fmt: on


def preset(name: str) -> Preset:
    """A row of the table.

    Raises:
        ConfigError: unknown name; the nearest is suggested.
    """
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name]


def model_config(name: str, **overrides: int | bool) -> TransformerConfig:
    """Configuration of a preset, with fields of ``TransformerConfig`` replaced.

    Raises:
        ConfigError: unknown preset or field, or a value out of range.
    """
    row = preset(name)
    for field in overrides:
        if field not in TransformerConfig.model_fields:
            raise unknown(f"model {name}: override", field, TransformerConfig.model_fields)
    try:
        return TransformerConfig(**{**row.config.model_dump(), **overrides})
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if first["loc"]:
            field = ".".join(str(part) for part in first["loc"])
            message = f"{field} = {first['input']!r}: {message[0].lower()}{message[1:]}"
        raise ConfigError(f"model {name}: {message}") from None


def config_of(spec: RunSpec) -> TransformerConfig:
    """Configuration of a run's model: the preset, what its objective asks for, and overrides.

    Raises:
        ConfigError: the objective runs on other presets; or as of ``model_config``.
    """
    own, backbone = preset(spec.model).objective, spec.objective.backbone
    if own.backbone != backbone:
        raise ConfigError(
            f"objective = {spec.objective.kind}: model {spec.model} is of the system {own.kind}; "
            f"set objective = {own.kind}, or choose a {backbone} model"
        )
    return model_config(spec.model, **{**spec.objective.network, **spec.overrides})


def build_model(
    name: str, *, seed: int = 0, device: torch.device | str = "cpu", **overrides: int | bool
) -> DiffusionTransformer:
    """Build and initialise a model from a preset such as ``"SiT-B/2"``.

    Args:
        name: a key of ``MODELS``.
        seed: initial weights are a pure function of it; the global generator is not touched.
        device: where the weights go; ``"meta"`` gives shapes only.
        overrides: fields of ``TransformerConfig``, e.g. ``num_classes=10``.
    """
    config = model_config(name, **overrides)
    return from_config(config, seed=seed, device=device, objective=preset(name).objective)


def from_config(
    config: TransformerConfig,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    objective: ObjectiveSpec | None = None,
) -> DiffusionTransformer:
    """As ``build_model``, from a configuration; ``objective`` is what the network predicts, for sampling."""
    seed = check_seed(seed)
    with torch.device("meta"):
        model = DiffusionTransformer(config, objective)
    if torch.device(device).type == "meta":
        return model
    model = model.to_empty(device="cpu")
    model.initialize(seed)
    return model.to(device)
