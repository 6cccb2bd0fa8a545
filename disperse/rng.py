"""Keyed random streams: every draw is a pure function of what it is for.

A stream is named by a key such as ``("noise", seed, step)``; nothing is carried from one step to the
next, so resuming needs no saved generator and the order of calls does not matter.

Streams are NumPy Philox generators keyed by 128 bits of SHA-256. PyTorch's own CPU generator keeps
only 32 bits of its seed, so among 50 000 keyed streams two would be equal with probability 1/4.
Draws are made on the CPU and moved, so that every device sees the same numbers.
"""

import contextlib
import contextvars
import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .errors import ConfigError


def stream(*key: str | int) -> np.random.Generator:
    """Random generator that depends on ``key`` alone: equal keys, equal draws.

    Args:
        key: words and integers; ``1`` and ``"1"`` are different keys.

    Raises:
        ConfigError: a part is neither a word nor an integer.
    """
    text = "\x1f".join(_tagged(part) for part in key)
    words = hashlib.sha256(text.encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(words, "little")))


_generator: contextvars.ContextVar[torch.Generator | None] = contextvars.ContextVar("generator", default=None)


@contextlib.contextmanager
def drawn_by(generator: torch.Generator) -> Iterator[None]:
    """Let ``normal`` and ``uniform`` draw from this generator, on its device, and not from keyed streams.

    For an ensemble alone (``training.ensemble``), whose draws would be too many for the CPU. Their keys are
    not looked at then: whoever seeds the generator says what the draws are for.
    """
    token = _generator.set(generator)
    try:
        yield
    finally:
        _generator.reset(token)


def _tagged(part: object) -> str:
    if isinstance(part, str):
        return f"str:{part}"
    if isinstance(part, (int, np.integer)) and not isinstance(part, bool):
        return f"int:{int(part)}"
    raise ConfigError(f"random key: {part!r}: expected a word or an integer, got {type(part).__name__}")


def normal(shape: Sequence[int], *key: str | int) -> Tensor:
    """Standard normal float32 tensor of the given shape from ``stream(*key)``; see ``drawn_by``."""
    generator = _generator.get()
    if generator is not None:
        return torch.randn(tuple(shape), generator=generator, device=generator.device)
    return torch.from_numpy(stream(*key).standard_normal(tuple(shape), dtype=np.float32))


def uniform(shape: Sequence[int], *key: str | int) -> Tensor:
    """Uniform float32 tensor in [0, 1) of the given shape from ``stream(*key)``; see ``drawn_by``."""
    generator = _generator.get()
    if generator is not None:
        return torch.rand(tuple(shape), generator=generator, device=generator.device)
    return torch.from_numpy(stream(*key).random(tuple(shape), dtype=np.float32))


def check_seed(seed: object, name: str = "seed") -> int:
    """Return ``seed`` as an integer ≥ 0, of any size, or raise ConfigError naming it."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
        raise ConfigError(f"{name} = {seed!r}: expected an integer")
    if seed < 0:
        raise ConfigError(f"{name} = {seed}: must be ≥ 0")
    return int(seed)


def check_seeds(seeds: Sequence[int] | Tensor | np.ndarray) -> list[int]:
    """Return ``seeds`` as a list of distinct integers ≥ 0, of any size.

    Raises:
        ConfigError: not a sequence, or a seed is not an integer, is negative, or stands twice.
    """
    if isinstance(seeds, (Tensor, np.ndarray)) and seeds.ndim:
        if seeds.ndim > 1:
            raise ConfigError(f"seeds: expected one row of integers, got shape {tuple(seeds.shape)}")
        seeds = seeds.tolist()
    if isinstance(seeds, (Tensor, np.ndarray, str)) or not isinstance(seeds, Iterable):
        raise ConfigError(f"seeds = {seeds!r}: expected a sequence of integers, such as range(4)")
    checked = [check_seed(seed, f"seeds[{position}]") for position, seed in enumerate(seeds)]
    if len(set(checked)) != len(checked):
        twice = next(seed for seed in checked if checked.count(seed) > 1)
        raise ConfigError(f"seeds: {twice} stands twice; each sample needs its own seed")
    return checked
