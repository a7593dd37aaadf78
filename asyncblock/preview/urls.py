"""Data URLs, made in steps so that other threads run in between."""

from __future__ import annotations

from base64 import b64encode

from .turns import let_go

__all__ = ["data_url"]

_STEP = 3 << 16
"""Bytes that are encoded in base64 at once; a multiple of 3."""


def data_url(data: bytes | bytearray | memoryview, media_type: str = "image/png") -> str:
    """Return bytes as a data URL, letting other threads run in between."""
    parts = [f"data:{media_type};base64,"]
    view = memoryview(data)
    for start in range(0, len(view), _STEP):
        parts.append(b64encode(view[start : start + _STEP]).decode("ascii"))
        let_go()
    return "".join(parts)
