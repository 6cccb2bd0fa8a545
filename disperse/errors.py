"""Typed errors: what was got, what was expected, what to do.

Each error carries the process exit code of the command line. Code 0 is success; 130 and 143 are the
shell's codes for SIGINT and SIGTERM.
"""

import difflib
from collections.abc import Iterable


class DisperseError(Exception):
    """Base of every foreseeable failure; the command line prints it in one line, without a traceback."""

    exit_code = 2
    on_all_ranks = False  # raised on every rank of a run on several processes: one of them speaks


class ConfigError(DisperseError, ValueError):
    """A value, name or combination of settings that cannot be used (exit code 2)."""


class TapError(DisperseError, RuntimeError):
    """A tapped layer does not exist or was not reached by the forward pass (exit code 2)."""


class DataError(DisperseError):
    """A data set is missing, truncated or holds values that cannot be used (exit code 3)."""

    exit_code = 3


class StorageError(DisperseError):
    """A folder cannot be read or written (exit code 3)."""

    exit_code = 3


class CheckpointError(StorageError):
    """A checkpoint is missing, damaged or belongs to another run (exit code 3)."""


class NonFiniteError(DisperseError):
    """A loss, gradient or feature holds NaN or infinity; nothing was updated (exit code 4)."""

    exit_code = 4


class RunFailedError(DisperseError):
    """A notebook or training run did not finish (exit code 5)."""

    exit_code = 5


class LockedError(DisperseError):
    """Another process holds the run folder (exit code 75)."""

    exit_code = 75


class Interrupted(DisperseError):
    """A signal asked for an end; the last step was saved (exit code 130 or 143)."""

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[type["Interrupted"], tuple[int, str]]:
        return type(self), (self.signal_number, str(self))  # crosses from a worker process


def check_count(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return ``value`` if it is an integer from ``least`` to ``most`` (True and 3.0 are none).

    Raises:
        ConfigError: it is not.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or value < least or (most is not None and value > most):  # type: ignore[operator]
        expected = f"≥ {least}" if most is None else f"from {least} to {most}"
        raise ConfigError(f"{name} = {value!r}: expected an integer {expected}")
    return value  # type: ignore[return-value]


def unknown(what: str, got: object, options: Iterable[str]) -> ConfigError:
    """One-line error for a name that is not in ``options``, with the nearest one suggested."""
    options = list(options)
    near = difflib.get_close_matches(str(got), options, n=1, cutoff=0.5)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return ConfigError(f"{what} = {got!r}: expected one of {', '.join(options)}{hint}")
