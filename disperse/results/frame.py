"""Results as one table: a row per evaluation, a column per thing that can vary.

Every column is read from the record of the evaluation: its specification, its protocol, its measures. What a
method's specification holds becomes a column under the field's own name, so a new method needs no line here.
"""

import functools
import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

from ..atomic import canonical_json
from ..data import base_name, num_train_images
from ..errors import unknown
from ..models import config_of, preset
from ..models.flops import num_parameters
from ..regularizers import block_indices
from ..sampling import KNOBS, SamplerConfig
from ..spec import NUMERICS, RunSpec
from ..store import Record, published

NONE = "none"  # where a run has no term; text, so that tables group and plot it
LEVEL = 0.5  # noise level of the measures of a block that stand in a row


def frame(profile: str) -> pd.DataFrame:
    """The published evaluations of a profile as a table; ``table`` says its columns."""
    return table(published(profile))


def table(records: Iterable[Record]) -> pd.DataFrame:
    """Evaluations as a table, in their order.

    Run: ``fingerprint, name, seed, system, size, patch, parameters, data, images, batch_size, lr,
    token_scale``, and every field of its objective. Its terms: ``regularizers`` (their kinds), ``blocks``
    (indices), ``group`` (rows that see each other), ``alpha`` (weight of an attraction over that of the
    repulsion beside it), and every field of the first term under its own name (``variant``, ``lam``, ``tau``,
    ``view``, ...); of a baseline ``regularizers``, ``variant`` and ``view`` are ``"none"``.

    Evaluation: ``step, epochs, solver, sampler_steps, nfe, guidance, weights, evaluator, dtype``, and every
    other field of the protocol. Measures: their value under their name, bounds with ``_low`` and ``_high``.
    At a quarter of the depth and noise level ½: ``rms, spread, effective_rank, mean_cosine``, and
    ``update_ratio``, what later blocks add to the stream over its length there. Of the first term:
    ``off_diagonal_weight, saturation, gradient_ratio``.

    Records of an older numerics stamp are left out: no run of this version stands beside them.
    """
    rows = []
    for record in records:
        if record["spec"].get("numerics") != NUMERICS:
            continue
        run = _run(canonical_json(record["spec"]))
        seen = record["step"] * run["batch_size"]
        rows.append(
            {
                "fingerprint": record["fingerprint"],
                "name": record["name"],
                "step": record["step"],
                "epochs": seen / run["images"],
                **run,
                **_evaluation(record["protocol"]),
                **_measures(record["metrics"]),
                **_inside(record),
                "commit": record["commit"],
            }
        )
    return pd.DataFrame(rows)


def where(rows: pd.DataFrame, **values: Any) -> pd.DataFrame:
    """The rows whose columns have these values; a list names several that will do.

    Raises:
        ConfigError: unknown column.
    """
    for name, value in values.items():
        if name not in rows.columns:
            raise unknown("column", name, rows.columns)
        wanted = value if isinstance(value, list) else [value]
        rows = rows[rows[name].map(lambda found, wanted=wanted: found in wanted).astype(bool)]
    return rows


def blocks(records: Iterable[Record]) -> pd.DataFrame:
    """Measures of every block at every noise level: a row each, with ``fingerprint``, ``seed`` and ``step``.

    Columns ``block, level, rms, spread, effective_rank, mean_cosine, update_rms``.
    """
    return _long(records, "blocks")


def levels(records: Iterable[Record]) -> pd.DataFrame:
    """Losses and gradients by noise level, of the evaluations against training images: a row each."""
    return _long(records, "levels")


def _long(records: Iterable[Record], part: str) -> pd.DataFrame:
    rows = [
        {**{key: record[key] for key in ("fingerprint", "seed", "step")}, **entry}
        for record in records
        for entry in record.get(part, [])
    ]
    return pd.DataFrame(rows)


@functools.lru_cache(maxsize=4096)
def _run(identity: str) -> dict[str, Any]:
    """Columns of a run, from the canonical text of its identity."""
    spec = RunSpec.parse(json.loads(identity))
    row, config = preset(spec.model), config_of(spec)
    return {
        "seed": spec.seed,
        "system": spec.objective.kind,
        "size": spec.model.rpartition("-")[2].partition("/")[0],
        "patch": config.patch_size,
        "parameters": num_parameters(config),
        "data": base_name(spec.data),
        "images": num_train_images(spec.data),
        "lr": spec.optimizer.lr,
        "batch_size": spec.batch_size,
        "token_scale": config.token_scale,
        "objective": spec.objective.kind,
        **_fields(spec.objective),
        **_terms(spec, row.config.depth),
    }


def _terms(spec: RunSpec, depth: int) -> dict[str, Any]:
    """Columns of the terms of a run."""
    found: dict[str, Any] = {"regularizers": "+".join(term.kind for term in spec.regularizers) or NONE}
    if not spec.regularizers:
        return {**found, "variant": NONE, "view": NONE, "blocks": (), "group": None, "alpha": None}
    first, *others = spec.regularizers
    group = getattr(first, "local_batch", None) or spec.batch_size
    alpha = [term.lam / first.lam for term in others if term.kind == "alignment"]
    own = {"variant": NONE, "view": "one"} | _fields(first)
    blocks = block_indices(first.blocks, depth)
    return {**found, **own, "blocks": blocks, "group": group, "alpha": alpha[0] if alpha else None}


def _fields(spec: Any) -> dict[str, Any]:
    """Every field of a specification but its kind."""
    return {name: value for name, value in spec if name != "kind"}


def _evaluation(protocol: dict[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in protocol.items() if key not in ("data", "num_steps", "spaces")}
    sampler = SamplerConfig(**{name: protocol[name] for name in KNOBS if name in protocol})
    defaults = {"precision": "fp32", "sample_seeds": "shared", "against_training": False}
    found = {**defaults, **own, "sampler_steps": protocol["num_steps"], "nfe": sampler.nfe}
    found["dtype"] = found.pop("precision")  # a measure has that name
    return found


def _measures(metrics: dict[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, estimate in metrics.items():
        found |= {name: estimate["value"], f"{name}_low": estimate["low"], f"{name}_high": estimate["high"]}
    return found


def _inside(record: Record) -> dict[str, Any]:
    """Measures of the block at a quarter of the depth, for all runs alike, and of the first term."""
    found: dict[str, Any] = {}
    entries = [entry for entry in record["blocks"] if entry["level"] == LEVEL]
    if entries:
        (quarter,) = block_indices("quarter", 1 + max(entry["block"] for entry in entries))
        own = next(entry for entry in entries if entry["block"] == quarter)
        later = [entry["update_rms"] for entry in entries if entry["block"] > quarter]
        found = {name: own[name] for name in ("rms", "spread", "effective_rank", "mean_cosine")}
        found["update_ratio"] = sum(later) / len(later) / own["rms"] if later else None
    for term in record["terms"][:1]:
        found |= {name: term[name] for name in ("off_diagonal_weight", "saturation", "gradient_ratio")}
    return found
