"""PNG: rows of bytes encoded in blocks, so that other threads run, and no larger than a preview may be."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable

from ..errors import PreviewFailed
from .limits import Limits
from .urls import data_url
from .yieldgil import yield_gil

__all__ = ["fitting_url", "png_of_rows", "steps"]

_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
"""PNG's colour type by the number of channels."""


def fitting_url(make: Callable[[int], bytes], limits: Limits) -> str:
    """Return a PNG's data URL; ``make`` is asked for one of at most so many pixels until it has few enough bytes.

    The second try nearly always fits: noise, which doesn't shrink by being packed, has bytes as it has pixels.
    """
    pixels = limits.pixels
    for _ in range(6):
        png = make(pixels)
        # Base64 makes four of three.
        size = len(png) * 4 // 3 + 40
        if size <= limits.bytes:
            return data_url(png)
        pixels = max(1, int(min(pixels, len(png)) * limits.bytes / size * 0.8))
    raise PreviewFailed(f"its picture has more than {limits.bytes:,} bytes however small it is made")


def steps(height: int, width: int, pixels: int) -> tuple[int, int]:
    """Return which rows and which columns are left, so that there are no more pixels than that."""
    step = math.ceil(math.sqrt(max(height * width / pixels, 1)))
    if height >= width:
        across = min(step, width)
        return max(step, math.ceil(height / max(pixels // math.ceil(width / across), 1))), across
    down = min(step, height)
    return down, max(step, math.ceil(width / max(pixels // math.ceil(height / down), 1)))


def png_of_rows(pixels: bytes, width: int, height: int, channels: int) -> bytes:
    """Encode rows of bytes as PNG, without filters."""
    line = width * channels
    packer = zlib.compressobj(4)
    packed: list[bytes] = []
    view = memoryview(pixels)
    block = max(1, (1 << 18) // max(line, 1))
    for start in range(0, height, block):
        rows = [view[y * line : (y + 1) * line] for y in range(start, min(start + block, height))]
        # In front of each row stands its filter: none.
        packed.append(packer.compress(b"\0".join((b"", *rows))))
        yield_gil()
    packed.append(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b"".join(packed)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
