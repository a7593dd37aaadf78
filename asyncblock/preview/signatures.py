"""What bytes are, by the first of them: pictures, sounds and films that a person might show."""

from __future__ import annotations

from typing import Any

from ..errors import PreviewFailed
from .limits import Limits
from .urls import data_url

__all__ = ["IN_BROWSERS", "is_cut", "media_type_of", "picture_of_bytes", "url_of"]

_BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"BM": "image/bmp",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"\0\0\1\0": "image/x-icon",
    b"\0\0\0\x0cjP  \r\n\x87\n": "image/jp2",
    b"\0\0\0\x0cJXL \r\n\x87\n": "image/jxl",
    b"\xffO\xffQ": "image/jp2",
    b"ID3": "audio/mpeg",
    b"\xff\xfb": "audio/mpeg",
    b"fLaC": "audio/flac",
    b"OggS": "audio/ogg",
    b"\x1aE\xdf\xa3": "video/webm",
}

_IN_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_IN_FTYP = {
    b"avif": "image/avif",
    b"avis": "image/avif",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"M4A ": "audio/mp4",
}

IN_BROWSERS = frozenset(
    {
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/bmp",
        "image/avif",
        "image/svg+xml",
        "image/x-icon",
    }
)
"""Media types of pictures that every browser shows."""


def media_type_of(data: bytes | bytearray | memoryview) -> str | None:
    """Return the media type that bytes begin like; None for others."""
    head = bytes(data[:256])
    if head[:4] == b"RIFF":
        return _IN_RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _IN_FTYP.get(head[8:12], "video/mp4")
    if head[:2] == b"BM":
        # Two letters are no sign; a bitmap has its own size behind them, and zeros.
        return "image/bmp" if len(head) >= 26 and head[6:10] == b"\0\0\0\0" else None
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return "image/svg+xml"
    return next((kind for beginning, kind in _BEGINNINGS.items() if head.startswith(beginning)), None)


def is_cut(data: bytes | bytearray | memoryview, media_type: str) -> bool:
    """Tell whether bytes are only the beginning of a picture."""
    ends = _ENDS.get(media_type)
    return ends is not None and not ends(memoryview(data))


def _png_ends(data: memoryview) -> bool:
    place = 8
    while place + 12 <= len(data):
        if bytes(data[place + 4 : place + 8]) == b"IEND":
            return True
        place += 12 + int.from_bytes(data[place : place + 4])
    return False


def _jpeg_ends(data: memoryview) -> bool:
    return bytes(data[-_TRAILER:]).rfind(b"\xff\xd9") >= 0


def _gif_ends(data: memoryview) -> bool:
    return bytes(data[-_TRAILER:]).rstrip(b"\0").endswith(b";")


def _webp_ends(data: memoryview) -> bool:
    return len(data) >= 8 + int.from_bytes(data[4:8], "little")


_TRAILER = 1 << 20
"""Bytes that some programs put behind a picture, at most."""

_ENDS = {"image/png": _png_ends, "image/jpeg": _jpeg_ends, "image/gif": _gif_ends, "image/webp": _webp_ends}


def url_of(data: bytes | bytearray | memoryview, kind: str, limits: Limits) -> str:
    """Return bytes of a kind ("image", "audio", "video") as a data URL. Raises ``PreviewFailed`` for what isn't one."""
    media_type = media_type_of(data)
    if media_type is None or media_type.partition("/")[0] != kind:
        what = media_type or "of no format that is known"
        raise PreviewFailed(f"the {len(data):,} bytes under 'data' aren't {kind}: they are {what}")
    if kind == "image" and media_type not in IN_BROWSERS:
        raise PreviewFailed(f"browsers don't show {media_type}: open it by Pillow, and show that")
    if is_cut(data, media_type):
        raise PreviewFailed(
            f"the {media_type} is only a part of a picture: after {len(data):,} bytes its end is missing"
        )
    if len(data) * 4 > limits.bytes * 3:
        raise PreviewFailed(f"the {media_type} has {len(data):,} bytes; the limit is {limits.bytes * 3 // 4:,} bytes")
    return data_url(data, media_type)


def picture_of_bytes(value: Any, limits: Limits) -> dict[str, Any] | None:
    """Show bytes that begin as a picture does; None for others."""
    if not isinstance(value, (bytes, bytearray, memoryview)):
        return None
    media_type = media_type_of(value)
    if media_type not in IN_BROWSERS:
        return None
    return {"type": "image", "data": url_of(value, "image", limits), "mime_type": media_type}
