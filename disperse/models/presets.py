"""One row per published model, and the small ones of the ladder."""

from dataclasses import dataclass

import torch
from pydantic import ValidationError

from ..errors import ConfigError, unknown
from ..rng import check_seed
from .transformer import DiffusionTransformer, TransformerConfig


@dataclass(frozen=True)
class Size:
    """Depth, width and heads of a row of the table."""

    depth: int
    hidden_size: int
    num_heads: int


# fmt: off
SIZES = {
    #            depth  width  heads
    "S":   Size(    12,   384,     6),
    "B":   Size(    12,   768,    12),
    "L":   Size(    24,  1024,    16),
    "XL":  Size(    28,  1152,    16),
}
# Small images in pixels; not published, ours. Same architecture, C_out without variance.
TINY_SIZES = {
    "Nano": Size(    4,    64,     4),   # tests and the smoke profile
    "Tiny": Size(    8,    64,     4),
    "Mini": Size(    4,    96,     4),
}
# fmt: on
PATCHES = (2, 4, 8)
SYSTEMS = {"DiT": True, "SiT": False}  # whether the variance half of the output is returned


def _table() -> dict[str, TransformerConfig]:
    table = {}
    for system, keep_sigma in SYSTEMS.items():
        for name, size in SIZES.items():
            for patch in PATCHES:
                table[f"{system}-{name}/{patch}"] = TransformerConfig(
                    patch_size=patch, keep_sigma=keep_sigma, **vars(size)
                )
    for name, size in TINY_SIZES.items():
        table[f"SiT-{name}/2"] = TransformerConfig(
            input_size=8, in_channels=1, num_classes=10, learn_sigma=False, **vars(size)
        )
    return table


MODELS = _table()


def model_config(name: str, **overrides: int | bool) -> TransformerConfig:
    """Configuration of a preset, with fields of ``TransformerConfig`` replaced.

    Raises:
        ConfigError: unknown preset or field, or a value out of range.
    """
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    for field in overrides:
        if field not in TransformerConfig.model_fields:
            raise unknown(f"model {name}: override", field, TransformerConfig.model_fields)
    try:
        return TransformerConfig(**{**MODELS[name].model_dump(), **overrides})
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if first["loc"]:
            field = ".".join(str(part) for part in first["loc"])
            message = f"{field} = {first['input']!r}: {message[0].lower()}{message[1:]}"
        raise ConfigError(f"model {name}: {message}") from None


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
    return from_config(model_config(name, **overrides), seed=seed, device=device)


def from_config(
    config: TransformerConfig, *, seed: int = 0, device: torch.device | str = "cpu"
) -> DiffusionTransformer:
    """As ``build_model``, from a configuration."""
    seed = check_seed(seed)
    with torch.device("meta"):
        model = DiffusionTransformer(config)
    if torch.device(device).type == "meta":
        return model
    model = model.to_empty(device="cpu")
    model.initialize(seed)
    return model.to(device)
