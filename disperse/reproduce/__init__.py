"""Reproduction: notebooks executed headlessly, and the main job."""

from ..folders import output_folder
from .engine import plan, reproduce
from .jobs import make_plan
from .notebooks import check_parameters, execute, finish, with_parameters
from .worker import complete_run, execute_notebook

__all__ = [
    "check_parameters",
    "complete_run",
    "execute",
    "execute_notebook",
    "finish",
    "make_plan",
    "output_folder",
    "plan",
    "reproduce",
    "with_parameters",
]
