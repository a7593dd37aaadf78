"""Portable values: what comes out of the file equals what went in, and what can't be promised isn't portable."""

from __future__ import annotations

import array
import datetime
import os
import subprocess
import sys
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pandas.testing import assert_frame_equal, assert_index_equal, assert_series_equal

from asyncblock.errors import LocalProtocolError
from asyncblock.values import portable

OF = {"of": "this"}


@pytest.fixture
def trip(tmp_path: Path) -> Callable[[Any], Any]:
    """Write a value into a file and read it again, when the file is gone already."""

    def go(value: Any) -> Any:
        size = portable.size_of(value)
        path = tmp_path / "value"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            length = portable.save(value, fd, OF)
            assert size <= length + 10_000
            return portable.load(fd, OF)
        finally:
            path.unlink()
            os.close(fd)

    return go


def check(frame: pd.DataFrame, trip: Callable[[Any], Any]) -> pd.DataFrame:
    found: pd.DataFrame = trip(frame)
    assert_frame_equal(found, frame, check_freq=True, check_flags=True)
    assert found.attrs == frame.attrs
    for ours, theirs in ((found.index, frame.index), (found.columns, frame.columns)):
        assert type(ours) is type(theirs)
        assert ours.identical(theirs)
    return found


MAJOR, MINOR = (int(each) for each in pd.__version__.split(".")[:2])
TEXT: Any = "str" if MAJOR >= 3 else "string"
"""Before pandas 3 a column of texts is one of objects, unless one says so."""


def texts(storage: str, *, nan: bool = False) -> Any:
    """Return a type of texts; before pandas 2.3 what is missing is always ``pd.NA``."""
    if (MAJOR, MINOR) < (2, 3):
        return pd.StringDtype(storage)
    return pd.StringDtype(storage, na_value=np.nan if nan else pd.NA)


FIVE = np.arange(5.0)
DAYS = pd.date_range("2020", periods=5, freq="D")
ZONED = pd.date_range("2020", periods=5, tz="Europe/Berlin", unit="ms")
CATEGORIES = pd.Categorical(list("xyxyz"), categories=list("zyxw"), ordered=True)
FRAMES = {
    "numbers, texts, categories": pd.DataFrame({"a": FIVE, "b": pd.array(list("abcde"), dtype=TEXT), "c": CATEGORIES}),
    "one block": pd.DataFrame(np.arange(20.0).reshape(5, 4)),
    "repeated and mixed names": pd.DataFrame(np.arange(20).reshape(5, 4), columns=["a", "a", 3, ("x", 1)]),
    "names that are no text": pd.DataFrame(np.zeros((2, 4)), columns=["a", None, 3.5, pd.Timestamp("2020")]),
    "levels of names": pd.DataFrame(np.zeros((2, 2)), columns=pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])),
    "times": pd.DataFrame({"t": ZONED, "u": DAYS.as_unit("s"), "d": pd.timedelta_range("1D", periods=5)}, index=DAYS),
    "a fixed zone": pd.DataFrame({"t": DAYS.tz_localize(datetime.timezone(datetime.timedelta(hours=2)))}),
    "UTC": pd.DataFrame({"t": DAYS.tz_localize("UTC")}, index=DAYS.tz_localize(datetime.UTC)),
    "periods": pd.DataFrame(
        {"p": pd.period_range("2020", periods=5, freq="Q")}, index=pd.period_range("2020", periods=5, freq="M")
    ),
    "intervals": pd.DataFrame({"i": pd.interval_range(0, 5)}, index=pd.IntervalIndex.from_breaks(range(6), "both")),
    "a MultiIndex": pd.DataFrame({"a": FIVE}, index=pd.MultiIndex.from_product([["a"], DAYS], names=["x", None])),
    "nullable": pd.DataFrame(
        {
            "i": pd.array([1, None, 3], dtype="Int64"),
            "f": pd.array([1.5, None, 3], dtype="Float32"),
            "b": pd.array([True, None, False], dtype="boolean"),
        }
    ),
    "texts of all kinds": pd.DataFrame(
        {
            "s": pd.array(["a", None, "ü"], dtype="string"),
            "p": pd.array(["a", None, "ü"], dtype=texts("python")),
            "n": pd.array(["a", None, ""], dtype=texts("python", nan=True)),
            "q": pd.array(["a", None, "ü"], dtype=texts("pyarrow")),
            "a": pd.array(["a", None, ""], dtype=texts("pyarrow", nan=True)),
        }
    ),
    "Arrow": pd.DataFrame(
        {
            "l": pd.Series([[1, 2], None, [3]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
            "z": pd.Series([1, 2, None], dtype="int64[pyarrow]"),
            "d": pd.Series(["a", "b", "a"], dtype=pd.ArrowDtype(pa.dictionary(pa.int8(), pa.string()))),
        }
    ),
    "nothing": pd.DataFrame(),
    "no columns": pd.DataFrame(index=range(3)),
    "no rows": pd.DataFrame(columns=["a", "b"]),
    "no rows of numbers": pd.DataFrame({"a": []}, dtype="float64"),
    "other byte orders": pd.DataFrame({"a": np.array([1, 2], dtype=">i4"), "c": np.array([1 + 2j, 3])}),
    "no duplicates": pd.DataFrame({"a": [1, 2]}).set_flags(allows_duplicate_labels=False),
    "an index of categories": pd.DataFrame({"a": [1, 2]}, index=pd.CategoricalIndex(["x", "y"], name=("q", 1))),
    "an index of objects": pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", 3], dtype=object)),
    "gaps": pd.DataFrame({"a": [1, 2, 3, 4], "b": [1.0, 2, 3, 4]}).iloc[::2],
    "backwards": pd.DataFrame(np.arange(12.0).reshape(4, 3)).iloc[::-1, ::2],
    "categories of times": pd.DataFrame({"c": pd.Categorical([pd.Timestamp("2020"), None])}),
    "month ends": pd.DataFrame({"a": [1, 2]}, index=pd.DatetimeIndex(["2020-01-31", "2020-02-29"], freq="ME")),
    "business days": pd.DataFrame({"a": [1, 2, 3]}, index=pd.date_range("2020", periods=3, freq="B", name="day")),
    "a block of times": pd.DataFrame(pd.date_range("2020", periods=6).to_numpy().reshape(3, 2)),
}


@pytest.mark.parametrize("name", FRAMES)
def test_frames_come_out_as_they_went_in(name: str, trip: Callable[[Any], Any]) -> None:
    check(FRAMES[name], trip)


def test_attrs_come_along(trip: Callable[[Any], Any]) -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs = {"unit": "m", 3: {"y": [1, (2, float("inf")), None]}}
    check(frame, trip)
    series = pd.Series([1], name=("a", 2))
    series.attrs = {"x": 1}
    assert trip(series).attrs == {"x": 1}


def test_a_frame_of_one_block_stays_one(trip: Callable[[Any], Any]) -> None:
    found = check(pd.DataFrame(np.arange(20.0).reshape(5, 4), columns=list("abcd")), trip)
    assert np.shares_memory(found["a"].to_numpy(), found["b"].to_numpy()) or found._mgr.nblocks == 1
    found.loc[0, "a"] = 7.0
    assert found["a"].iloc[0] == 7.0


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1, 2], name=("a", 2)),
        pd.Series([], dtype=TEXT),
        pd.Series(["x"], index=["k"], dtype=TEXT),
        pd.Series(ZONED),
        pd.Series([1, 2], index=[None, "a"]),
    ],
    ids=lambda each: str(each.dtype),
)
def test_series_come_out_as_they_went_in(series: pd.Series[Any], trip: Callable[[Any], Any]) -> None:
    assert_series_equal(trip(series), series, check_freq=True, check_index_type=True)


@pytest.mark.parametrize(
    "index",
    [
        pd.RangeIndex(3, 9, 2, name="q"),
        pd.Index([1, 2.5]),
        pd.date_range("2020", periods=3, freq="W-TUE"),
        pd.timedelta_range("1h", periods=3, freq="h"),
        pd.MultiIndex.from_tuples([("a", 1), ("b", 2)]),
        pd.Index([], dtype=object),
        pd.Index([True, False]),
    ],
    ids=lambda each: type(each).__name__,
)
def test_indexes_come_out_as_they_went_in(index: pd.Index[Any], trip: Callable[[Any], Any]) -> None:
    found = trip(index)
    assert_index_equal(found, index, exact=True)
    assert getattr(found, "freq", None) == getattr(index, "freq", None)


ANY_DTYPE = st.one_of(
    npst.scalar_dtypes(),
    npst.array_dtypes(allow_subarrays=True),
    st.sampled_from([np.dtype("S0"), np.dtype("V7"), np.dtype("M8[25s]"), np.dtype(np.longdouble)]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(data=st.data(), dtype=ANY_DTYPE)
def test_arrays_come_out_as_they_went_in(data: st.DataObject, dtype: np.dtype[Any], trip: Callable[[Any], Any]) -> None:
    shape = data.draw(npst.array_shapes(min_dims=0, min_side=0, max_side=4))
    value = np.zeros(shape, dtype)
    if value.nbytes:
        value.reshape(-1).view(np.uint8)[:] = np.random.default_rng(value.size).integers(0, 2, value.nbytes)
    made = data.draw(st.sampled_from(["C", "F", "backwards", "gaps"]))
    if made == "F":
        value = np.asfortranarray(value) if value.ndim else value
    elif made != "C" and value.ndim:
        value = value[::-1] if made == "backwards" else value[..., ::2]
    found = trip(value)
    assert (found.dtype, found.shape) == (value.dtype, value.shape)
    assert found.dtype.byteorder == value.dtype.byteorder
    assert found.tobytes() == value.tobytes()
    assert found.flags.f_contiguous or not value.flags.f_contiguous
    assert found.flags.writeable


def test_masked_arrays_keep_mask_data_and_filling(trip: Callable[[Any], Any]) -> None:
    value = np.ma.array([1.0, 2, 3], mask=[False, True, False], fill_value=7.0)
    found = trip(value)
    assert (found.mask.tolist(), found.data.tolist(), found.fill_value) == ([False, True, False], [1, 2, 3], 7)
    assert trip(np.ma.array([1, 2])).mask is np.ma.nomask
    assert trip(np.ma.masked) is np.ma.masked


PLAIN = [
    None, True, 3, 2**70, 1.5, float("-inf"), 1 + 2j, "ü", b"abc", bytearray(b"x"), (1, [2, {"a": None, 3: "x"}]),
    datetime.datetime(2020, 1, 1, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")), datetime.date(2020, 1, 1),
    datetime.time(3, 4, fold=1), datetime.timedelta(1, 2, 3), array.array("d", [1, 2]), memoryview(b"abcd"),
    memoryview(b""), memoryview(array.array("i", [1, 2, 3, 4])).cast("B").cast("i", [2, 2]),
    pd.Timestamp("2020", tz="UTC"), pd.Timestamp("2020").as_unit("s"), pd.Timedelta("3s"), pd.NaT, pd.NA,
    pd.Period("2020Q1"), pd.Interval(1, 2, "both"), np.float32(3), np.datetime64("2020", "D"),
]  # fmt: skip


def name_of(value: object) -> str:
    said = str(value)
    # An address isn't the same in every process.
    return type(value).__name__ if " at 0x" in said else f"{type(value).__name__} {said:.20}"


@pytest.mark.parametrize("value", PLAIN, ids=name_of)
def test_single_values_come_out_as_they_went_in(value: Any, trip: Callable[[Any], Any]) -> None:
    found = trip([value])[0]
    assert type(found) is type(value)
    assert repr(found) == repr(value) or found == value


def test_what_is_arrow_already_comes_out_as_it_went_in(trip: Callable[[Any], Any]) -> None:
    table = pa.table({"a": [1, None], "b": ["x", "y"], "d": pa.array(["p", "q"]).dictionary_encode()})
    table = table.replace_schema_metadata({"k": "v"})
    assert trip(table).equals(table, check_metadata=True)
    batch = table.to_batches()[0]
    assert type(trip(batch)) is pa.RecordBatch
    assert trip(batch).equals(batch)
    chunks = [pa.array(["a"]).dictionary_encode(), pa.array(["b"]).dictionary_encode()]
    arrays = [pa.array([1, None]), pa.array([[1], None]), pa.chunked_array([[1], [2, 3]]), pa.chunked_array(chunks)]
    for each in [*arrays, pa.chunked_array([], type=pa.int8())]:
        assert type(trip(each)) is type(each)
        assert trip(each).equals(each)
    assert trip(pa.table({})).equals(pa.table({}))


def test_frames_of_polars_come_out_as_they_went_in(trip: Callable[[Any], Any]) -> None:
    moments = pl.Series([datetime.datetime(2020, 1, 1)] * 2).dt.replace_time_zone("Europe/Berlin")
    frame = pl.DataFrame(
        {
            "a": [1, None],
            "s": ["x", "y"],
            "c": pl.Series(["p", "q"], dtype=pl.Categorical),
            "e": pl.Series(["u", "v"], dtype=pl.Enum(["v", "u"])),
            "d": pl.Series(["1.5", "2"]).cast(pl.Decimal(10, 2)),
            "l": [[1], [2, 3]],
            "t": [{"k": 1}, {"k": 2}],
            "x": moments,
            "y": pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int8, 2)),
        }
    )
    for each in (frame, frame.clear(), pl.DataFrame()):
        found = trip(each)
        polars.testing.assert_frame_equal(found, each)
        assert found.schema == each.schema
    polars.testing.assert_series_equal(trip(frame["a"]), frame["a"])


TEXTS = getattr(np.dtypes, "StringDType", None)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (pd.DataFrame({"fine": [1], "odd": [object()]}), "column 'odd': it holds Python objects"),
        (pd.DataFrame({"a": [[1]]}), "column 'a': it holds Python objects"),
        (pd.DataFrame({"a": pd.arrays.SparseArray([0, 0, 1])}), "column 'a': nothing is known"),
        (pd.DataFrame({"a": [1]}, index=pd.Index([object()])), "the index: nothing is known of how a object"),
        (pd.DataFrame(index=pd.Index([(n,) for n in range(20_000)], tupleize_cols=False)), "the index: its objects"),
        (np.array([None]), "holds Python objects"),
        # Before numpy 2 there are no such texts.
        *([(np.array(["a"], dtype=TEXTS()), "holds Python objects")] if TEXTS is not None else []),
        (np.zeros(1, dtype=np.dtype("i4", metadata={"a": 1})), "can't be written down"),
        (np.broadcast_to(np.zeros(1), (5,)), "repeats its memory"),
        ({1, 2}, "nothing is known of how a set"),
        ([1, object()], "nothing is known of how a object"),
        ("\ud800", "lone surrogates"),
        (pl.DataFrame({"o": [object()]}, schema={"o": pl.Object}), "column 'o' holds Python objects"),
        (list(range(20_000)), "one by one"),
    ],
    ids=lambda each: each[:20] if isinstance(each, str) else type(each).__name__,
)
def test_what_cannot_be_promised_is_not_portable(value: Any, why: str) -> None:
    with pytest.raises(portable.NotPortable, match=why):
        portable.size_of(value)


def test_derived_classes_are_not_taken_for_their_base() -> None:
    class Frame(pd.DataFrame):
        pass

    class Text(str):
        pass

    for each in (Frame({"a": [1]}), Text("a"), np.zeros(3).view(np.recarray)):
        with pytest.raises(portable.NotPortable):
            portable.size_of(each)


def test_what_contains_itself_is_not_portable() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(portable.NotPortable, match="nested"):
        portable.size_of(value)


class Grid:
    """Somebody's own class."""

    def __init__(self, cells: np.ndarray[Any, Any], title: str) -> None:
        self.cells = cells
        self.title = title


def test_registered_types_are_portable_where_they_are_registered(trip: Callable[[Any], Any]) -> None:
    with pytest.raises(portable.NotPortable, match="Grid"):
        portable.size_of(Grid(FIVE, "a"))
    forget = portable.register(Grid, lambda grid: (grid.cells, grid.title), lambda parts: Grid(*parts))
    try:
        found = trip({"grid": Grid(FIVE, "a")})["grid"]
        assert isinstance(found, Grid)
        assert (found.cells.tolist(), found.title) == (FIVE.tolist(), "a")
    finally:
        forget()
    with pytest.raises(LocalProtocolError, match="takes a class"):
        portable.register("Grid", repr, repr)  # type: ignore[arg-type]


def test_what_is_read_is_private_and_outlives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "value"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    portable.save(np.arange(5), fd, OF)
    first, second = portable.load(fd, OF), portable.load(fd, OF)
    os.close(fd)
    path.unlink()
    first[:] = 7
    assert second.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("spoil", ["cut", "empty", "strange", "other"])
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "value"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    portable.save(np.arange(5), fd, OF)
    if spoil == "strange":
        os.pwrite(fd, b"x" * 24, os.fstat(fd).st_size - 24)
    elif spoil != "other":
        os.ftruncate(fd, 0 if spoil == "empty" else 60)
    with pytest.raises(LocalProtocolError, match="var value"):
        portable.load(fd, {"of": "another"} if spoil == "other" else OF)
    os.close(fd)


UNREADABLE = """
import mmap
import numpy as np, pandas as pd
from asyncblock.values import portable

memory = mmap.mmap(-1, 1 << 28, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0)
value = pd.DataFrame(np.frombuffer(memory, np.float64).reshape(-1, 8), copy=False)
print(portable.size_of(value) >= 1 << 28)
print(portable.size_of({"a": np.frombuffer(memory, np.uint8)}) >= 1 << 28)
"""


def test_looking_a_value_through_reads_none_of_its_memory() -> None:
    """Its memory can't be read at all: whoever does ends."""
    done = subprocess.run([sys.executable, "-c", UNREADABLE], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == ("True\nTrue\n", 0), done.stderr


@pytest.mark.parametrize(
    ("value", "library", "words"),
    [
        (pd.DataFrame({"a": [1]}), "pandas", "written with pandas 1.5.3, and .* is installed here"),
        (pa.table({"a": [1]}), "pyarrow", None),
        (pl.DataFrame({"a": [1]}), "polars", None),
        (b"bytes", "pandas", None),
    ],
)
def test_another_major_of_pandas_is_refused_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any, library: str, words: str | None
) -> None:
    fd = os.open(tmp_path / "value", os.O_RDWR | os.O_CREAT, 0o600)
    with monkeypatch.context() as other:
        other.setattr(sys.modules[library], "__version__", "1.5.3")
        portable.save(value, fd, OF)
    if words is None:
        portable.load(fd, OF)
    else:
        with pytest.raises(LocalProtocolError, match=f"isn't portable to this process: it was {words}"):
            portable.load(fd, OF)
    os.close(fd)


@pytest.mark.parametrize("value", [pa.table({"a": [1]}), pd.DataFrame({"a": pd.array([1], dtype="int64[pyarrow]")})])
def test_a_library_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any) -> None:
    fd = os.open(tmp_path / "value", os.O_RDWR | os.O_CREAT, 0o600)
    portable.save(value, fd, OF)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(LocalProtocolError, match=r"it needs pyarrow [0-9.]+, which isn't installed here"):
        portable.load(fd, OF)
    os.close(fd)
