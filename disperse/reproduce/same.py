"""Did the same notebooks come to the same values twice? ``python -m disperse.reproduce.same FIRST SECOND``.

Sidecars of both folders, by name and wherever they lie within, value by value to the last bit; dates, commits
and the bytes of pictures aside. What one of them alone has is counted, not judged.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import DisperseError, StorageError
from .verify import DIFFERS, NOT_COMPARED, Finding, first_difference, sidecar

LEFT_OUT = NOT_COMPARED | {"commits"}


def differences(first: Path, second: Path) -> tuple[list[Finding], int, int]:
    """(what differs, sidecars in both, sidecars in one alone).

    Raises:
        StorageError: no sidecar is in both.
    """
    one, other = _sidecars(first), {path.name: path for path in _sidecars(second)}
    names = {path.name for path in one}
    pairs = [(path, other[path.name]) for path in one if path.name in other]
    if not pairs:
        raise StorageError(f"no sidecar is both in {first} and in {second}")
    found = []
    for path, twin in pairs:
        difference = first_difference(_values(sidecar(path)), _values(sidecar(twin)), tolerance=0.0)
        if difference:
            found.append(Finding(DIFFERS, path.name, difference))
    return found, len(pairs), len(names ^ other.keys())


def _sidecars(folder: Path) -> list[Path]:
    """Those that have their picture's SHA-256, or lie beside a drawing: other JSON files are none."""
    every = sorted(folder.rglob("*.json"))
    return [path for path in every if path.with_suffix(".svg").exists() or "picture_sha256" in sidecar(path)]


def _values(facts: Any) -> Any:
    if isinstance(facts, dict):
        return {key: _values(value) for key, value in facts.items() if key not in LEFT_OUT}
    return [_values(value) for value in facts] if isinstance(facts, list) else facts


def main(arguments: Sequence[str] | None = None) -> int:
    """Say what differs; the exit code is 3 if anything does, or nothing can be compared."""
    parser = argparse.ArgumentParser(prog="python -m disperse.reproduce.same", description=__doc__)
    for name in ("first", "second"):
        parser.add_argument(name, type=Path, metavar=name.upper(), help="a folder of sidecars")
    options = parser.parse_args(arguments)
    try:
        found, both, alone = differences(options.first, options.second)
    except DisperseError as error:
        print(f"same: {error}", file=sys.stderr)
        return error.exit_code
    for finding in found:
        print(finding)
    print(
        f"{both - len(found)} of {both} sidecars have the same values twice; {alone} are in one folder alone"
    )
    return StorageError.exit_code if found else 0


if __name__ == "__main__":
    sys.exit(main())
