"""Are the published figures what their results make of them? The notebooks are executed again and compared.

Results by the seal of each line; values and what cells print, number by number up to a tolerance; pictures by
the SHA-256 beside their values, since another version of matplotlib draws other bytes.
"""

import json
import math
import re
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import atomic
from ..errors import StorageError
from ..experiments import home, profile
from ..spec import NUMERICS
from ..store import Record, check_seal, published_path
from . import retrain
from .declared import declared
from .index import BEGIN, END, claims_markdown, index_markdown, notebook_of, with_claims
from .publishing import KEPT, cleaned, execute_published, published_notebooks

# Relative. Results are reckoned with in float64; networks compute in float32, whose sums round otherwise on
# another processor.
TOLERANCE, OF_NETWORKS = 1e-6, 0.02
OK, STALE, DIFFERS, MISSING, EDITED, STRAY = "ok", "STALE", "DIFFERS", "MISSING", "EDITED", "STRAY"
BEGUN, FAILED = "train", "FAILED"
_NUMBER = re.compile(r"[-−+]?\d+\.?\d*(?:[eE][-+]?\d+)?")


class DifferenceError(StorageError):
    """What is published isn't what its results make (exit code 5)."""

    exit_code = 5


@dataclass(frozen=True)
class Finding:
    """What was found about one item: ``OK`` or what is wrong, and where."""

    state: str
    item: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.state:8}{self.item}" + (f": {self.detail}" if self.detail else "")


def verify(profile_name: str, *, retrain_count: int = 0, seed: int | None = None) -> str:
    """Compare everything published of a profile with its results, a printed line per item; the verdict.

    Args:
        profile_name: row of the ladder.
        retrain_count: entries to train again, chosen at random.
        seed: of that choice; another one every time by default.

    Raises:
        DifferenceError: after all items are told, if one is not as it should be.
        StorageError: nothing is published.
    """
    profile(profile_name)
    pool: list[Record] = []
    findings: list[Finding] = []
    for finding in _steps(profile_name, pool, retrain_count, seed):
        findings += [finding] if finding.state != BEGUN else []
        print(finding, flush=True)
    wrong = [finding for finding in findings if finding.state != OK]
    if wrong:
        counts = Counter(finding.state.lower() for finding in wrong)
        raise DifferenceError(
            f"{len(wrong)} of {len(findings)} items are not what the results make them "
            f"({', '.join(f'{count} {state}' for state, count in counts.items())}); `git checkout figures "
            f"papermill_runs README.md` restores, `disperse figures --profile {profile_name}` draws anew"
        )
    return (
        f"verified: {len(findings)} items, {len(pool)} evaluations; values agree to {TOLERANCE:g}, "
        f"those of networks to {OF_NETWORKS:g}"
    )


def _steps(profile_name: str, pool: list[Record], retrain_count: int, seed: int | None) -> Iterator[Finding]:
    """Findings one by one; ``pool`` is filled on the way, and nothing is computed from bad results."""
    results = list(check_results(profile_name, pool))
    yield from results
    if any(finding.state != OK for finding in results):
        return
    with tempfile.TemporaryDirectory(prefix="disperse-verify-") as folder:
        fresh = Path(folder)
        failures = execute_published(profile_name, fresh, progress=False)
        for name, reason in failures.items():
            yield Finding(FAILED, f"notebooks/{name}.ipynb", reason)
        yield from compare_figures(home() / "figures" / profile_name, fresh / profile_name)
        yield from compare_executed(home() / "papermill_runs" / profile_name, fresh / "notebooks")
    yield from check_index(profile_name)
    if retrain_count:
        yield from _retrained(pool, retrain_count, secrets.randbelow(10**6) if seed is None else seed)


def check_results(profile_name: str, pool: list[Record]) -> Iterator[Finding]:
    """The lines of ``results.jsonl``: each sealed, of this numerics stamp and of its own fingerprint."""
    path = published_path(profile_name)
    if not path.exists():
        raise StorageError(f"{path}: nothing published; run `disperse publish --profile {profile_name}`")
    name, fine = f"figures/{profile_name}/{path.name}", True
    if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
        fine = False
        yield Finding(EDITED, name, "the last line is cut short; restore it from git")
    for number, record in enumerate(atomic.read_jsonl(path), start=1):
        where, problem = f"{name}:{number}", None
        try:
            check_seal(record, where)
            if record["spec"].get("numerics") != NUMERICS:
                problem = STALE, f"of numerics {record['spec'].get('numerics')}; this version has {NUMERICS}"
            elif atomic.digest(record["spec"]) != record["fingerprint"]:
                problem = EDITED, f"its specification is not that of {record['fingerprint']}"
        except StorageError:
            problem = EDITED, "content does not fit its SHA-256; restore the line from git"
        if problem:
            fine = False
            yield Finding(problem[0], where, problem[1])
        pool.append(record)
    if fine:
        yield Finding(OK, name, f"{len(pool)} evaluations, every seal fits")


def tolerance_of(name: str, profile_name: str) -> float:
    """Relative tolerance of what a notebook keeps or prints: looser where networks compute in it."""
    if not name:
        return OF_NETWORKS
    own = declared(name, {"profile": profile_name})
    return TOLERANCE if own.runs and not own.networks else OF_NETWORKS


def compare_figures(kept: Path, fresh: Path) -> Iterator[Finding]:
    """What the notebooks keep, beside the same made afresh.

    Args:
        kept: ``figures/<profile>`` as it is committed.
        fresh: the same, made from the results.
    """
    folder = f"figures/{kept.name}"
    names = {path.name for place in (kept, fresh) if place.exists() for path in place.iterdir()}
    for name in sorted(names - {*KEPT}):
        item = f"{folder}/{name}"
        if name.startswith(atomic.TEMPORARY_PREFIX):
            continue
        if not (kept / name).exists():
            yield Finding(MISSING, item)
        elif not (fresh / name).exists():
            yield Finding(STRAY, item, "no notebook keeps it")
        elif name.endswith(".json"):
            old, new = (_values(place / name) for place in (kept, fresh))
            tolerance = tolerance_of(notebook_of(name.partition(".")[0]), kept.name)
            found = first_difference(old, new, tolerance=tolerance)
            yield Finding(DIFFERS if found else OK, item, found and f"{found}; edited, or results came since")
        else:
            facts = _read(kept / f"{Path(name).stem}.json")
            digest = facts.get("picture", {}).get(Path(name).suffix.lstrip("."))
            same = digest == atomic.sha256_file(kept / name)
            yield Finding(OK if same else EDITED, item, "" if same else "not what its values were kept with")


def compare_executed(kept: Path, fresh: Path) -> Iterator[Finding]:
    """What the cells of the published notebooks print, beside the same executed afresh."""
    for name in published_notebooks():
        item = f"papermill_runs/{kept.name}/{name}.ipynb"
        if not (kept / f"{name}.ipynb").exists():
            yield Finding(MISSING, item)
        elif (fresh / f"{name}.ipynb").exists():
            tolerance = tolerance_of(name, kept.name)
            found = _printed_differently(kept / f"{name}.ipynb", fresh / f"{name}.ipynb", tolerance)
            yield Finding(DIFFERS if found else OK, item, found)


def _printed_differently(kept: Path, fresh: Path, tolerance: float) -> str:
    """The first cell whose source or printed text differs, and how; empty without."""
    old, new = _read(kept).get("cells", []), cleaned(_read(fresh))["cells"]
    if len(old) != len(new):
        return f"{len(old)} cells, executed afresh {len(new)}"
    for number, (a, b) in enumerate(zip(old, new, strict=True), start=1):
        if a["source"] != b["source"]:
            return f"cell {number}: its source is that of another version"
        texts = [_printed(cell) for cell in (a, b)]
        parts = [_NUMBER.split(text) for text in texts]
        numbers = [[float(each.replace("−", "-")) for each in _NUMBER.findall(text)] for text in texts]
        if parts[0] != parts[1] or first_difference(numbers[0], numbers[1], tolerance=tolerance):
            return f"cell {number}: it prints another text"
    return ""


def _printed(cell: dict[str, Any]) -> str:
    """Text of a cell's outputs."""
    found = []
    for output in cell.get("outputs", []):
        text = output.get("text", output.get("data", {}).get("text/plain", ""))
        found.append("".join(text))
    return "\n".join(found)


def check_index(profile_name: str) -> Iterator[Finding]:
    """The index of published results, and the table of claims in the project's README."""
    figures, readme = home() / "figures", home() / "README.md"
    index = figures / "README.md"
    if index.exists() and f"({profile_name}/results.jsonl)" not in index.read_text(encoding="utf-8"):
        return  # they are of another profile
    yield _text(index, index_markdown(profile_name, figures), "figures/README.md")
    if not readme.exists():
        return
    text = readme.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        yield Finding(
            MISSING, readme.name, "its table of claims has lost its marks; `git checkout README.md`"
        )
        return
    table = claims_markdown(profile_name, figures / profile_name, "notebooks")
    yield _text(readme, with_claims(text, table), "README.md")


def _text(path: Path, expected: str, item: str) -> Finding:
    if not path.exists():
        return Finding(MISSING, item)
    old, new = path.read_text(encoding="utf-8").splitlines(), expected.splitlines()
    if old == new:
        return Finding(OK, item)
    pairs = enumerate(zip(old, new, strict=False), start=1)
    line = next((number for number, (a, b) in pairs if a != b), min(len(old), len(new)) + 1)
    return Finding(DIFFERS, item, f"first in line {line}; `disperse figures` writes it")


def first_difference(kept: Any, fresh: Any, path: str = "", *, tolerance: float = TOLERANCE) -> str:
    """Where plain data differ first, and how; empty if they agree up to the relative tolerance."""
    if isinstance(kept, dict) and isinstance(fresh, dict):
        for key in [*fresh, *(key for key in kept if key not in fresh)]:
            inner = f"{path}.{key}" if path else str(key)
            if key not in kept or key not in fresh:
                return f"{inner}: {'not there' if key not in kept else 'nothing makes it'}"
            found = first_difference(kept[key], fresh[key], inner, tolerance=tolerance)
            if found:
                return found
        return ""
    if isinstance(kept, list) and isinstance(fresh, list):
        if len(kept) != len(fresh):
            return f"{path}: {len(kept)} entries, the results make {len(fresh)}"
        each = (
            first_difference(a, b, f"{path}.{i}", tolerance=tolerance)
            for i, (a, b) in enumerate(zip(kept, fresh, strict=True))
        )
        return next(filter(None, each), "")
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (kept, fresh))
    same = type(kept) is type(fresh) and kept == fresh
    if numbers:
        same = kept == fresh or math.isclose(kept, fresh, rel_tol=tolerance, abs_tol=tolerance * 1e-4)
    return "" if same else f"{path}: {kept!r}, the results make {fresh!r}"


def _read(path: Path) -> Any:
    """Content of a JSON file; empty if it can't be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _values(path: Path) -> Any:
    """Values that a notebook kept, without the digests of their pictures."""
    found = _read(path)
    return (
        {key: value for key, value in found.items() if key != "picture"} if isinstance(found, dict) else found
    )


def _retrained(pool: list[Record], count: int, seed: int) -> Iterator[Finding]:
    """Entries trained again; each is named before it starts, since it takes minutes."""
    for record in retrain.choose(pool, count, seed):
        item = f"{record['name']}-{record['fingerprint']}, step {record['step']}, seed {record['seed']}"
        yield Finding(BEGUN, item, f"chosen by --seed {seed}")
        result = retrain.compare(record, retrain.retrain(record))
        yield Finding(
            DIFFERS if result.state == retrain.FAR else OK, item, f"{result.state}: {result.detail}"
        )
