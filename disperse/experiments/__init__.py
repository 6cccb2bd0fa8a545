"""Experiments: profiles, items of the paper, published numbers, and where results live."""

from .items import DISPERSIVE, ITEMS, Cell, item
from .profiles import PROFILES, Profile, profile
from .runner import complete_all, finished, published_seeds, results, sampler_convergence
from .store import evaluate_run, find_run, home, publish, published, records, run_folder, select

__all__ = [
    "DISPERSIVE",
    "ITEMS",
    "PROFILES",
    "Cell",
    "Profile",
    "complete_all",
    "evaluate_run",
    "find_run",
    "finished",
    "home",
    "item",
    "profile",
    "publish",
    "published",
    "published_seeds",
    "records",
    "results",
    "run_folder",
    "sampler_convergence",
    "select",
]
