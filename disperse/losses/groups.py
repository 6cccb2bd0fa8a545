"""From features of any shape to groups of rows that see each other."""

from typing import Literal

import torch
from torch import Tensor

from ..errors import ConfigError
from . import exchange
from .distances import at_least_float32

Tokens = Literal["flatten", "mean"]


def grouped(features: Tensor, tokens: Tokens, local_batch: int | None) -> Tensor:
    """Features (b, ...) as groups (k, g, d) of g = ``local_batch`` consecutive rows.

    Args:
        features, tokens: as in ``flat_rows``.
        local_batch: g; None puts all rows in one group.

    Raises:
        ConfigError: another shape or dtype, or g does not divide b.
    """
    return in_groups(flat_rows(features, tokens), local_batch)


def grouped_across(
    features: Tensor, tokens: Tokens, local_batch: int | None, *, check: bool = False
) -> tuple[Tensor, int | None]:
    """Groups of g = ``local_batch`` consecutive rows of the batch of all ranks, this rank's rows given.

    Where the groups lie within ranks, nothing is exchanged: (k/N, g, d) and None. Otherwise all groups with
    a share of the dimensions, (k, g, ⌈d/N⌉), and d (see ``exchange``).

    Args:
        features, tokens, local_batch: as in ``grouped``.
        check: compare the shapes of the ranks first.
    """
    rows = flat_rows(features, tokens)
    if not exchange.needed(len(rows), local_batch):
        return in_groups(rows, local_batch), None
    if check:
        exchange.check_same_rows(rows)
    return in_groups(exchange.columns(rows), local_batch), rows.shape[1]


def flat_rows(features: Tensor, tokens: Tokens) -> Tensor:
    """Features (b, ...) as one row per sample, (b, d).

    Args:
        features (Tensor): one entry per sample, shape (b, d) or (b, n, d) or (b, ...), any float dtype.
        tokens: ``"flatten"`` reads an entry as one row of d numbers; ``"mean"`` averages (b, n, d) over n.

    Raises:
        ConfigError: another shape or dtype.
    """
    check_tensor("features", features)
    if features.is_nested or features.layout != torch.strided:
        got, cure = f"{features.layout}", "features.to_dense()"
        if features.is_nested:  # of either layout, one of which calls itself strided
            got, cure = "a nested tensor", "torch.nested.to_padded_tensor(features, 0.0)"
        raise ConfigError(f"features: expected a dense tensor, got {got}; pass {cure}")
    if features.ndim < 2:
        cure = "of one number per sample pass features[:, None]" if features.ndim else "tap an earlier layer"
        raise ConfigError(
            f"features: expected shape (b, d) or (b, n, d), got {tuple(features.shape)}; {cure}"
        )
    if 0 in features.shape:
        raise ConfigError(f"features: expected at least one row and one column, got {tuple(features.shape)}")
    if not features.is_floating_point():
        whole = "integers and booleans have no gradient: tap a layer that returns floats"
        cure = "pass torch.view_as_real(features)" if features.is_complex() else whole
        raise ConfigError(f"features: expected a float dtype, got {features.dtype}; {cure}")
    if tokens == "mean":
        if features.ndim != 3:
            maps = (
                "of maps (b, c, h, w) pass features.flatten(2).transpose(1, 2), "
                "of maps (b, h, w, c) features.flatten(1, 2)"
            )
            cure = maps if features.ndim == 4 else 'reshape them, or use tokens="flatten"'
            raise ConfigError(
                f'tokens = "mean": expected features of shape (b, n, d), got {tuple(features.shape)}; {cure}'
            )
        # Converted first: a mean rounded to half precision moves every distance.
        features = at_least_float32(features).mean(dim=1)
    return features.flatten(start_dim=1)


def check_tensor(name: str, value: object) -> None:
    """Refuse what only leads to a tensor: a tap, a list of features, an array.

    Raises:
        ConfigError: names its type.
    """
    if not isinstance(value, Tensor):
        raise ConfigError(
            f"{name}: expected a torch.Tensor, got {type(value).__name__}; of a tap z pass z.value, "
            "of a list, dict or output one of its tensors, of an array torch.from_numpy(array)"
        )


def in_groups(rows: Tensor, local_batch: int | None) -> Tensor:
    """(b, ...) → (k, g, ...), consecutive rows; None: (1, b, ...)."""
    if local_batch is None:
        return rows[None]
    if rows.shape[0] % local_batch:
        raise ConfigError(
            f"loss.local_batch = {local_batch}: does not divide the batch of {rows.shape[0]} rows; "
            "choose a divisor, or drop the last incomplete batch"
        )
    return rows.unflatten(0, (-1, local_batch))
