"""Arrays as pictures: made smaller before their numbers are looked at, then encoded as PNG.

Each step is one of numpy's on at most ``Limits.pixels`` pixels, which lets other threads run meanwhile.
"""

from __future__ import annotations

import sys
from typing import Any

from ..errors import PreviewFailed
from .cells import cell, safe_str, shortened
from .levels import as_bytes
from .limits import Limits
from .png import fitting_url, png_of_rows, steps
from .registry import register_builtin
from .table import array_payload

__all__ = ["Pixels", "is_picture", "picture_payload"]

_SMALLEST_GREY = 32
"""Sides from which a matrix of bytes is taken for a grey picture, and not for a table."""

_SAMPLE = 100
"""Rows and columns of whole numbers that are looked at to tell whether they are colours."""


class Pixels:
    """An array of which its author says that it is a picture."""

    def __init__(self, array: Any) -> None:
        self.array = array


def is_picture(array: Any) -> bool:
    """Tell whether an array is a picture by itself: one, three or four channels in the last axis, or grey bytes."""
    kind, shape = array.dtype.kind, array.shape
    if array.ndim == 3 and shape[2] in (1, 3, 4) and kind in "fbui" and min(shape) > 0:
        return kind in "fb" or array.dtype == "uint8" or _are_colours(array)
    return bool(array.ndim == 2 and array.dtype == "uint8" and min(shape) >= _SMALLEST_GREY)


def _are_colours(array: Any) -> bool:
    """Tell whether whole numbers of more bits are in the range of colours, by some of them."""
    down, across = (max(1, side // _SAMPLE) for side in array.shape[:2])
    some = array[::down, ::across]
    return bool(some.min() >= 0 and some.max() <= 65535)


def picture_payload(array: Any, limits: Limits) -> dict[str, Any]:
    """Return a picture; of a large one every n-th row and column. Raises ``PreviewFailed`` for what isn't one."""
    array = _channels_last(array)
    words: set[str] = set()

    def make(pixels: int) -> bytes:
        down, across = steps(array.shape[0], array.shape[1], pixels)
        shown, chosen = as_bytes(array[::down, ::across])
        if chosen:
            words.add(chosen)
        height, width = shown.shape[:2]
        return png_of_rows(shown.tobytes(), width, height, shown.shape[2] if shown.ndim == 3 else 1)

    payload = {"type": "image", "data": fitting_url(make, limits)}
    return {**payload, "note": "; ".join(sorted(words))} if words else payload


def _channels_last(array: Any) -> Any:
    """Return an array of rows, columns and perhaps channels."""
    shape = array.shape
    if array.dtype.kind not in "fbui":
        raise PreviewFailed(f"an image can't be made of an array of {array.dtype}")
    if array.ndim == 3 and shape[2] not in (1, 3, 4) and shape[0] in (1, 3, 4):
        # As torch has them.
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))) or not min(array.shape):
        raise PreviewFailed(f"an image can't be made of an array of {' x '.join(map(str, shape))}")
    return array


def _array(array: Any, limits: Limits) -> Any:
    numpy = sys.modules["numpy"]
    if type(array).__name__ == "matrix":
        # A row of a matrix is a matrix.
        array = array.A
    elif type(array) is not numpy.ndarray and getattr(array, "unit", None) is not None:
        return _with_unit(array, numpy, limits)
    if is_picture(array):
        return picture_payload(array, limits)
    if array.ndim == 0:
        return {"type": "json", "data": cell(array[()], limits)}
    if array.ndim <= 2:
        return array_payload(array, limits)
    corner = array[tuple(slice(0, 1) for _ in array.shape[:-2])].reshape(array.shape[-2:]) if array.size else array
    text = f"array of {' x '.join(map(str, array.shape))}, {array.dtype}"
    if not array.size:
        return {"type": "text", "data": text}
    first = [[cell(value, limits) for value in row[:5]] for row in corner[:5]]
    return {"type": "text", "data": shortened(f"{text}; it begins with {first}", limits.text)}


def _with_unit(array: Any, numpy: Any, limits: Limits) -> dict[str, Any]:
    """Show the numbers of astropy's quantities, and what they are of."""
    if array.ndim == 0:
        return {"type": "text", "data": safe_str(array, limits.text)}
    return {**_array(array.view(numpy.ndarray), limits), "note": shortened(f"in {array.unit}", 200)}


def _pixels(pixels: Pixels, limits: Limits) -> dict[str, Any]:
    array = pixels.array
    numpy = sys.modules["numpy"]
    return picture_payload(array if isinstance(array, numpy.ndarray) else numpy.asarray(array), limits)


register_builtin("numpy.ndarray", _array)
register_builtin(Pixels, _pixels)
