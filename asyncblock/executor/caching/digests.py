"""Digests of inputs: of a value what it is, of a value that names a file also what that holds."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from ...body import Body
from .directories import Directories

__all__ = ["Named", "NoDigest", "digest_of", "texts_of"]

_MAX_NAME: Final = 1024
"""Characters of a text that may name a file."""

_MANY_FILES: Final = 10_000
_MANY_BYTES: Final = 4 << 30
"""What inputs may name in directories and files altogether: it is read for each job."""


class NoDigest(Exception):
    """Why nobody can tell whether an input is the same as another time."""


def digest_of(value: object, named: Named, *, var: bool = False) -> str:
    """Return a digest of an input's value; ``named`` looks at the files that it names. Takes long for large ones.

    ``var`` says that it never was JSON. Raises ``NoDigest``.
    """
    if isinstance(value, Body):
        with open(value.path, "rb") as file:
            return f"raw {hashlib.file_digest(file, 'sha256').hexdigest()}"
    if isinstance(value, (bytes, bytearray, memoryview)) and not var:
        return f"raw {hashlib.sha256(value).hexdigest()}"
    named.look(value)
    if var and not isinstance(value, (str, int, float, bool, type(None))):
        return f"var {_pickled(value)}"
    try:
        return f"json {hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()}"
    except (TypeError, RecursionError) as error:
        raise NoDigest(f"it can't be compared: {error}") from error


def _pickled(value: object) -> str:
    """Return a digest of an object's pickle, without its memo: whether two equal texts are one object is chance."""
    sink = _Hashing()
    pickler = pickle.Pickler(sink, protocol=5)
    pickler.fast = True
    try:
        pickler.dump(value)
    except Exception as error:  # whatever the author's class raises
        raise NoDigest(f"a {type(value).__name__} that can't be compared ({type(error).__name__}: {error})") from error
    return sink.digest.hexdigest()


class _Hashing(io.RawIOBase):
    """Takes a digest of what is written to it."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.digest.update(data)
        return memoryview(data).nbytes


class Named:
    """The files that a job's inputs, or its outputs, name: what each held when it was looked at."""

    def __init__(self, bases: Sequence[Path] = ()) -> None:
        self._bases = [Path(), *bases]
        """Where relative names begin: here, and where the block's own files are."""
        self.files: dict[str, str] = {}
        """Digests by absolute path."""
        self._said: set[tuple[str, int, str]] = set()
        """Which text names what: by the text, the place where it begins, and the digest."""
        self._count = 0
        self._bytes = 0

    def look(self, value: object) -> None:
        """Take in the files that texts in a value name. Raises ``NoDigest`` where they are too much."""
        seen: set[str] = set()
        try:
            bases = [os.path.abspath(base) for base in self._bases]
            directories = Directories(bases)
            for text in texts_of(value):
                if 0 < len(text) <= _MAX_NAME and (places := directories.places(text)) and text not in seen:
                    seen.add(text)
                    self._look(text, [(place, bases[place]) for place in places])
        except NoDigest:
            raise
        except Exception as error:  # whatever the author's class raises
            kind = type(value).__name__
            raise NoDigest(f"a {kind} that can't be looked through ({type(error).__name__}: {error})") from error

    def _look(self, text: str, places: Iterable[tuple[int, str]]) -> None:
        if "\0" in text or "\n" in text:
            return
        for place, base in places:
            path = os.path.abspath(os.path.join(base, text))
            self._take(path)
            if path in self.files:
                self._said.add((text, place, self.files[path]))

    def _take(self, path: str) -> None:
        if path.rpartition("/")[2].startswith("~") or path in self.files:
            return
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            # No such file, or no path at all (a NUL in it, too long): then the text is only a text.
            return
        if stat.S_ISREG(status.st_mode):
            self.files[path] = self._file(path, status.st_size)
        elif stat.S_ISDIR(status.st_mode):
            self.files[path] = self._directory(path)

    def _file(self, path: str, size: int) -> str:
        self._count += 1
        self._bytes += size
        if self._count > _MANY_FILES or self._bytes > _MANY_BYTES:
            raise NoDigest(f"it names more files than are compared ({_MANY_FILES} files, {_MANY_BYTES >> 30} GiB)")
        try:
            with open(path, "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise NoDigest(f"the file {path} that it names can't be read: {error.strerror}") from error

    def _directory(self, path: str) -> str:
        digest = hashlib.sha256()
        for directory, below, files in os.walk(path):
            below.sort()
            for name in sorted(files):
                inner = os.path.join(directory, name)
                try:
                    status = os.stat(inner)
                except OSError:
                    # A broken link, or a file that was removed meanwhile: nothing that the block could read.
                    continue
                if stat.S_ISREG(status.st_mode):
                    digest.update(f"{os.path.relpath(inner, path)}\0{self._file(inner, status.st_size)}\0".encode())
        return digest.hexdigest()

    def digest(self) -> str:
        """Return a digest of what was found; empty for nothing."""
        if not self.files:
            return ""
        # With the names: two files that change places are a change.
        return hashlib.sha256(orjson.dumps(sorted(self._said))).hexdigest()

    def changed(self) -> str | None:
        """Return the path of a file that holds something else than when it was looked at; None where none does."""
        return changed(self.files)


def changed(files: Mapping[str, str]) -> str | None:
    """Return the first of these files that doesn't hold any more what it held; None where all do."""
    for path, digest in files.items():
        now = Named()
        now._take(path)
        if now.files.get(path) != digest:
            return path
    return None


def texts_of(value: object) -> Iterator[str]:
    """Yield the texts of a value that may name files: of JSON, of containers of any kind, of frames and arrays.

    Keys of dicts are words more often than names: those with a slash count.
    """
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif each is None or isinstance(each, (int, float, bytes, bytearray, memoryview)):
            continue
        elif isinstance(each, dict):
            yield from (key for key in each if isinstance(key, str) and "/" in key)
            waiting += each.values()
        elif isinstance(each, (list, tuple, set, frozenset)):
            waiting += each
        elif isinstance(each, os.PathLike):
            yield os.fsdecode(each)
        elif (parts := _parts_of(each)) is not None:
            waiting += parts


def _parts_of(value: object) -> Iterable[object] | None:
    """Return the columns of a frame, and the items of an array or a column that may be texts."""
    found: Any = value
    library = next((name for base in type(value).__mro__ if (name := base.__module__.partition(".")[0]) in _FRAMES), "")
    if library == "pandas" and hasattr(value, "iloc") and found.ndim == 2:
        return [found.iloc[:, place] for place in range(found.shape[1])]
    if library == "polars" and hasattr(value, "get_columns"):
        return list(found.get_columns())
    dtype = str(getattr(value, "dtype", ""))
    if library and dtype.lower().startswith(_TEXTUAL):
        return list(found.tolist() if hasattr(value, "tolist") else found.to_list())
    return None


_FRAMES: Final = ("pandas", "polars", "numpy")
_TEXTUAL: Final = ("object", "str", "<u", ">u", "category", "categorical", "enum", "utf8", "large_string")
"""How types of texts are called, or of what may be texts."""
