"""Numbers as the brightness of pixels: which number is black, which is white, and words where that was a choice.

Bytes are what they are. Of other kinds of numbers, colours from 0 to 1 and from 0 to 255 are known by their range, 16
bits by their type or range; everything else, and grey that isn't bytes, goes from its smallest finite number (black)
to its largest (white). NaN is black; a picture that is all one number is middle grey.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["as_bytes"]

_OVERSHOOT = 0.1
"""How far colours from 0 to 1 may be outside, as interpolated ones are, and are cut off there. Where some are above 1
it may be more: then they aren't colours from -1 to 1, which are stretched."""

_GREY = 127


def as_bytes(array: Any) -> tuple[Any, str]:
    """Return an array of pixels (rows, columns, perhaps channels) as bytes, and words where something was chosen."""
    numpy = sys.modules["numpy"]
    if hasattr(array, "filled"):
        # What is masked is black.
        array = array.filled(0)
    kind = array.dtype.kind
    if array.dtype == "uint8":
        return array, ""
    if kind == "b":
        return array.astype("uint8") * 255, ""
    numbers = array.astype("float64" if array.dtype.itemsize > 4 or kind != "f" else "float32")
    finite = numbers[numpy.isfinite(numbers)]
    if not finite.size:
        return numpy.zeros(array.shape, "uint8"), "no pixel is a finite number: all are black"
    low, high = float(finite.min()), float(finite.max())
    if array.ndim == 2:
        return _stretched(numpy, numbers, low, high)
    return _colours(numpy, numbers, array.dtype, low, high)


def _colours(numpy: Any, numbers: Any, kind: Any, low: float, high: float) -> tuple[Any, str]:
    if kind.kind == "f" and ((low >= -_OVERSHOOT and high <= 1 + _OVERSHOOT) or (low >= -1 and 1 < high <= 2)):
        words = "" if low >= 0 and high <= 1 else f"numbers from {low:g} to {high:g} are cut off at 0 and 1"
        return _rounded(numpy, numbers * 255), words
    if low >= 0 and high <= 255:
        return _rounded(numpy, numbers), "numbers from 0 to 255 are taken for bytes" if kind.kind == "f" else ""
    if low >= 0 and high <= 65535 and kind.kind in "ui":
        return _rounded(numpy, numbers / 257), "16 bits are shown as 8"
    shown, words = _stretched(numpy, numbers, low, high)
    if numbers.shape[-1] == 4:
        shown[..., 3] = _rounded(numpy, numbers[..., 3] * (255 if high <= 1 else 1))
    return shown, words


def _stretched(numpy: Any, numbers: Any, low: float, high: float) -> tuple[Any, str]:
    if high == low:
        return numpy.where(numpy.isnan(numbers), 0, _GREY).astype("uint8"), f"all pixels are {low:g}"
    # Halves first: the difference of the largest numbers is infinite.
    scaled = (numbers / 2 - low / 2) / (high / 2 - low / 2) * 255
    return numpy.nan_to_num(scaled, nan=0, posinf=255, neginf=0).clip(0, 255).astype("uint8"), (
        f"from {low:g} (black) to {high:g} (white)"
    )


def _rounded(numpy: Any, numbers: Any) -> Any:
    return numpy.nan_to_num(numbers, nan=0, posinf=255, neginf=0).clip(0, 255).round().astype("uint8")
