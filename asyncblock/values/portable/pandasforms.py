"""What pandas holds: arrays of numpy as raw memory, Arrow's as Arrow, everything else by its parts."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import Any, Final

from .arrow import arrow_of, arrow_to
from .portableforms import Blocks, Form, FormSink, NotPortable, Pack, Unpack, key_of, pack, pinned, unpack
from .zones import zone_form, zone_of

__all__ = ["UNPACK", "way_of"]


def way_of(value: Any) -> Pack | None:
    """Return how a value of pandas' is taken apart."""
    pandas: Any = sys.modules["pandas"]
    kind = type(value)
    if kind is pandas.DataFrame:
        return _frame
    if kind is pandas.Series:
        return _series
    if isinstance(value, pandas.Index) and kind.__module__.partition(".")[0] == "pandas":
        return lambda index, sink: ["index", _index(index, sink)]
    if value is pandas.NaT:
        return lambda value, sink: ["nat"]
    if value is pandas.NA:
        return lambda value, sink: ["na"]
    return {"Timestamp": _stamp, "Timedelta": _delta, "Period": _period, "Interval": _interval}.get(kind.__name__)


def _library() -> Any:
    return importlib.import_module("pandas")


# ---------------------------------------------------------------------- frames and series


def _frame(frame: Any, sink: FormSink) -> list[Any]:
    count = frame.shape[1]
    columns = _index(frame.columns, sink, "the names of the columns")
    manager = getattr(frame, "_mgr", None)
    if count and getattr(manager, "nblocks", 0) == 1 and _is_plain(frame.dtypes.iloc[0]):
        # One block of memory, which lies the other way round.
        data: Form = ["block", sink.array(frame.to_numpy(copy=False))]
    else:
        pinned(sink, count, "columns")
        data = ["columns", [_column(frame, place, sink) for place in range(count)]]
    return ["frame", data, columns, _index(frame.index, sink, "the index"), _extras(frame, sink)]


def _column(frame: Any, place: int, sink: FormSink) -> Form:
    try:
        return _data(frame.iloc[:, place], sink)
    except NotPortable as error:
        raise NotPortable(f"column {frame.columns[place]!r:.80}: {error}") from None


def _of_frame(form: list[Any], blocks: Blocks) -> Any:
    pandas = _library()
    _, (how, data), columns, index, extras = form
    rows = _of_index(index, blocks)
    if how == "block":
        frame = pandas.DataFrame(blocks.array(data), index=rows, copy=False)
    else:
        series = {place: _series_of(_of_data(each, blocks), rows) for place, each in enumerate(data)}
        frame = pandas.DataFrame(series, index=rows, columns=range(len(data)), copy=False)
    frame.columns = _of_index(columns, blocks)
    return _with_extras(frame, extras, blocks)


def _series(series: Any, sink: FormSink) -> list[Any]:
    return [
        "series",
        _data(series, sink),
        _index(series.index, sink, "the index"),
        pack(series.name, sink),
        _extras(series, sink),
    ]


def _of_series(form: list[Any], blocks: Blocks) -> Any:
    _, data, index, name, extras = form
    series = _series_of(_of_data(data, blocks), _of_index(index, blocks))
    series.name = unpack(name, blocks)
    return _with_extras(series, extras, blocks)


def _series_of(data: Any, index: Any) -> Any:
    # The dtype is said: of dates in other units and of texts another one would be guessed.
    return _library().Series(data, index=index, dtype=data.dtype, copy=False)


def _extras(value: Any, sink: FormSink) -> Form:
    attrs = pack(dict(value.attrs), sink) if value.attrs else None
    return [attrs, bool(value.flags.allows_duplicate_labels)]


def _with_extras(value: Any, form: Form, blocks: Blocks) -> Any:
    attrs, duplicates = form
    if attrs is not None:
        value.attrs.update(unpack(attrs, blocks))
    if not duplicates:
        value.flags.allows_duplicate_labels = False
    return value


# ---------------------------------------------------------------------- the data of a column


def _is_numpy(dtype: Any) -> bool:
    return isinstance(dtype, sys.modules["numpy"].dtype)


def _is_plain(dtype: Any) -> bool:
    return _is_numpy(dtype) and dtype.kind in "biufcmM"


def _data(holder: Any, sink: FormSink) -> Form:
    """Take the data of a series or an index apart."""
    dtype = holder.dtype
    if _is_plain(dtype):
        return ["plain", sink.array(holder.to_numpy())]
    pandas, array = _library(), holder.array
    if getattr(dtype, "kind", None) == "O" and _is_numpy(dtype):
        if len(holder):
            raise NotPortable("it holds Python objects (dtype object)")
        return ["nothing"]
    if isinstance(dtype, pandas.CategoricalDtype):
        return ["category", sink.array(array.codes), _index(array.categories, sink, "the categories"), array.ordered]
    if isinstance(dtype, pandas.DatetimeTZDtype):
        return ["zoned", sink.array(array.view("i8")), dtype.unit, zone_form(dtype.tz)]
    if isinstance(dtype, pandas.PeriodDtype):
        return ["period", sink.array(array.asi8), _span(dtype.freq)]
    if isinstance(dtype, pandas.IntervalDtype):
        return ["interval", _index(array.left, sink), _index(array.right, sink), array.closed]
    if isinstance(dtype, pandas.StringDtype):
        return _texts(array, sink)
    if isinstance(dtype, pandas.ArrowDtype):
        return ["arrow", arrow_to(array.__arrow_array__(), sink)]
    if type(array).__name__ in _MASKED and type(array).__module__.partition(".")[0] == "pandas":
        return ["masked", type(array).__name__, sink.array(array._data), sink.array(array._mask)]
    raise NotPortable(f"nothing is known of how a column of dtype {dtype} is had in another process")


_MASKED: Final = frozenset({"IntegerArray", "FloatingArray", "BooleanArray"})


def _of_data(form: list[Any], blocks: Blocks) -> Any:
    return _DATA[form[0]](form, blocks)


def _of_zoned(form: list[Any], blocks: Blocks) -> Any:
    pandas = _library()
    dtype = pandas.DatetimeTZDtype(form[2], zone_of(form[3]))
    return pandas.array(blocks.array(form[1]), dtype=dtype, copy=False)


def _of_period(form: list[Any], blocks: Blocks) -> Any:
    pandas = _library()
    return pandas.arrays.PeriodArray(blocks.array(form[1]), dtype=pandas.PeriodDtype(form[2]))


def _of_interval(form: list[Any], blocks: Blocks) -> Any:
    pandas = _library()
    left, right = _of_index(form[1], blocks), _of_index(form[2], blocks)
    return pandas.arrays.IntervalArray.from_arrays(left, right, closed=form[3])


def _of_category(form: list[Any], blocks: Blocks) -> Any:
    codes, categories = blocks.array(form[1]), _of_index(form[2], blocks)
    dtype = _library().CategoricalDtype(categories, ordered=form[3])
    return _library().Categorical.from_codes(codes, dtype=dtype, validate=False)


def _of_masked(form: list[Any], blocks: Blocks) -> Any:
    return getattr(_library().arrays, form[1])(blocks.array(form[2]), blocks.array(form[3]))


_DATA: Final[dict[str, Callable[[list[Any], Blocks], Any]]] = {
    "plain": lambda form, blocks: blocks.array(form[1]),
    "nothing": lambda form, blocks: importlib.import_module("numpy").empty(0, object),
    "category": _of_category,
    "zoned": _of_zoned,
    "period": _of_period,
    "interval": _of_interval,
    "text": lambda form, blocks: _of_texts(form, blocks),
    "arrow": lambda form, blocks: _library().arrays.ArrowExtensionArray(arrow_of(form[1], blocks)),
    "masked": _of_masked,
}


# ---------------------------------------------------------------------- texts


def _texts(array: Any, sink: FormSink) -> Form:
    dtype = array.dtype
    # ``nan`` or ``pd.NA`` says what is missing; it is no part of the storage's name since pandas 2.3.
    nan = getattr(dtype, "na_value", None) is not _library().NA
    storage = dtype.storage
    if storage != "python":
        return ["text", storage, nan, arrow_to(array.__arrow_array__(), sink)]
    size = int(array.nbytes)
    return ["text", storage, nan, sink.arrow(size, lambda file: _write_texts(array, file))]


def _write_texts(array: Any, file: Any) -> None:
    """Write texts that are Python's: how many there are, their lengths (-1 for what is missing), and then they."""
    numpy: Any = sys.modules["numpy"]
    missing = array.isna()
    pieces = [b"" if gone else each.encode("utf-8", "surrogatepass") for each, gone in zip(array, missing, strict=True)]
    lengths = numpy.fromiter((len(piece) for piece in pieces), numpy.int64, len(pieces))
    lengths[missing] = -1
    file.write(numpy.int64(len(pieces)).tobytes())
    file.write(lengths.tobytes())
    file.write(b"".join(pieces))


def _of_texts(form: list[Any], blocks: Blocks) -> Any:
    pandas = _library()
    _, storage, nan, data = form
    missing = float("nan") if nan else pandas.NA
    try:
        dtype = pandas.StringDtype(storage, na_value=missing)
    except TypeError:
        # Before pandas 2.3.
        dtype = pandas.StringDtype(storage)
    if storage != "python":
        return dtype.__from_arrow__(arrow_of(data, blocks))
    numpy: Any = sys.modules["numpy"]
    raw = blocks.raw(data)
    count = int(numpy.frombuffer(raw[:8], numpy.int64)[0])
    lengths = numpy.frombuffer(raw[8 : 8 + 8 * count], numpy.int64)
    made = numpy.empty(count, object)
    at = 8 + 8 * count
    for place, length in enumerate(lengths.tolist()):
        made[place] = missing if length < 0 else str(raw[at : at + length], "utf-8", "surrogatepass")
        at += max(length, 0)
    return pandas.array(made, dtype=dtype)


# ---------------------------------------------------------------------- indexes


def _index(index: Any, sink: FormSink, what: str = "the index") -> Form:
    try:
        return [*_labels(index, sink), [pack(name, sink) for name in index.names]]
    except NotPortable as error:
        raise NotPortable(f"{what}: {error}") from None


def _labels(index: Any, sink: FormSink) -> list[Any]:
    pandas = _library()
    kind = type(index)
    if kind is pandas.RangeIndex:
        return ["range", index.start, index.stop, index.step]
    if kind is pandas.MultiIndex:
        levels = [_index(level, sink) for level in index.levels]
        order = None if index.sortorder is None else int(index.sortorder)
        return ["multi", levels, [sink.array(codes) for codes in index.codes], order]
    if kind in (pandas.DatetimeIndex, pandas.TimedeltaIndex):
        return ["timed", _data(index, sink), None if index.freq is None else _freq(index.freq)]
    if kind not in (pandas.Index, pandas.CategoricalIndex, pandas.PeriodIndex, pandas.IntervalIndex):
        raise NotPortable(f"nothing is known of a {key_of(kind)}")
    if index.dtype == object:
        pinned(sink, len(index), "its objects")
        return ["objects", [pack(each, sink) for each in index]]
    return ["data", _data(index, sink)]


def _of_index(form: list[Any], blocks: Blocks) -> Any:
    pandas = _library()
    *labels, names = form
    names = [unpack(name, blocks) for name in names]
    kind = labels[0]
    if kind == "range":
        return pandas.RangeIndex(labels[1], labels[2], labels[3], name=names[0])
    if kind == "multi":
        levels = [_of_index(level, blocks) for level in labels[1]]
        codes = [blocks.array(each) for each in labels[2]]
        # Versions before don't say how it is sorted.
        order = labels[3] if len(labels) > 3 else None
        return pandas.MultiIndex(levels, codes, sortorder=order, names=names, verify_integrity=False)
    if kind == "objects":
        numpy: Any = sys.modules["numpy"]
        made = numpy.empty(len(labels[1]), object)
        for place, each in enumerate(labels[1]):
            made[place] = unpack(each, blocks)
        return pandas.Index(made, dtype=object, name=names[0], tupleize_cols=False)
    data = _of_data(labels[1], blocks)
    index = pandas.Index(data, dtype=data.dtype, name=names[0], copy=False)
    if kind == "timed" and labels[2] is not None:
        index.freq = labels[2]
    return index


def _freq(freq: Any) -> str:
    """Return what a frequency is called, if that stands for it."""
    to_offset = importlib.import_module("pandas.tseries.frequencies").to_offset
    text = str(freq.freqstr)
    return _named(text, lambda: to_offset(text) == freq)


def _span(freq: Any) -> str:
    """Return what the frequency of periods is called: other names than those of points in time."""
    kind = _library().PeriodDtype
    text = str(kind(freq)).partition("[")[2][:-1]
    return _named(text, lambda: kind(text) == kind(freq))


def _named(text: str, stands: Callable[[], bool]) -> str:
    try:
        if stands():
            return text
    except ValueError:
        pass
    raise NotPortable(f"the frequency {text!r:.80} isn't known by its name alone")


# ---------------------------------------------------------------------- single values


def _stamp(value: Any, sink: FormSink) -> list[Any]:
    return ["stamp", int(value.asm8.view("i8")), value.unit, zone_form(value.tz)]


def _of_stamp(form: list[Any], blocks: Blocks) -> Any:
    numpy: Any = importlib.import_module("numpy")
    made = _library().Timestamp(numpy.datetime64(form[1], form[2]))
    return made if form[3] is None else made.tz_localize("UTC").tz_convert(zone_of(form[3]))


def _delta(value: Any, sink: FormSink) -> list[Any]:
    return ["delta", int(value.asm8.view("i8")), value.unit]


def _of_delta(form: list[Any], blocks: Blocks) -> Any:
    numpy: Any = importlib.import_module("numpy")
    return _library().Timedelta(numpy.timedelta64(form[1], form[2]))


def _period(value: Any, sink: FormSink) -> list[Any]:
    return ["period", value.ordinal, _span(value.freq)]


def _interval(value: Any, sink: FormSink) -> list[Any]:
    return ["interval", pack(value.left, sink), pack(value.right, sink), value.closed]


UNPACK: Final[dict[str, Unpack]] = {
    "frame": _of_frame,
    "series": _of_series,
    "index": lambda form, blocks: _of_index(form[1], blocks),
    "stamp": _of_stamp,
    "delta": _of_delta,
    "nat": lambda form, blocks: _library().NaT,
    "na": lambda form, blocks: _library().NA,
    "period": lambda form, blocks: _library().Period(ordinal=form[1], freq=form[2]),
    "interval": lambda form, blocks: _library().Interval(unpack(form[1], blocks), unpack(form[2], blocks), form[3]),
}
