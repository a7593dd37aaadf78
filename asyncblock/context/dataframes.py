"""DataFrames that outlive their process: var values whose flow wants to run again from what it had. Parquet, no pickle.

A value's file is named by its flow, node and handle, its session, and the one output that it is. Whoever writes down
what a later run may take removes the others (``retain``); where nobody does, a node's next sessions do: files of one
earlier session stay.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import secrets
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ..errors import Unavailable
from ..store import StoreKey

__all__ = ["cache_name", "is_dataframe", "is_kept", "load", "remove", "retain", "save"]

_WRITERS: Final = {"pandas": "to_parquet", "polars": "write_parquet"}
"""Libraries with DataFrames that can be kept, and how they write one."""


def is_dataframe(value: object) -> bool:
    """Tell whether a value can be kept. Imports nothing: the block that has made it has imported its library."""
    return _library(value) in _WRITERS and type(value).__name__ == "DataFrame"


def _library(value: object) -> str:
    return type(value).__module__.partition(".")[0]


_PLACE: Final = 32
_SESSION: Final = 16
"""Characters of a name that stand for flow, node and handle, and for the session after them."""


_STALE_DRAFT: Final = 86400.0
"""Seconds after which an unfinished file counts as abandoned."""


def cache_name(flow: str | None, node_id: str | None, key: StoreKey, value: object) -> str:
    """Return the name under which a value is kept: no other output has it."""
    place = _digest(flow or "", node_id or "", key.handle)[:_PLACE]
    output = _digest(key.job_id, str(key.attempt), str(key.place))[:16]
    return f"{place}{_digest(key.session_id)[:_SESSION]}{output}.{_library(value)}"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()


def save(directory: Path, name: str, value: Any) -> None:
    """Write a value; a reader sees the whole file or none. Call it off the loop.

    Raises whatever its library raises for one that Parquet can't hold, or without pyarrow.
    """
    if not any(directory.glob(f"{name[: _PLACE + _SESSION]}*.parquet")):
        _forget_sessions(directory, name[:_PLACE])
        _forget_drafts(directory)
    path = directory / f"{name}.parquet"
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        getattr(value, _WRITERS[_library(value)])(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _forget_sessions(directory: Path, place: str) -> None:
    """Remove what sessions before the last one have kept of a node's handle: the next one begins."""
    files = []
    for path in directory.glob(f"{place}*.parquet"):
        # Another process may be cleaning up the same directory.
        with suppress(FileNotFoundError):
            files.append((path.stat().st_mtime_ns, path))
    if files:
        last = max(files)[1].name[: _PLACE + _SESSION]
        for _, path in files:
            if not path.name.startswith(last):
                path.unlink(missing_ok=True)


def _forget_drafts(directory: Path) -> None:
    """Remove what processes left half written that were killed."""
    for path in directory.glob(".*.parquet.*"):
        # Its maker may just have put it in its place.
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _STALE_DRAFT:
                path.unlink()


def retain(directory: Path, session_id: str, kept: Collection[str], before: Collection[str]) -> None:
    """Remove what nothing refers to any more: of a session that has ended, and of what was kept ``before``."""
    session = _digest(session_id)[:_SESSION]
    for path in list(directory.glob("*.parquet")):
        name = path.stem
        if name not in kept and (name in before or name[_PLACE : _PLACE + _SESSION] == session):
            path.unlink(missing_ok=True)


def remove(directory: Path, names: Collection[str]) -> None:
    """Remove the files of values that aren't needed any more."""
    for name in names:
        # What stays costs disk for a while, and goes with the sessions before the last one.
        with suppress(OSError):
            (directory / f"{name}.parquet").unlink()


def is_kept(directory: Path, name: str) -> bool:
    """Tell whether a value's file is there."""
    return (directory / f"{name}.parquet").is_file()


def load(directory: Path, name: str) -> Any:
    """Read a value that was kept, with the library that wrote it. Call it off the loop.

    Raises ``Unavailable`` when the file or the library isn't there.
    """
    digest, _, library = name.partition(".")
    if library not in _WRITERS or not digest.isalnum():
        raise Unavailable(f"{name!r} is no name of a kept value")
    path = directory / f"{name}.parquet"
    if not path.is_file():
        raise Unavailable(f"the kept value {path} isn't there; run the flow without its cache")
    try:
        return importlib.import_module(library).read_parquet(path)
    except ImportError as error:
        raise Unavailable(f"the kept value {path} was written by {library}, which isn't installed here") from error
