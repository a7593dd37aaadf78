"""Floats of single and half precision: as the shortest number that is read back as the same, as outputs have them."""

from __future__ import annotations

import math
import sys
from typing import Any

from ..values import dumps, loads

__all__ = ["is_narrow", "narrow_list", "short_of"]


def is_narrow(dtype: Any) -> bool:
    """Tell whether a dtype of numpy or pandas is of floats with fewer bits than Python's."""
    return getattr(dtype, "kind", "") == "f" and getattr(dtype, "itemsize", 8) < 8


def narrow_list(array: Any) -> list[Any]:
    """Return a numpy array of such floats as Python's: 0.1, where ``tolist`` has 0.10000000149011612."""
    numpy = sys.modules["numpy"]
    if array.dtype.itemsize == 4 and not bool(numpy.isinf(array).any()):
        found: list[Any] = loads(dumps(numpy.ascontiguousarray(array)))
        return found
    return [float(str(each)) for each in array]


def short_of(values: list[Any], dtype: Any) -> list[Any]:
    """Return Python's floats as what they are in a narrow dtype; what isn't a float stays."""
    numpy = sys.modules["numpy"]
    kind = numpy.float32 if dtype.itemsize == 4 else numpy.float16
    return [float(str(kind(each))) if type(each) is float and math.isfinite(each) else each for each in values]
