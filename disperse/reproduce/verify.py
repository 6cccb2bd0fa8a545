"""Are the published figures what their results make of them? Everything is computed again and compared.

Tables byte for byte, also that of the claims in the project's README; sidecars by their seal, then value
by value up to ``TOLERANCE`` (but for date and commit); pictures by the SHA-256 in their sidecar, since
another version of matplotlib draws other bytes.
"""

import json
import math
import secrets
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import atomic
from ..errors import StorageError
from ..experiments import home, profile
from ..experiments.verdicts import verdicts
from ..figures import draw_published
from ..figures.published import BEGIN, END, with_claims
from ..figures.sections import SECTIONS
from ..spec import NUMERICS
from ..store import Record, check_seal, published_path, seal
from . import retrain

# Relative; the noise floor passes through a network in float32, which rounds otherwise elsewhere.
TOLERANCE = 1e-5
NOT_COMPARED = {"date", "commit", "picture_sha256", "sha256"}
OK, STALE, DIFFERS, MISSING, EDITED, STRAY = "ok", "STALE", "DIFFERS", "MISSING", "EDITED", "STRAY"
BEGUN = "train"
UNSEALED = "without a seal: drawn by an earlier version"
# Drawn when results are published, by weights that are not.
FROM_WEIGHTS = {stem for section in SECTIONS for stem in section.kept}


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
        StorageError: after all items are told, if one is not as it should be; or nothing is published.
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
        raise StorageError(
            f"{len(wrong)} of {len(findings)} items are not what the results make them "
            f"({', '.join(f'{count} {state}' for state, count in counts.items())}); `git checkout figures` "
            f"restores, `disperse figures --profile {profile_name}` redraws (samples: `disperse publish`)"
        )
    return f"verified: {len(findings)} items, {len(pool)} evaluations; values agree to {TOLERANCE:g}"


def _steps(profile_name: str, pool: list[Record], retrain_count: int, seed: int | None) -> Iterator[Finding]:
    """Findings one by one; ``pool`` is filled on the way, and nothing is computed from bad results."""
    results = list(check_results(profile_name, pool))
    yield from results
    if any(finding.state != OK for finding in results):
        return
    with tempfile.TemporaryDirectory(prefix="disperse-verify-") as folder:
        draw_published(profile_name, Path(folder))
        yield from compare_folders(home() / "figures", Path(folder), profile_name, pool)
    yield from check_readme(profile_name, pool)
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


def compare_folders(kept: Path, fresh: Path, profile_name: str, pool: list[Record]) -> Iterator[Finding]:
    """Each file of the published figures beside the one drawn afresh from the results.

    Args:
        kept: ``figures/`` as it is committed.
        fresh: the same, drawn afresh.
        profile_name: whose folder of both.
        pool: the results.
    """
    folder, drawn, name = kept / profile_name, fresh / profile_name, f"figures/{profile_name}"
    sidecars = {path.stem: sidecar(path) for path in sorted(folder.glob("*.json"))}
    new = {path.stem: sidecar(path) for path in sorted(drawn.glob("*.json"))}
    stale = {
        stem: bool(sidecars.get(stem))
        and bool(first_difference(sidecars[stem].get("runs"), facts.get("runs")))
        for stem, facts in new.items()
    }
    for path in sorted(drawn.glob("*.md")):
        yield _text(folder / path.name, path, f"{name}/{path.name}", stale.get(path.stem, False))
    for stem in sorted({*sidecars, *new}):
        item = f"{name}/{stem}.json"
        if stem not in sidecars:
            yield Finding(MISSING, item)
        elif stem in new:
            yield _values(sidecars[stem], new[stem], item, stale[stem])
        elif stem in FROM_WEIGHTS:
            yield _from_weights(sidecars[stem], item, pool)
        yield _picture(folder / f"{stem}.png", sidecars.get(stem) or {}, f"{name}/{stem}.png")
    known = {path.name for path in drawn.iterdir()} | {published_path(profile_name).name}
    known |= {f"{stem}.{suffix}" for stem in FROM_WEIGHTS for suffix in ("json", "png")}
    for path in sorted(folder.iterdir()):
        if path.name not in known and not path.name.startswith(atomic.TEMPORARY_PREFIX):
            yield Finding(STRAY, f"{name}/{path.name}", "nothing draws it")
    index = kept / "README.md"
    if _is_index_of(index, profile_name):
        yield _text(index, fresh / "README.md", "figures/README.md", any(stale.values()))


def check_readme(profile_name: str, pool: list[Record]) -> Iterator[Finding]:
    """The table of claims in the project's README, where that is of this profile as the index is."""
    path, index = home() / "README.md", home() / "figures" / "README.md"
    if not path.exists() or not _is_index_of(index, profile_name):
        return
    text = path.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        yield Finding(MISSING, path.name, "no table of claims: its marks are gone; `git checkout README.md`")
        return
    old, new = text.splitlines(), with_claims(text, verdicts(pool, profile(profile_name))).splitlines()
    if old == new:
        yield Finding(OK, path.name, "its table of claims")
        return
    line = _first_line(old, new) or len(old)
    detail = f"its table of claims, first in line {line}; `disperse figures` writes it"
    yield Finding(DIFFERS, path.name, detail)


def _is_index_of(index: Path, profile_name: str) -> bool:
    """Whether the published index is drawn from the results of this profile; a lost one may be."""
    return not index.exists() or f"({profile_name}/results.jsonl)" in index.read_text(encoding="utf-8")


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


def sidecar(path: Path) -> dict[str, Any]:
    """Facts of a sidecar; none if it can't be read, which no seal fits."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _first_line(old: Sequence[str | bytes], new: Sequence[str | bytes]) -> int | None:
    """Number of the first line that both have and that differs."""
    pairs = enumerate(zip(old, new, strict=False), start=1)
    return next((number for number, (a, b) in pairs if a != b), None)


def _text(kept: Path, fresh: Path, item: str, stale: bool) -> Finding:
    if not kept.exists():
        return Finding(MISSING, item)
    old, new = (path.read_bytes() for path in (kept, fresh))
    if old == new:
        return Finding(OK, item)
    line = _first_line(old.splitlines(), new.splitlines())
    where = f"first in line {line}" if line else "in length"
    return Finding(STALE if stale else DIFFERS, item, f"{where}; {_cause(stale)}")


def _values(kept: dict[str, Any], fresh: dict[str, Any], item: str, stale: bool) -> Finding:
    old, new = ({k: v for k, v in facts.items() if k not in NOT_COMPARED} for facts in (kept, fresh))
    found = first_difference(old, new)
    if kept.get("sha256") and not _sealed(kept):
        return Finding(EDITED, item, found or "content does not fit its SHA-256")
    if found:
        return Finding(STALE if stale else DIFFERS, item, f"{found}; {_cause(stale)}")
    return Finding(OK, item) if _sealed(kept) else Finding(STALE, item, UNSEALED)


def _sealed(facts: dict[str, Any]) -> bool:
    return facts.get("sha256") == seal(facts)["sha256"]


def _cause(stale: bool) -> str:
    return "results came or went since" if stale else "edited, or drawn by another version"


def _from_weights(facts: dict[str, Any], item: str, pool: list[Record]) -> Finding:
    """A sidecar whose values no results hold: its seal, and that its runs are published."""
    if not _sealed(facts):
        sealed = "content does not fit its SHA-256" if facts.get("sha256") else UNSEALED
        return Finding(EDITED if facts.get("sha256") else STALE, item, sealed)
    published = {(record["fingerprint"], record["step"]) for record in pool}
    gone = [run["label"] for run in facts["runs"] if (run["fingerprint"], run["step"]) not in published]
    if gone:
        return Finding(STALE, item, f"not among the results any more: {', '.join(gone)}")
    return Finding(OK, item, "sealed; drawn from weights, which are not published")


def _picture(picture: Path, facts: dict[str, Any], item: str) -> Finding:
    if not picture.exists():
        return Finding(MISSING, item)
    digest = facts.get("picture_sha256")
    if digest is None:
        return Finding(STALE, item, "no SHA-256 of it in its sidecar: drawn by an earlier version")
    if digest != atomic.sha256_file(picture):
        return Finding(EDITED, item, "not the picture that its sidecar was written with")
    return Finding(OK, item)


def _retrained(pool: list[Record], count: int, seed: int) -> Iterator[Finding]:
    """Entries trained again; each is named before it starts, since it takes minutes."""
    for record in retrain.choose(pool, count, seed):
        item = f"{record['name']}-{record['fingerprint']}, step {record['step']}, seed {record['seed']}"
        yield Finding(BEGUN, item, f"chosen by --seed {seed}")
        result = retrain.compare(record, retrain.retrain(record))
        yield Finding(
            DIFFERS if result.state == retrain.FAR else OK, item, f"{result.state}: {result.detail}"
        )
