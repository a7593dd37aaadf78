"""Pillow's images as PNG, made smaller strip by strip before they are converted; those that move as they are.

A strip has at most ``_STRIP`` pixels: no call holds the GIL for longer than those take.
"""

from __future__ import annotations

import array
import io
import math
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

from ..values.brought import brought
from .levels import as_bytes
from .limits import Limits
from .png import fitting_url, png_of_rows, steps
from .registry import register_builtin
from .signatures import IN_BROWSERS, media_type_of
from .urls import data_url
from .yieldgil import yield_gil

__all__ = ["opened"]

_STRIP = 1 << 20
"""Pixels of a strip."""

_ORIENTATION = 0x0112
"""EXIF's tag of how the camera was held."""

_TURNS = {
    2: ("FLIP_LEFT_RIGHT",),
    3: ("ROTATE_180",),
    4: ("FLIP_TOP_BOTTOM",),
    5: ("TRANSPOSE",),
    6: ("ROTATE_270",),
    7: ("TRANSVERSE",),
    8: ("ROTATE_90",),
}

_MOVING = {"GIF": "image/gif", "WEBP": "image/webp", "PNG": "image/png"}
"""Formats that browsers show moving."""

_FRAMES = 60
"""Frames of an animation that has to be made smaller."""

_LARGEST_FILE = 64 << 20
"""Bytes of an animation's file that is read at all."""


def opened(data: bytes | bytearray | memoryview) -> Any:
    """Open a picture that browsers don't show, if Pillow is there and knows it; else return None."""
    media_type = media_type_of(data)
    images = brought("PIL.Image", "Image")
    if images is None or media_type is None or not media_type.startswith("image/") or media_type in IN_BROWSERS:
        return None
    try:
        return images.open(io.BytesIO(data))
    except Exception:
        # Whatever a broken file makes Pillow raise, or warn of where warnings are errors.
        return None


def _pillow(image: Any, limits: Limits) -> dict[str, Any]:
    width, height = image.size
    if width * height > limits.source_pixels:
        text = f"a picture of {width:,} x {height:,} pixels; the limit is {limits.source_pixels:,} pixels"
        return {"type": "text", "data": text}
    if not width * height:
        return {"type": "text", "data": f"a picture of {width} x {height} pixels"}
    moving = _moving(image, limits)
    if moving is not None:
        return moving
    image.load()
    words: set[str] = set()
    payload = {"type": "image", "data": fitting_url(lambda pixels: _png(image, pixels, words), limits)}
    return {**payload, "note": "; ".join(sorted(words))} if words else payload


def _moving(image: Any, limits: Limits) -> dict[str, Any] | None:
    """Show an animation, as the file that it is or made smaller; None for a still, and where its file is gone."""
    media_type = _MOVING.get(getattr(image, "format", None) or "")
    if media_type is None or not getattr(image, "is_animated", False):
        return None
    data = _file_of(image, media_type)
    if data is None:
        return None
    if len(data) * 4 <= limits.bytes * 3 and image.size[0] * image.size[1] <= limits.pixels:
        return {"type": "image", "data": data_url(data, media_type)}
    # Of our own, so that the author's image stays at its frame.
    return _smaller(sys.modules["PIL.Image"].open(io.BytesIO(data)), limits)


def _file_of(image: Any, media_type: str) -> bytes | None:
    """Read the file that an image came from; its place stays where it is."""
    for name in ("fp", "_fp"):
        file = getattr(image, name, None)
        with suppress(OSError, ValueError, AttributeError):
            place = file.tell()  # type: ignore[union-attr]  # suppressed
            try:
                file.seek(0)  # type: ignore[union-attr]  # suppressed
                data: bytes = file.read(_LARGEST_FILE + 1)  # type: ignore[union-attr]  # suppressed
            finally:
                file.seek(place)  # type: ignore[union-attr]  # suppressed
            # Once it is loaded, it may have only a frame.
            if len(data) <= _LARGEST_FILE and media_type_of(data) == media_type:
                return data
    return None


def _smaller(image: Any, limits: Limits) -> dict[str, Any] | None:
    """Return the first frames as a GIF, of as many pixels as are surely few enough bytes: one or less for each."""
    count = min(image.n_frames, _FRAMES)
    side = math.sqrt(min(limits.pixels, limits.bytes // 2 // count))
    frames, durations = [], []
    for number in range(count):
        image.seek(number)
        frame = image.convert("RGB")
        frame.thumbnail((side, side))
        frames.append(frame)
        durations.append(image.info.get("duration", 100))
        yield_gil()
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    if buffer.tell() * 4 > limits.bytes * 3:
        return None
    note = f"{count} of {image.n_frames} frames, made smaller"
    return {"type": "image", "data": data_url(buffer.getvalue(), "image/gif"), "note": note}


def _png(image: Any, pixels: int, words: set[str]) -> bytes:
    width, height = image.size
    down, across = steps(height, width, pixels)
    is_wide = image.mode in ("I", "F") or image.mode.startswith("I;16")
    rows = max(1, _STRIP // width // down) * down
    parts: list[bytes] = []
    lines, mode = 0, image.mode
    for top in range(0, height, rows):
        strip = image if rows >= height else image.crop((0, top, width, min(top + rows, height)))
        strip.info = image.info
        part = _wide(strip, down, across) if is_wide else _reduced(_in_bytes(strip), down, across)
        yield_gil()
        # Each by itself: Pillow packs a picture in small steps, between which it holds the GIL.
        parts.append(part.tobytes())
        mode, lines = part.mode, lines + part.size[1]
        yield_gil()
    size = (math.ceil(width / across), lines)
    data = b"".join(parts)
    if is_wide:
        data, mode = _grey(data, size, words), "L"
    turn = _TURNS.get(_orientation(image))
    if turn is not None:
        module = sys.modules["PIL.Image"]
        turned = module.frombytes(mode, size, data)
        for name in turn:
            turned = turned.transpose(getattr(module.Transpose, name))
        data, size = turned.tobytes(), turned.size
    return png_of_rows(data, *size, len(mode))


def _orientation(image: Any) -> Any:
    try:
        return image.getexif().get(_ORIENTATION)
    except Exception:  # a file's own, which may be broken
        return None


def _reduced(strip: Any, down: int, across: int) -> Any:
    return strip.reduce((across, down)) if down > 1 or across > 1 else strip


def _wide(strip: Any, down: int, across: int) -> Any:
    """Return some pixels of a strip of more bits: Pillow can't average those of 16."""
    if down > 1 or across > 1:
        width, height = strip.size
        strip = strip.resize((math.ceil(width / across), math.ceil(height / down)), 0)
    if strip.mode.startswith("I;16"):
        strip = strip.convert("I")
    return strip.convert("F")


def _grey(data: bytes, size: tuple[int, int], words: set[str]) -> bytes:
    """Return floats as bytes, from the darkest to the brightest."""
    numpy = brought("numpy", "ndarray")
    if numpy is not None:
        shown, chosen = as_bytes(numpy.frombuffer(data, "float32").reshape(size[1], size[0]))
        words.add(chosen)
        made: bytes = shown.tobytes()
        return made
    # Images come without numpy, too; Pillow itself doesn't know of NaN.
    numbers = array.array("f", data)
    low, high = math.inf, -math.inf
    blocks = range(0, len(numbers), 50_000)
    for start in blocks:
        finite = [each for each in numbers[start : start + 50_000] if math.isfinite(each)]
        low, high = min(low, min(finite, default=low)), max(high, max(finite, default=high))
        yield_gil()
    words.add(f"all pixels are {low:g}" if low == high else f"from {low:g} (black) to {high:g} (white)")
    scale = 255 / (high - low) if high > low else 0.0
    parts = []
    for start in blocks:
        block = numbers[start : start + 50_000]
        parts.append(bytes(_byte(each, low, scale) for each in block))
        yield_gil()
    return b"".join(parts)


def _byte(number: float, low: float, scale: float) -> int:
    if math.isnan(number):
        return 0
    if math.isinf(number):
        return 255 if number > 0 else 0
    return min(255, max(0, int((number - low) * scale))) if scale else 127


def _in_bytes(image: Any) -> Any:
    """Return a picture of one, three or four channels of bytes."""
    if image.mode == "RGBA" or (image.mode in ("L", "RGB") and "transparency" not in image.info):
        return image
    if image.mode == "LAB":
        colours = import_module("PIL.ImageCms")
        lab, rgb = (colours.createProfile(name) for name in ("LAB", "sRGB"))
        return colours.profileToProfile(image, lab, rgb, outputMode="RGB")
    if image.mode == "La":
        # There is no straight way.
        image = image.convert("LA")
    alpha = image.mode in ("RGBa", "LA", "PA") or "transparency" in image.info
    return image.convert("RGBA" if alpha else "RGB")


register_builtin("PIL.Image.Image", _pillow)
