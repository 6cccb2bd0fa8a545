"""Experiments: profiles, items of the paper, published numbers, and where results live."""

from ..regularizers.paper import DISPERSIVE, contrastive_term, dispersive_term
from ..store import evaluate_run, publish, published, records, run_folder, select
from ..training import find_run, home
from .items import ITEMS, Cell, item
from .looks import LOOKS, finished, look, look_at_finished, look_cells, seen_by
from .profiles import PROFILES, Profile, profile
from .request import requested_spec
from .resources import resources
from .runner import cells_of, complete_all, results
from .runs import (
    evaluations,
    network,
    publish_network,
    published_networks,
    records_here,
    records_of,
    samples_of,
    seeds_of,
)

__all__ = [
    "DISPERSIVE",
    "ITEMS",
    "LOOKS",
    "PROFILES",
    "Cell",
    "Profile",
    "cells_of",
    "complete_all",
    "contrastive_term",
    "dispersive_term",
    "evaluate_run",
    "evaluations",
    "find_run",
    "finished",
    "home",
    "item",
    "look",
    "look_at_finished",
    "look_cells",
    "network",
    "profile",
    "publish",
    "publish_network",
    "published",
    "published_networks",
    "records",
    "records_here",
    "records_of",
    "requested_spec",
    "resources",
    "results",
    "run_folder",
    "samples_of",
    "seeds_of",
    "seen_by",
    "select",
]
