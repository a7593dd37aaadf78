"""Files that an author shows, given by path or as open files. No more is read than a preview may have."""

from __future__ import annotations

import io
import os
from typing import Any

from ..errors import PreviewFailed
from .limits import Limits

__all__ = ["beginning_of", "contents_of", "whole_of"]


def whole_of(path: os.PathLike[str], limits: Limits) -> bytes:
    """Read a file. Raises ``PreviewFailed`` for one that is too large or can't be read."""
    data = _read(path, limits.bytes + 1)
    if len(data) > limits.bytes:
        raise PreviewFailed(f"the file {os.fspath(path)!r} has more than the limit of {limits.bytes:,} bytes")
    return data


def beginning_of(path: os.PathLike[str], limits: Limits) -> bytes:
    """Read the beginning of a file. Raises ``PreviewFailed`` for one that can't be read."""
    return _read(path, limits.bytes + 1)


def contents_of(value: Any, limits: Limits) -> Any:
    """Return what is in a file in memory, or in an open one, which stays where it is; other values as they are.

    Of a large one on disk, or of text, only as much as tells that it is too large.
    """
    if isinstance(value, io.BytesIO):
        return value.getvalue()
    if not isinstance(value, io.IOBase) or not (value.readable() and value.seekable()):
        # A pipe would keep the thread.
        return value
    file: Any = value
    place = file.tell()
    try:
        file.seek(0)
        return file.read(limits.bytes + 1)
    finally:
        file.seek(place)


def _read(path: os.PathLike[str], size: int) -> bytes:
    try:
        # Only a regular file ends: a pipe or a device would keep the thread.
        if not os.path.isfile(path):
            raise PreviewFailed(f"there is no file {os.fspath(path)!r}")
        with open(path, "rb") as file:
            return file.read(size)
    except OSError as problem:
        raise PreviewFailed(f"the file {os.fspath(path)!r} can't be read: {problem.strerror}") from None
