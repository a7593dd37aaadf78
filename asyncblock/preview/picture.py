"""Pictures: arrays and Pillow images as PNG, made smaller before they are encoded. zlib lets other threads run."""

from __future__ import annotations

import math
import struct
import zlib
from base64 import b64encode
from typing import Any

from .cells import cell, shortened
from .limits import Limits
from .registry import register_builtin
from .table import array_table
from .turns import let_go

__all__ = ["data_url", "is_picture", "png_of_array"]

_STEP = 3 << 16
"""Bytes that are encoded in base64 at once; a multiple of 3."""

_SMALLEST_GREY = 32
"""Sides from which a matrix of bytes is taken for a grey picture, and not for a table."""

_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
"""PNG's colour type by the number of channels."""


def data_url(data: bytes, media_type: str = "image/png") -> str:
    """Return bytes as a data URL, letting other threads run in between."""
    parts = [f"data:{media_type};base64,"]
    view = memoryview(data)
    for start in range(0, len(view), _STEP):
        parts.append(b64encode(view[start : start + _STEP]).decode("ascii"))
        let_go()
    return "".join(parts)


def is_picture(array: Any) -> bool:
    """Tell whether an array is a picture: three or four channels of bytes or of numbers from 0 to 1, or grey bytes."""
    kind, shape = array.dtype.kind, array.shape
    if array.ndim == 3 and shape[2] in (3, 4):
        return min(shape) > 0 and (array.dtype == "uint8" or kind in "fb")
    return bool(array.ndim == 2 and array.dtype == "uint8" and min(shape) >= _SMALLEST_GREY)


def png_of_array(array: Any, limits: Limits) -> bytes:
    """Return a picture as PNG; of a large one every n-th row and column."""
    down, across = _steps(array.shape[0], array.shape[1], limits.pixels)
    shown = array[::down, ::across]
    if hasattr(shown, "filled"):
        # What is masked is black.
        shown = shown.filled(0)
    if shown.dtype.kind == "f":
        # NaN is black; beyond 0 and 1 is clipped.
        shown = ((shown > 0) * shown.clip(0, 1) * 255).round()
        shown[shown != shown] = 0
    elif shown.dtype.kind == "b":
        shown = shown * 255
    shown = shown.astype("uint8")
    height, width = shown.shape[:2]
    channels = shown.shape[2] if shown.ndim == 3 else 1
    return _png(shown.tobytes(), width, height, channels)


def _steps(height: int, width: int, pixels: int) -> tuple[int, int]:
    """Return which rows and which columns are left, so that there are no more pixels than that."""
    step = math.ceil(math.sqrt(max(height * width / pixels, 1)))
    if height >= width:
        across = min(step, width)
        return max(step, math.ceil(height / max(pixels // math.ceil(width / across), 1))), across
    down = min(step, height)
    return down, max(step, math.ceil(width / max(pixels // math.ceil(height / down), 1)))


def _png(pixels: bytes, width: int, height: int, channels: int) -> bytes:
    """Encode rows of bytes as PNG, without filters."""
    line = width * channels
    packer = zlib.compressobj(4)
    packed: list[bytes] = []
    view = memoryview(pixels)
    block = max(1, (1 << 18) // max(line, 1))
    for start in range(0, height, block):
        rows = (b"\0" + bytes(view[y * line : (y + 1) * line]) for y in range(start, min(start + block, height)))
        packed.append(packer.compress(b"".join(rows)))
        let_go()
    packed.append(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b"".join(packed)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _array(array: Any, limits: Limits) -> dict[str, Any]:
    if type(array).__name__ == "matrix":
        # A row of a matrix is a matrix.
        array = array.A
    if is_picture(array):
        return {"type": "image", "data": data_url(png_of_array(array, limits))}
    if array.ndim == 0:
        return {"type": "json", "data": cell(array[()], limits)}
    if array.ndim <= 2:
        return {"type": "table", "data": array_table(array, limits)}
    corner = array[tuple(slice(0, 1) for _ in array.shape[:-2])].reshape(array.shape[-2:]) if array.size else array
    text = f"array of {' x '.join(map(str, array.shape))}, {array.dtype}"
    if not array.size:
        return {"type": "text", "data": text}
    first = [[cell(value, limits) for value in row[:5]] for row in corner[:5]]
    return {"type": "text", "data": shortened(f"{text}; it begins with {first}", limits.text)}


def _pillow(image: Any, limits: Limits) -> dict[str, Any]:
    width, height = image.size
    if width * height > limits.source_pixels:
        text = f"a picture of {width:,} x {height:,} pixels; the limit is {limits.source_pixels:,} pixels"
        return {"type": "text", "data": text}
    if not width * height:
        return {"type": "text", "data": f"a picture of {width} x {height} pixels"}
    shown = _in_bytes(image)
    down, across = _steps(height, width, limits.pixels)
    if down > 1 or across > 1:
        shown = shown.reduce((across, down))
    width, height = shown.size
    png = _png(shown.tobytes(), width, height, len(shown.getbands()))
    return {"type": "image", "data": data_url(png)}


def _in_bytes(image: Any) -> Any:
    """Return a picture of one, three or four channels of bytes. Grey ones of more bits go from their darkest to their
    brightest."""
    if image.mode in ("L", "RGB", "RGBA"):
        return image
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        low, high = image.getextrema()
        scale = 255 / (high - low) if high > low else 0.0
        start = low * scale
        return image.convert("F").point(lambda value: value * scale - start).convert("L")
    alpha = image.mode in ("RGBa", "LA", "La", "PA") or "transparency" in image.info
    return image.convert("RGBA" if alpha else "RGB")


register_builtin("numpy.ndarray", _array)
register_builtin("PIL.Image.Image", _pillow)
