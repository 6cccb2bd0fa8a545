"""Members of a folder or an archive, one by one in memory; nothing is written to the disk.

An archive of someone else may name paths outside, link to other files, or unfold without end. So members
are only ever read, links are passed over, and sizes are bounded before anything of that size is held.
"""

import gzip
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ..errors import DataError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".zip")
MEMBER_BYTES = 64 * 2**20  # the largest file that is one member
TOTAL_BYTES = 4 * 2**30  # of all members, unfolded


def members(source: Path, endings: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    """Path and content of every file of a folder or archive whose name ends so, links left out.

    Raises:
        DataError: damaged, of another kind, or a member that leads outside or is too large.
    """
    try:
        for name, size, read in _entries(source):
            parts = PurePosixPath(name).parts
            if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
                raise DataError(f"{source}: member {name!r} leads outside; this archive is not to be trusted")
            if not name.lower().endswith(endings) or parts[-1].startswith("."):
                continue
            if size > MEMBER_BYTES:
                raise DataError(
                    f"{source}: member {name}: {size} bytes, expected at most {MEMBER_BYTES}; not an image"
                )
            yield name, read()
    except (OSError, EOFError, ValueError, tarfile.TarError, lzma.LZMAError, zipfile.BadZipFile,
            NotImplementedError, RuntimeError, zlib.error) as error:  # fmt: skip
        raise DataError(f"{source}: cannot be read ({error}); get it again") from None


def stamp(source: Path) -> dict[str, Any]:
    """What tells an unchanged source without reading it: number of files, bytes, and time of change."""
    files = [source] if source.is_file() else [Path(f, n) for f, _, names in os.walk(source) for n in names]
    facts = [os.stat(file) for file in files if file.is_file()]
    return {
        "files": len(facts),
        "bytes": sum(each.st_size for each in facts),
        "changed_ns": max((each.st_mtime_ns for each in facts), default=0),
    }


def _entries(source: Path) -> Iterator[tuple[str, int, Any]]:
    """(name, size, function that reads it) of every plain file."""
    if source.is_dir():
        for folder, _, names in os.walk(source):
            for name in names:
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink():
                    yield path.relative_to(source).as_posix(), path.stat().st_size, path.read_bytes
    elif source.suffix == ".zip":
        with zipfile.ZipFile(source) as archive:
            for entry in archive.infolist():
                if not entry.is_dir():
                    yield entry.filename, entry.file_size, lambda e=entry: archive.read(e)
    else:
        with open(source, "rb") as raw, _Bounded(_unfolded(source, raw)) as stream:
            # "r|": from front to back, so that what is read is what the bound has counted.
            with tarfile.open(fileobj=stream, mode="r|") as archive:  # type: ignore[call-overload]
                for member in archive:
                    if member.isfile():
                        yield member.name, member.size, lambda m=member: archive.extractfile(m).read()
                    elif not (member.isdir() or member.issym() or member.islnk()):
                        raise DataError(f"{source}: member {member.name!r} is no plain file")


def _unfolded(source: Path, raw: IO[bytes]) -> IO[bytes]:
    if source.suffix == ".xz":
        return lzma.open(raw)
    return gzip.open(raw) if source.suffix in (".gz", ".tgz") else raw  # type: ignore[return-value]


class _Bounded:
    """A stream that gives up after ``TOTAL_BYTES``."""

    def __init__(self, stream: IO[bytes]):
        self.stream, self.left = stream, TOTAL_BYTES

    def __enter__(self) -> "_Bounded":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def read(self, size: int) -> bytes:
        self.left -= size
        if self.left < 0:
            raise DataError(f"unfolds to more than {TOTAL_BYTES} bytes; not an archive of small images")
        return self.stream.read(size)
