"""Data URLs, made in steps so that other threads run in between."""

from __future__ import annotations

from base64 import b64decode, b64encode

from .yieldgil import yield_gil

__all__ = ["data_url", "from_base64"]

_STEP = 3 << 16
"""Bytes that are encoded in base64 at once; a multiple of 3."""


def data_url(data: bytes | bytearray | memoryview, media_type: str = "image/png") -> str:
    """Return bytes as a data URL, letting other threads run in between."""
    parts = [f"data:{media_type};base64,"]
    view = memoryview(data)
    for start in range(0, len(view), _STEP):
        parts.append(b64encode(view[start : start + _STEP]).decode("ascii"))
        yield_gil()
    return "".join(parts)


def from_base64(text: str) -> bytes:
    """Return the bytes of base64, which may have line breaks. Raises ``ValueError`` if it isn't base64."""
    parts: list[bytes] = []
    rest = ""
    for start in range(0, len(text), 4 * _STEP // 3):
        piece = rest + "".join(text[start : start + 4 * _STEP // 3].split())
        whole = len(piece) // 4 * 4
        parts.append(b64decode(piece[:whole], validate=True))
        rest = piece[whole:]
        yield_gil()
    if rest:
        raise ValueError("its last characters are missing")
    return b"".join(parts)
