"""What a preview is, in a few fields beside it, so that a list of previews can be shown without fetching them."""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

__all__ = ["about"]

_TITLE = 200
"""Characters of a title, and of a note."""

_JPEG = 64 << 10
"""Bytes of a JPEG in which its size is looked for."""


def about(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a payload is: its type, and as far as they are known title, note, rows, columns, pixels, count."""
    data = payload.get("data")
    words: dict[str, Any] = {"type": payload.get("type")}
    for name in ("title", "note"):
        if isinstance(payload.get(name), str):
            words[name] = payload[name][:_TITLE]
    for name in ("mime_type", "needs"):
        if name in payload:
            words[name] = payload[name]
    if payload.get("type") == "table" and isinstance(data, dict):
        words["rows"] = data.get("row_count", len(data.get("rows", ())))
        words["columns"] = len(data.get("columns", ()))
    elif isinstance(data, list) and payload.get("type") in ("image", "group"):
        words["count"] = len(data)
    if payload.get("type") == "image":
        pixels = _pixels(data[0] if isinstance(data, list) and data else data)
        if pixels is not None:
            words["pixels"] = list(pixels)
    return words


def _pixels(url: Any) -> tuple[int, int] | None:
    """Return the width and height of a picture in a data URL, by its first bytes."""
    if not isinstance(url, str) or not url.startswith("data:image/"):
        return None
    head, _, data = url[: 4 * _JPEG // 3].partition(";base64,")
    try:
        first = b64decode(data[: len(data) // 4 * 4])
        if head == "data:image/png":
            width, height = struct.unpack(">II", first[16:24])
            return width, height
        if head == "data:image/gif":
            width, height = struct.unpack("<HH", first[6:10])
            return width, height
        return _of_jpeg(first) if head == "data:image/jpeg" else None
    except (ValueError, struct.error):
        return None


def _of_jpeg(data: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 < len(data) and data[place] == 0xFF:
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4])
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[place + 5 : place + 9])
            return width, height
        place += 2 + length
    return None
