"""One backbone for every system, and the table of its published sizes."""

from .presets import MODELS, build_model, from_config, model_config
from .transformer import DiffusionTransformer, Output, TransformerConfig

__all__ = [
    "MODELS",
    "DiffusionTransformer",
    "Output",
    "TransformerConfig",
    "build_model",
    "from_config",
    "model_config",
]
