"""The trainer, its checkpoints and moving averages."""

from .folder import latest_step, load_model, load_weights, read_spec
from .state import TrainState
from .trainer import train

__all__ = ["TrainState", "latest_step", "load_model", "load_weights", "read_spec", "train"]
