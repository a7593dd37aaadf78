"""Arrays of numpy: their memory as it is, in their own byte order and in Fortran's or C's."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Any, Final

from .portableforms import Blocks, Form, FormSink, NotPortable, Pack, Unpack, pack, unpack

__all__ = ["UNPACK", "array_form", "array_of", "strided_form", "strided_of", "way_of"]


def way_of(value: Any) -> Pack | None:
    """Return how a value of numpy's is taken apart."""
    numpy: Any = sys.modules["numpy"]
    kind = type(value)
    if kind is numpy.ndarray:
        return lambda array, sink: ["array", sink.array(array)]
    if value is numpy.ma.masked:
        return lambda constant, sink: ["none_masked"]
    if kind is numpy.ma.MaskedArray:
        return _masked
    if isinstance(value, numpy.generic) and kind.__module__.partition(".")[0] == "numpy":
        return _scalar
    return None


def _scalar(value: Any, sink: FormSink) -> list[Any]:
    numpy: Any = sys.modules["numpy"]
    array = numpy.asarray(value)
    if array.dtype.kind in "SU" and array[()] != value:
        raise NotPortable("a text of numpy ends with NULs, which its arrays don't keep")
    return ["scalar", sink.array(array)]


def _masked(value: Any, sink: FormSink) -> list[Any]:
    numpy: Any = sys.modules["numpy"]
    if value._baseclass is not numpy.ndarray:
        raise NotPortable(f"it masks a {value._baseclass.__name__}")
    mask = None if value.mask is numpy.ma.nomask else sink.array(value.mask)
    # Asked for, it would be worked out and kept.
    fill = None if value._fill_value is None else sink.array(numpy.asarray(value._fill_value))
    return ["masked", sink.array(value.data), mask, fill, bool(value.hardmask), pack(dict(value._optinfo or {}), sink)]


def _of_masked(form: list[Any], blocks: Blocks) -> Any:
    numpy: Any = importlib.import_module("numpy")
    data = blocks.array(form[1])
    mask = numpy.ma.nomask if form[2] is None else blocks.array(form[2])
    fill = None if form[3] is None else blocks.array(form[3])
    made = numpy.ma.MaskedArray(data, mask=mask, copy=False, hard_mask=form[4])
    if fill is not None:
        made.fill_value = fill
    made._optinfo.update(unpack(form[5], blocks))
    return made


UNPACK: Final[dict[str, Unpack]] = {
    "array": lambda form, blocks: blocks.array(form[1]),
    "strided": lambda form, blocks: blocks.strided(form[1]),
    "scalar": lambda form, blocks: blocks.array(form[1])[()],
    "masked": _of_masked,
    "none_masked": lambda form, blocks: importlib.import_module("numpy").ma.masked,
}


# ---------------------------------------------------------------------- memory


def array_form(array: Any) -> Form:
    """Return how an array lies in memory: its type, shape and order. Raises ``NotPortable`` for one of objects."""
    dtype = array.dtype
    if (
        any(stride == 0 and length > 1 for stride, length in zip(array.strides, array.shape, strict=True))
        and array.nbytes
    ):
        raise NotPortable("an array of numpy repeats its memory (np.broadcast_to)")
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    return [_dtype_form(dtype), list(array.shape), order]


def strided_form(array: Any) -> Form:
    """Return how a part of an array lies in that one's memory. Raises ``NotPortable`` for one of objects."""
    return [_dtype_form(array.dtype), list(array.shape), list(array.strides)]


def _dtype_form(dtype: Any) -> Any:
    if dtype.hasobject or dtype.kind == "T":
        raise NotPortable(f"an array of numpy holds Python objects (dtype {dtype})")
    if dtype.names is None and dtype.metadata is None and dtype.subdtype is None and dtype.num < _USERS:
        return dtype.str
    numpy: Any = sys.modules["numpy"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        form = numpy.lib.format.dtype_to_descr(dtype)
        form = {"aligned": _listed(form)} if dtype.isalignedstruct else _listed(form)
        again = dtype_of(form)
    if again != dtype or _uncompared(again) != _uncompared(dtype):
        raise NotPortable(f"the dtype {dtype!r:.100} can't be written down")
    return form


_USERS: Final = 256
"""From here on numpy counts types that others have defined."""


def _uncompared(dtype: Any) -> list[Any]:
    """Return what numpy doesn't look at where it compares types: what an item is, say, ``np.record``."""
    inner = [] if dtype.subdtype is None else [dtype.subdtype]
    parts = [_uncompared(part[0]) for part in (*inner, *(dtype.fields or {}).values())]
    return [dtype.type, dtype.isalignedstruct, dict(dtype.metadata or {}), parts]


def _listed(form: Any) -> Any:
    return [_listed(each) for each in form] if isinstance(form, (list, tuple)) else form


def dtype_of(form: Any) -> Any:
    """Return a dtype that was written down."""
    numpy: Any = importlib.import_module("numpy")
    if isinstance(form, str):
        return numpy.dtype(form)
    if not isinstance(form, dict):
        return numpy.lib.format.descr_to_dtype(_tupled(form))
    plain = numpy.lib.format.descr_to_dtype(_tupled(form["aligned"]))
    fields = [plain.fields[name] for name in plain.names]
    kinds, offsets = [field[0] for field in fields], [field[1] for field in fields]
    titles = [field[2] if len(field) > 2 else None for field in fields]
    said = {"names": [*plain.names], "formats": kinds, "offsets": offsets, "itemsize": plain.itemsize}
    return numpy.dtype({**said, **({"titles": titles} if any(titles) else {})}, align=True)


def _tupled(form: Any) -> Any:
    """JSON has no tuples: fields are, and so are titles with names, shapes, and types with their shape."""
    if not isinstance(form, list):
        return form
    if form and all(isinstance(each, list) and len(each) >= 2 for each in form):
        return [
            (tuple(name) if isinstance(name, list) else name, _tupled(kind), *(tuple(each) for each in shape))
            for name, kind, *shape in form
        ]
    kind, shape = form
    return (_tupled(kind), tuple(shape))


def array_of(form: Form, memory: Any, offset: int) -> Any:
    """Return an array whose memory begins at an offset of a mapped file."""
    numpy: Any = importlib.import_module("numpy")
    dtype, shape, order = dtype_of(form[0]), tuple(form[1]), form[2]
    if dtype.itemsize == 0 or 0 in shape:
        return numpy.empty(shape, dtype, order)
    return numpy.ndarray(shape, dtype, buffer=memory, offset=offset, order=order)


def strided_of(form: Form, memory: Any, offset: int) -> Any:
    """Return an array whose first item is at an offset of a mapped file, and the others where its strides lead."""
    numpy: Any = importlib.import_module("numpy")
    return numpy.ndarray(tuple(form[1]), dtype_of(form[0]), buffer=memory, offset=offset, strides=tuple(form[2]))
