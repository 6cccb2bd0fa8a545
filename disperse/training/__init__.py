"""The trainer, its checkpoints and moving averages, and the store of runs."""

from ..folders import home
from .folder import latest_step, load_weights, read_spec, weights_sha256
from .runs import find_run, list_runs, load_model, run_folders
from .state import TrainState
from .trainer import train

__all__ = [
    "TrainState",
    "find_run",
    "home",
    "latest_step",
    "list_runs",
    "load_model",
    "load_weights",
    "read_spec",
    "run_folders",
    "train",
    "weights_sha256",
]
