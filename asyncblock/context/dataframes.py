"""DataFrames that outlive their process: var values whose flow wants to run again from what it had. Parquet, no pickle.

A value's file has the name of its flow, node and handle; the latest run's is the one that is there.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import secrets
from pathlib import Path
from typing import Any, Final

from ..errors import Unavailable

__all__ = ["cache_name", "is_dataframe", "is_kept", "load", "save"]

_WRITERS: Final = {"pandas": "to_parquet", "polars": "write_parquet"}
"""Libraries whose DataFrames can be kept, and how they write one."""


def is_dataframe(value: object) -> bool:
    """Tell whether a value can be kept. Imports nothing: whoever has made it has imported its library."""
    return _library(value) in _WRITERS and type(value).__name__ == "DataFrame"


def _library(value: object) -> str:
    return type(value).__module__.partition(".")[0]


def cache_name(flow: str | None, node_id: str | None, handle: str, value: object) -> str:
    """Return the name under which a value is kept."""
    place = "\0".join((flow or "", node_id or "", handle))
    return f"{hashlib.sha256(place.encode('utf-8', 'backslashreplace')).hexdigest()[:32]}.{_library(value)}"


def save(directory: Path, name: str, value: Any) -> None:
    """Write a value; a reader sees the old file or the new one. Call it off the loop.

    Raises whatever its library raises for one that Parquet can't hold, or without pyarrow.
    """
    path = directory / f"{name}.parquet"
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        getattr(value, _WRITERS[_library(value)])(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


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
