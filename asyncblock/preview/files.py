"""Files that an author shows by their path: read here, as far as a preview may be large."""

from __future__ import annotations

import os

from ..errors import PreviewFailed
from .limits import Limits

__all__ = ["beginning_of", "whole_of"]


def whole_of(path: os.PathLike[str], limits: Limits) -> bytes:
    """Read a file. Raises ``PreviewFailed`` for one that is too large or can't be read."""
    data = _read(path, limits.bytes + 1)
    if len(data) > limits.bytes:
        raise PreviewFailed(f"the file {os.fspath(path)!r} has more than the limit of {limits.bytes:,} bytes")
    return data


def beginning_of(path: os.PathLike[str], limits: Limits) -> bytes:
    """Read the beginning of a file. Raises ``PreviewFailed`` for one that can't be read."""
    return _read(path, limits.bytes + 1)


def _read(path: os.PathLike[str], size: int) -> bytes:
    try:
        # Only a regular file ends: a pipe or a device would keep the thread.
        if not os.path.isfile(path):
            raise PreviewFailed(f"there is no file {os.fspath(path)!r}")
        with open(path, "rb") as file:
            return file.read(size)
    except OSError as problem:
        raise PreviewFailed(f"the file {os.fspath(path)!r} can't be read: {problem.strerror}") from None
