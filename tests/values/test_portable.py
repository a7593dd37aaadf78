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
        pd.Series(pd.Categorical.from_codes([0, 2, -1], categories=pd.RangeIndex(3))),
        pd.Series(pd.Categorical(pd.date_range("2020", periods=2, tz="Europe/Berlin"))),
        pd.Series(pd.interval_range(0, 2, closed="left")).shift(),
        pd.Series(pd.PeriodIndex(["2020-01", None], freq="M")),
        pd.Series(pd.DatetimeIndex(["2020", None], tz="UTC").as_unit("s")),
        pd.Series(np.array([1, 2], "f2")),
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
        pd.MultiIndex(levels=[[1, 2], [3]], codes=[[0, 1], [0, 0]], sortorder=0),
        pd.MultiIndex.from_product(
            [pd.date_range("2020", periods=3, tz="Europe/Berlin"), [1.5, None]], names=["x", "x"]
        ),
        pd.MultiIndex.from_arrays(
            [CATEGORIES, pd.interval_range(0, 5), pd.period_range("2020", periods=5, freq="W-WED")]
        ),
        pd.MultiIndex.from_product([["a", "b"], [1, 2]])[:1],
        pd.date_range("2020-10-24", periods=4, freq="D", tz="Europe/Berlin"),
        pd.Index(["a", None, pd.NaT, pd.NA, np.int8(1), b"x", ("a", None)], dtype=object),
    ],
    ids=lambda each: type(each).__name__,
)
def test_indexes_come_out_as_they_went_in(index: pd.Index[Any], trip: Callable[[Any], Any]) -> None:
    found = trip(index)
    assert_index_equal(found, index, exact=True)
    for name in ("freq", "sortorder"):
        assert getattr(found, name, None) == getattr(index, name, None)
    for ours, theirs in zip(getattr(found, "levels", ()), getattr(index, "levels", ()), strict=True):
        assert ours.identical(theirs)
        assert getattr(ours, "freq", None) == getattr(theirs, "freq", None)


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


ALIGNED = np.dtype([("a", "i1"), (("title", "b"), "f8"), ("c", "i2", (2,))], align=True)


@pytest.mark.parametrize("dtype", [ALIGNED, np.dtype({"names": ["a"], "formats": ["i4"], "offsets": [4]}, align=True)])
def test_how_fields_of_arrays_lie_is_kept(dtype: np.dtype[Any], trip: Callable[[Any], Any]) -> None:
    found = trip(np.ones(3, dtype))
    assert (found.dtype, found.dtype.isalignedstruct) == (dtype, True)
    assert found.dtype.fields == dtype.fields
    assert found.tobytes() == np.ones(3, dtype).tobytes()


def test_masked_arrays_keep_mask_data_and_filling(trip: Callable[[Any], Any]) -> None:
    value = np.ma.array([1.0, 2, 3], mask=[False, True, False], fill_value=7.0)
    found = trip(value)
    assert (found.mask.tolist(), found.data.tolist(), found.fill_value) == ([False, True, False], [1, 2, 3], 7)
    assert trip(np.ma.array([1, 2])).mask is np.ma.nomask
    assert trip(np.ma.masked) is np.ma.masked
    fields: Any = np.ma.array(np.zeros(2, [("a", "i4"), ("b", "U3")]), mask=[(True, False), (False, True)])
    fields.fill_value = (7, "xyz")
    found = trip(fields)
    assert (found.mask.tolist(), found.mask.dtype, found.fill_value) == (
        fields.mask.tolist(),
        fields.mask.dtype,
        fields.fill_value,
    )
    assert trip(np.ma.array(3.0, mask=True)).mask.shape == ()


def view_of(array: Any) -> memoryview:
    return memoryview(array)


VIEWS = [
    memoryview(b"abcd"), memoryview(bytearray(b"abcd")), view_of(np.array(3.0)), view_of(np.zeros((2, 3))),
    memoryview(array.array("i")), memoryview(b""), view_of(np.zeros((2, 3), order="C")).toreadonly(),
]  # fmt: skip


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: f"{view.format}{view.shape}{'r' * view.readonly}")
def test_views_keep_format_shape_and_whether_they_may_be_written(view: memoryview, trip: Callable[[Any], Any]) -> None:
    found = trip(view)
    assert (found.format, found.shape, found.readonly) == (view.format, view.shape, view.readonly)
    assert found.tolist() == view.tolist()


def test_a_moment_of_pytz_has_the_offset_that_it_had(trip: Callable[[Any], Any]) -> None:
    pytz: Any = pytest.importorskip("pytz")
    zone = pytz.timezone("Europe/Berlin")
    for summer, said in ((False, "CET"), (True, "CEST")):
        moment = zone.localize(datetime.datetime(2020, 10, 25, 2, 30), is_dst=summer)
        found = trip([moment])[0]
        assert (found, found.tzname(), found.tzinfo) == (moment, said, moment.tzinfo)
    winter = zone.localize(datetime.datetime(2020, 1, 1))
    for zone_itself in (zone, pytz.utc, pytz.FixedOffset(90)):
        assert trip([winter.replace(tzinfo=zone_itself)])[0].tzinfo is zone_itself
    with pytest.raises(portable.NotPortable, match="doesn't have then"):
        portable.size_of(winter.replace(month=7))


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
    # Rows without columns, too.
    assert trip(table.select([])).num_rows == 2
    fields = pa.schema([pa.field("a", pa.int64(), False, {"k": "v"}), pa.field("a", pa.int64())], {b"\xff": b"\x00"})
    twice = pa.table([[1], [2]], schema=fields)
    assert trip(twice).schema.equals(fields, check_metadata=True)


ARROWS: dict[str, Callable[[], Any]] = {
    "dense union": lambda: pa.UnionArray.from_dense(
        pa.array([0, 1, 0], pa.int8()), pa.array([0, 0, 1], pa.int32()), [pa.array([1, 2]), pa.array(["a"])]
    ),
    "sparse union": lambda: pa.UnionArray.from_sparse(
        pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]
    ),
    "runs": lambda: pa.RunEndEncodedArray.from_arrays([2, 5], ["a", "b"]),
    "part of runs": lambda: pa.RunEndEncodedArray.from_arrays([2, 5], ["a", "b"])[1:4],
    "views of texts": lambda: pa.array(["a", None, "long enough to stand outside of the view"], pa.string_view()),
    "views of bytes": lambda: pa.array([b"a", None], pa.binary_view()),
    "views of lists": lambda: pa.array([[1], None, [2, 3]], pa.list_view(pa.int8())),
    "a map": lambda: pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int8())),
    "lists of one size": lambda: pa.array([[1, 2], None], pa.list_(pa.int8(), 2)),
    "months, days and nanoseconds": lambda: pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
    "256 bits": lambda: pa.array([1, None], pa.decimal256(50, 1)),
    "an ordered dictionary": lambda: pa.DictionaryArray.from_arrays(
        pa.array([0, 1, None], pa.int8()), pa.array(["x", "y"]), ordered=True
    ),
    "a dictionary of lists": lambda: pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array([[1], [2]])),
    "chunks of lists of other dictionaries": lambda: pa.chunked_array(
        [pa.array(each, pa.list_(pa.dictionary(pa.int8(), pa.string()))) for each in ([["a"]], [["b", "c"]])]
    ),
    "nothing": lambda: pa.array([None, None]),
    "a tensor": lambda: pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((2, 2, 3))),
    "UUIDs": lambda: pa.array([b"0" * 16], pa.uuid()),
    "a part": lambda: pa.array([True, False, None] * 5)[3:9],
}


@pytest.mark.parametrize("name", ARROWS)
def test_arrays_of_every_arrow_type_come_out_as_they_went_in(name: str, trip: Callable[[Any], Any]) -> None:
    try:
        array = ARROWS[name]()
    except (AttributeError, NotImplementedError) as error:
        pytest.skip(f"this pyarrow can't make one: {error}")
    found = trip(array)
    assert (type(found), found.type) == (type(array), array.type)
    assert found.equals(array)
    found.validate(full=True)


class Metres(pa.ExtensionType):  # type: ignore[misc]  # pyarrow has no types
    """A type that one process has registered and another one hasn't."""

    def __init__(self) -> None:
        super().__init__(pa.float64(), "test.metres")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: Any, serialized: bytes) -> Metres:
        return cls()


def test_arrow_types_that_only_this_process_knows_are_not_portable_wherever_they_stand() -> None:
    metres = pa.ExtensionArray.from_storage(Metres(), pa.array([1.0]))
    nested = pa.StructArray.from_arrays([metres], ["m"])
    lists = pa.ListArray.from_arrays([0, 1], nested)
    for each in (metres, pa.chunked_array([metres]), nested, lists, pa.table({"m": lists})):
        with pytest.raises(portable.NotPortable, match=r"'test.metres' is one that this process has registered"):
            portable.size_of(each)


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
    deeper = [
        pl.Series("x", [[{"a": [1]}], None]),
        pl.Series("x", [["b"], []], dtype=pl.List(pl.Categorical)),
        pl.Series("", [{"a": "b"}], dtype=pl.Struct({"a": pl.Enum(["b"])})),
        pl.Series("x", ["a"], dtype=pl.Categorical).append(pl.Series("x", ["b"], dtype=pl.Categorical)),
        pl.Series("x", [2**100, None], dtype=pl.Int128),
        pl.Series("x", [None, None]),
        pl.Series("x", [[[1, 2], [3, 4]]], dtype=pl.Array(pl.Int8, (2, 2))),
        pl.Series("x", [], dtype=pl.List(pl.Enum(["a"]))),
    ]
    for series in deeper:
        polars.testing.assert_series_equal(trip(series), series)
        assert trip(series).dtype == series.dtype


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
        (pl.Series("x", [[]], dtype=pl.Array(pl.Int8, 0)), "column 'x' has arrays without items"),
        (np.str_("a\0"), "ends with NULs"),
        (np.bytes_(b"a\0"), "ends with NULs"),
        (np.zeros(2, np.dtype((np.record, [("a", "i4")]))), "can't be written down"),
        (np.zeros(2, [("a", np.dtype((np.record, [("b", "i4")])))]), "can't be written down"),
        (view_of(np.zeros((0, 3))), "can't be made of bytes"),
        (datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(0), "GMT")), "has no name"),
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
