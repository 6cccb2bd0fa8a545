"""Experiments: profiles, items of the paper, published numbers, and where results live."""

from ..training import find_run, home
from .items import DISPERSIVE, ITEMS, Cell, item, paper_term
from .profiles import PROFILES, Profile, profile
from .request import requested_spec
from .resources import resources
from .runner import cells_of, complete_all, finished, results, sampler_convergence
from .store import evaluate_run, publish, published, records, run_folder, select

__all__ = [
    "DISPERSIVE",
    "ITEMS",
    "PROFILES",
    "Cell",
    "Profile",
    "cells_of",
    "complete_all",
    "evaluate_run",
    "find_run",
    "finished",
    "home",
    "item",
    "paper_term",
    "profile",
    "publish",
    "published",
    "records",
    "requested_spec",
    "resources",
    "results",
    "run_folder",
    "sampler_convergence",
    "select",
]
