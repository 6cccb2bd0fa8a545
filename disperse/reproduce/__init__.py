"""Reproduction: notebooks executed headlessly, and the main job."""

from .notebooks import check_parameters, execute, finish, output_folder
from .run import plan, reproduce

__all__ = ["check_parameters", "execute", "finish", "output_folder", "plan", "reproduce"]
