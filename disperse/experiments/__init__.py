"""Experiments: profiles, the runs of a notebook, the rules' sweeps, published numbers."""

from ..regularizers.paper import DISPERSIVE, contrastive_term, dispersive_term
from ..store import evaluate_run, publish, published, records, run_folder, select
from ..training import find_run, home
from .profiles import PROFILES, Profile, profile
from .request import requested_spec
from .resources import resources
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
    "PROFILES",
    "Profile",
    "contrastive_term",
    "dispersive_term",
    "evaluate_run",
    "evaluations",
    "find_run",
    "home",
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
    "run_folder",
    "samples_of",
    "seeds_of",
    "select",
]
