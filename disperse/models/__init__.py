"""One backbone for every system, and the table of its published sizes."""

from .presets import MODELS, Preset, build_model, config_of, from_config, model_config, preset
from .transformer import DiffusionTransformer, Output, TransformerConfig

__all__ = [
    "MODELS",
    "DiffusionTransformer",
    "Output",
    "Preset",
    "TransformerConfig",
    "build_model",
    "config_of",
    "from_config",
    "model_config",
    "preset",
]
