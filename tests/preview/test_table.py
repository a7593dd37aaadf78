from __future__ import annotations

import decimal
import subprocess
import sys
import uuid
from array import array
from collections import UserList, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from asyncblock.errors import LocalProtocolError
from asyncblock.preview import Limits, Making
from asyncblock.values import loads

from .showing import show

WHEN = datetime(2024, 5, 1, 12, 30, tzinfo=UTC)


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("no")


def table(payload: object, **limits: Any) -> tuple[list[Any], list[list[Any]], int]:
    made = show(payload, **limits)
    assert made["type"] == "table"
    assert set(made["data"]) == {"rows", "columns", "row_count"}
    assert all(len(row) == len(made["data"]["columns"]) for row in made["data"]["rows"])
    return made["data"]["columns"], made["data"]["rows"], made["data"]["row_count"]


@dataclass
class Point:
    xs: list[int]


class Named(NamedTuple):
    x: int
    y: date


class Colour(Enum):
    RED = "red"


CELLS = {
    "int": (1, 1),
    "dataclass": (Point([1, 2]), {"xs": [1, 2]}),
    "large dataclass": (Point(list(range(100_000))), "<Point>"),
    "large int": (2**70, str(2**70)),
    "bool": (True, True),
    "none": (None, None),
    "nan": (float("nan"), None),
    "infinity": (float("-inf"), "-inf"),
    "NaT": (pd.NaT, None),
    "NA": (pd.NA, None),
    "text": ("é", "é"),
    "lone surrogate": ("a\ud800", "a\\ud800"),
    "long text": ("x" * 5000, "x" * 1000 + "..."),
    "bytes": (b"\xff" * 12, "<12 bytes>"),
    "bytearray": (bytearray(3), "<3 bytes>"),
    "decimal": (decimal.Decimal("0.10000000000000000000001"), "0.10000000000000000000001"),
    "decimal nan": (decimal.Decimal("nan"), None),
    "complex": (1 + 2j, "(1+2j)"),
    "timedelta": (timedelta(hours=1), "1:00:00"),
    "datetime": (WHEN, "2024-05-01T12:30:00+00:00"),
    "date": (date(2024, 5, 1), "2024-05-01"),
    "numpy int": (np.int16(3), 3),
    "numpy float": (np.float32(0.5), 0.5),
    "numpy bool": (np.bool_(True), True),
    "numpy NaT": (np.datetime64("NaT", "ns"), None),
    "numpy moment": (np.datetime64("2024-05-01"), "2024-05-01"),
    "longdouble": (np.longdouble(1.5), "1.5"),
    "list": ([1, [2]], [1, [2]]),
    "dict": ({"a": 1}, {"a": 1}),
    "set": ({1}, [1]),
    "long list": (list(range(100_000)), "<list of 100000>"),
    "long dict": ({str(i): i for i in range(2000)}, "<dict of 2000>"),
    "large array": (np.zeros(10**6), "<ndarray of (1000000,)>"),
    "small array": (np.arange(3), [0, 1, 2]),
    "dates": ([date(2024, 5, 1), None], ["2024-05-01", None]),
    "decimals": ((decimal.Decimal("1.50"),), ["1.50"]),
    "scalars in a list": ([np.float32(0.5), np.int8(1), np.datetime64("2024-05-01")], [0.5, 1, "2024-05-01"]),
    "id in a dict": ({"a": uuid.UUID(int=5)}, {"a": "00000000-0000-0000-0000-000000000005"}),
    "timedelta in a list": ([timedelta(hours=1), WHEN], ["1:00:00", "2024-05-01T12:30:00+00:00"]),
    "deep": (
        {"a": {"b": {"c": {"d": [{"e": [date(2024, 5, 1)]}]}}}},
        {"a": {"b": {"c": {"d": [{"e": ["2024-05-01"]}]}}}},
    ),
    "enum in a list": ([Colour.RED], ["red"]),
    "not a number in a list": ([float("nan"), float("inf"), 2**70], [None, "inf", str(2**70)]),
    "object in a list": ([Unprintable(), object()], ["<Unprintable; its str raises ValueError>", "<object>"]),
    "keys": ({1: "a", (1, 2): "b", date(2024, 5, 1): "c"}, {"1": "a", "1 / 2": "b", "2024-05-01": "c"}),
    "array of moments": (np.array(["2024-05-01", "NaT"], "M8[ns]"), ["2024-05-01T00:00:00.000000000", None]),
    "matrix": (np.eye(2), [[1.0, 0.0], [0.0, 1.0]]),
    "series in a cell": (pl.Series([date(2024, 5, 1)]), ["2024-05-01"]),
    "deque": (deque([date(2024, 5, 1)]), ["2024-05-01"]),
    "range": (range(3), [0, 1, 2]),
    "long range": (range(10**12), "<range of 1000000000000>"),
    "values of a dict": ({"a": decimal.Decimal("1.50")}.values(), ["1.50"]),
    "items of a dict": ({"a": date(2024, 5, 1)}.items(), [["a", "2024-05-01"]]),
    "list of an author's class": (UserList([uuid.UUID(int=5)]), ["00000000-0000-0000-0000-000000000005"]),
    "array of Python's": (array("d", [0.5]), [0.5]),
    "array of Arrow's": (pa.array([date(2024, 5, 1), None]), ["2024-05-01", None]),
    "scalar of few bits": ([np.float32(0.1), np.float16(0.1)], [0.1, 0.1]),
    "named tuple": (Named(1, date(2024, 5, 1)), {"x": 1, "y": "2024-05-01"}),
    "many in few": ([list(range(300)), list(range(300))], "<list of 2>"),
    "long texts": (["x" * 600, "y" * 600], "<list of 2>"),
    "object": (SimpleNamespace(a=1), "namespace(a=1)"),
    "unprintable": (Unprintable(), "<Unprintable; its str raises ValueError>"),
    "interval": (pd.Interval(0, 1), "(0, 1]"),
    "period": (pd.Period("2024-05"), "2024-05"),
}


@pytest.mark.parametrize(("value", "shown"), CELLS.values(), ids=CELLS)
def test_a_cell_is_right_or_says_what_it_is(value: object, shown: object) -> None:
    held: Any = value
    column = pd.Series([None, None], dtype=object)
    column.iat[0] = held
    assert table(pd.DataFrame({"a": column}))[1][0] == [shown]


def _multi() -> pd.DataFrame:
    columns = pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])
    rows = pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["who", None])
    return pd.DataFrame([[1, 2], [3, 4]], index=rows, columns=columns)


FRAMES: dict[str, tuple[Any, list[Any], list[list[Any]], int]] = {
    "plain": (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), ["a", "b"], [[1, "x"], [2, None]], 2),
    "duplicate columns": (pd.DataFrame([[1, 2]], columns=["a", "a"]), ["a", "a"], [[1, 2]], 1),
    "levels": (_multi(), ["who", "", "a / 1", "a / 2"], [["x", 1, 1, 2], ["y", 2, 3, 4]], 2),
    "labelled rows": (pd.DataFrame({"a": [1]}, index=["r"]), ["", "a"], [["r", 1]], 1),
    "named index": (pd.DataFrame({"a": [1]}, index=pd.Index([7], name="k")), ["k", "a"], [[7, 1]], 1),
    "counted values": (pd.Series([5, 7, 5]).value_counts(), ["", "count"], [[5, 2], [7, 1]], 2),
    "years": (pd.DataFrame({"a": [1, 2]}, index=[2023, 2024]), ["", "a"], [[2023, 1], [2024, 2]], 2),
    "from the fifth": (pd.DataFrame({"a": range(7)})[5:], ["", "a"], [[5, 5], [6, 6]], 2),
    "every second": (pd.DataFrame({"a": range(3)})[::2], ["", "a"], [[0, 0], [2, 2]], 2),
    "backwards": (pd.DataFrame({"a": range(2)})[::-1], ["", "a"], [[1, 1], [0, 0]], 2),
    "twice the same": (pd.concat([pd.DataFrame({"a": [1]})] * 2), ["", "a"], [[0, 1], [0, 1]], 2),
    "nullable index": (
        pd.DataFrame({"a": [1, 2]}, index=pd.Index([3, None], dtype="Int64")),
        ["", "a"],
        [[3, 1], [None, 2]],
        2,
    ),
    "counting index": (pd.DataFrame({"a": [1, 2]}, index=pd.Index([0, 1], dtype="Int64")), ["a"], [[1], [2]], 2),
    "counting floats": (pd.Series([1, 2], index=[0.0, 1.0]), ["", 0], [[0.0, 1], [1.0, 2]], 2),
    "named counting index": (pd.Series([1], index=pd.RangeIndex(1, name="k")), ["k", 0], [[0, 1]], 1),
    "chosen rows": (pd.DataFrame({"a": [1, 2, 3]})[lambda f: f.a > 1], ["", "a"], [[1, 2], [2, 3]], 2),
    "odd labels": (pd.DataFrame([[1, 2, 3]], columns=[1, None, b"x"]), [1, "None", "<1 bytes>"], [[1, 2, 3]], 1),
    "categories": (pd.DataFrame({"a": pd.Categorical(["x", None])}), ["a"], [["x"], [None]], 2),
    "nullable": (pd.DataFrame({"a": pd.array([1, None], dtype="Int64")}), ["a"], [[1], [None]], 2),
    "moments": (
        pd.DataFrame({"a": pd.DatetimeIndex(["2024-05-01", pd.NaT], tz="Europe/Paris")}),
        ["a"],
        [["2024-05-01T00:00:00+02:00"], [None]],
        2,
    ),
    "no rows": (pd.DataFrame({"a": []}), ["a"], [], 0),
    "no columns": (pd.DataFrame(index=range(2)), [], [[], []], 2),
    "nothing": (pd.DataFrame(), [], [], 0),
    "series": (pd.Series([1, 2], name="s"), ["s"], [[1], [2]], 2),
    "nameless series": (pd.Series([1]), [0], [[1]], 1),
    "polars": (
        pl.DataFrame({"a": [1, None], "b": [[1], [2, 3]], "c": [b"x", None]}),
        ["a", "b", "c"],
        [[1, [1], "<1 bytes>"], [None, [2, 3], None]],
        2,
    ),
    "polars series": (pl.Series("s", [1.5, float("nan")]), ["s"], [[1.5], [None]], 2),
    "polars group": (
        pl.DataFrame({"c": ["a", "a"], "d": [date(2024, 5, 1), None]}).group_by("c").agg("d"),
        ["c", "d"],
        [["a", ["2024-05-01", None]]],
        1,
    ),
    "polars nanoseconds": (
        pl.DataFrame(
            {
                "moment": pl.Series([1714566600123456789, -1, None]).cast(pl.Datetime("ns")),
                "there": pl.Series([1714566600123456789, 0, None]).cast(pl.Datetime("ns", "Europe/Paris")),
                "list": pl.Series([[1], [], None], dtype=pl.List(pl.Int64)).cast(pl.List(pl.Duration("ns"))),
                "time": pl.Series([1, 3_600_000_000_000, None]).cast(pl.Time),
                "struct": pl.Series([{"d": n} for n in (1, -1, None)]).cast(pl.Struct({"d": pl.Datetime("ns")})),
            }
        ),
        ["moment", "there", "list", "time", "struct"],
        [
            [
                "2024-05-01T12:30:00.123456789",
                "2024-05-01T14:30:00.123456789+02:00",
                ["0:00:00.000000001"],
                "00:00:00.000000001",
                {"d": "1970-01-01T00:00:00.000000001"},
            ],
            [
                "1969-12-31T23:59:59.999999999",
                "1970-01-01T01:00:00+01:00",
                [],
                "01:00:00",
                {"d": "1969-12-31T23:59:59.999999999"},
            ],
            [None, None, None, None, {"d": None}],
        ],
        3,
    ),
    "polars nothing": (pl.DataFrame(), [], [], 0),
    "arrow": (pa.table({"a": [1, None], "b": [{"x": 1}, None]}), ["a", "b"], [[1, {"x": 1}], [None, None]], 2),
    "arrow nanoseconds": (
        pa.table(
            {
                "moment": pa.array([1714566600123456789, -1], pa.timestamp("ns")),
                "there": pa.array([1714566600123456789, None], pa.timestamp("ns", "Europe/Paris")),
                "list": pa.array([[1], None], pa.list_(pa.duration("ns"))),
                "time": pa.array([1, 2], pa.time64("ns")),
                "map": pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.timestamp("ns"))),
                "words": pa.array([1, 1], pa.timestamp("ns")).dictionary_encode(),
            }
        ),
        ["moment", "there", "list", "time", "map", "words"],
        [
            [
                "2024-05-01T12:30:00.123456789",
                "2024-05-01T14:30:00.123456789+02:00",
                ["0:00:00.000000001"],
                "00:00:00.000000001",
                [["a", "1970-01-01T00:00:00.000000001"]],
                "1970-01-01T00:00:00.000000001",
            ],
            ["1969-12-31T23:59:59.999999999", None, None, "00:00:00.000000002", [], "1970-01-01T00:00:00.000000001"],
        ],
        2,
    ),
    "arrow tensors": (
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(8).reshape(2, 2, 2)),
        ["value"],
        [[[[0, 1], [2, 3]]], [[[4, 5], [6, 7]]]],
        2,
    ),
    "arrow struct": (pa.table({"a": [{"x": {"y": decimal.Decimal("1.20")}}]}), ["a"], [[{"x": {"y": "1.20"}}]], 1),
    "arrow duplicates": (pa.table([[1], [2]], names=["a", "a"]), ["a", "a"], [[1, 2]], 1),
    "arrow batch": (pa.RecordBatch.from_pydict({"a": [WHEN]}), ["a"], [["2024-05-01T12:30:00+00:00"]], 1),
    "arrow column": (pa.chunked_array([[1], [2]]), ["value"], [[1], [2]], 2),
    "arrow array": (pa.array(["x"]), ["value"], [["x"]], 1),
    "arrow long list": (pa.table({"a": [list(range(9999))]}), ["a"], [["<list of 9999>"]], 1),
    "arrow nothing": (pa.table({}), [], [], 0),
    "array": (np.array([[1, 2], [3, 4]]), [0, 1], [[1, 2], [3, 4]], 2),
    "vector": (np.array([1.0, np.nan]), [0], [[1.0], [None]], 2),
    "complex array": (np.array([1j]), [0], [["1j"]], 1),
    "object array": (np.array([None, "x", [1]], dtype=object), [0], [[None], ["x"], [[1]]], 3),
    "moments array": (np.array(["NaT", "2024-05-01"], dtype="M8[D]"), [0], [[None], ["2024-05-01"]], 2),
    "records": (np.array([(1, "x")], dtype=[("n", "i4"), ("t", "U3")]), ["n", "t"], [[1, "x"]], 1),
    "empty array": (np.zeros((0, 3)), [0, 1, 2], [], 0),
    "masked array": (np.ma.array([1, 2], mask=[False, True]), [0], [[1], [None]], 2),
}


@pytest.mark.parametrize(("payload", "columns", "rows", "count"), FRAMES.values(), ids=FRAMES)
def test_a_frame_becomes_a_table(payload: object, columns: list[Any], rows: list[list[Any]], count: int) -> None:
    assert table(payload) == (columns, rows, count)
    assert table({"type": "table", "data": payload}) == (columns, rows, count)


MAKES: dict[str, Any] = {
    "pandas": pd.DataFrame({str(c): range(1000) for c in range(30)}),
    "polars": pl.DataFrame({str(c): range(1000) for c in range(30)}),
    "arrow": pa.table({str(c): range(1000) for c in range(30)}),
    "numpy": np.tile(np.arange(1000)[:, None], 30),
}


@pytest.mark.parametrize("payload", MAKES.values(), ids=MAKES)
def test_a_long_and_wide_frame_is_cut_and_says_so(payload: object) -> None:
    columns, rows, count = table(payload, columns=3)
    assert list(map(str, columns)) == ["0", "1", "2", "... 27 more"]
    assert [row[0] for row in rows] == [0, 1, 2, 3, 4, "...", 995, 996, 997, 998, 999]
    assert {row[-1] for row in rows} == {"..."}
    assert count == 1000


@pytest.mark.parametrize("payload", MAKES.values(), ids=MAKES)
def test_limits_are_settable_for_each_table(payload: object) -> None:
    columns, rows, _ = table(payload, rows=2000, columns=40)
    assert (len(columns), len(rows)) == (30, 1000)
    assert len(table(payload, ends=1)[1]) == 3


class CountingFrame(pd.DataFrame):
    """A real frame that tells which of its cells were read."""

    read: tuple[int, int]

    @property
    def _constructor(self) -> Any:
        return CountingFrame

    def itertuples(self, *args: Any, **kwargs: Any) -> Any:
        seen.append(self.shape)
        return super().itertuples(*args, **kwargs)


seen: list[tuple[int, int]] = []


def test_only_what_is_shown_is_converted() -> None:
    seen.clear()
    frame = CountingFrame({str(c): range(100_000) for c in range(300)})
    table(frame)
    assert seen == [(5, 200), (5, 200)]


def test_the_shown_rows_are_taken_at_the_call() -> None:
    for frame in (pd.DataFrame({"a": range(100)}), pd.DataFrame({"a": range(3)})):
        making = Making(frame, None, None)
        frame.loc[:, "a"] = -1
        frame["b"] = 0
        data = making.finish_blocking()["data"]
        assert data["columns"] == ["a"]
        assert data["rows"][:3] == [[0], [1], [2]]


def test_the_frame_and_its_payload_are_left_alone() -> None:
    frame = pd.DataFrame({"a": range(100)})
    before = frame.copy()
    payload = {"type": "table", "data": frame}
    show(payload, id="x")
    assert payload.keys() == {"type", "data"} and payload["data"] is frame
    pd.testing.assert_frame_equal(frame, before)


def test_a_lazy_frame_is_never_collected() -> None:
    def burst(frame: pl.DataFrame) -> pl.DataFrame:
        raise AssertionError("collected")

    endless = pl.LazyFrame({"a": [1]}).select(pl.int_range(10**9).alias("n"))
    lazy = endless.map_batches(burst, schema={"n": pl.Int64})
    made = show(lazy)
    assert made["type"] == "text"
    assert "not collected" in made["data"] and "n: Int64" in made["data"]


class Endless:
    """A frame of another make, with a billion rows; only its ends can be had."""

    shape = (10**9, 2)
    columns = ("a", "b")

    def __dataframe__(self) -> None: ...

    def to_dict(self) -> None:
        raise AssertionError("converted whole")

    def head(self, count: int) -> pl.DataFrame:
        return pl.DataFrame({"a": range(count), "b": range(count)})

    tail = head


def test_a_frame_of_a_billion_rows_is_read_at_its_ends() -> None:
    columns, rows, count = table(Endless())
    assert (columns, len(rows), count) == (["a", "b"], 11, 10**9)


def test_a_limit_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="'rows' is a number above 0"):
        Limits(rows=0)
    with pytest.raises(LocalProtocolError, match="'cell'"):
        Limits(cell="x")  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "arrow"])
@pytest.mark.parametrize("ends", [8, 20])
def test_ends_that_meet_leave_no_gap(make: Any, ends: int) -> None:
    assert table(make({"a": list(range(12))}), ends=ends)[1] == [[n] for n in range(12)]


def test_ends_of_an_array_that_meet_leave_no_gap() -> None:
    assert table(np.arange(12), rows=3, ends=10)[1] == [[n] for n in range(12)]


def test_of_a_wide_array_only_the_shown_columns_are_named() -> None:
    columns, rows, _ = table(np.broadcast_to(np.float32(0), (2, 10**12)), columns=2)
    assert columns == [0, 1, "... 999999999998 more"]
    assert rows == [[0, 0, "..."]] * 2


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_the_rows_of_a_matrix_are_rows() -> None:
    assert table(np.matrix([[1, 2], [3, 4]]))[1] == [[1, 2], [3, 4]]


def test_an_index_of_one_level_is_no_list() -> None:
    frame = pd.DataFrame({"a": [1]}, index=pd.MultiIndex.from_arrays([["x"]]))
    assert table(frame)[1] == [["x", 1]]


@pytest.mark.parametrize(
    ("value", "shown"), [("é" * 5000, "é" * 1000 + "..."), (b"x" * 5000, "<5000 bytes>")], ids=["text", "bytes"]
)
def test_of_a_long_arrow_cell_only_the_beginning_is_read(value: Any, shown: str) -> None:
    assert table(pa.table({"a": [value]}))[1] == [[shown]]


def test_a_list_that_contains_itself_is_shown_to_a_depth() -> None:
    held: list[Any] = [1]
    held.append(held)
    column = pd.Series([None], dtype=object)
    anything: Any = held
    column.iat[0] = anything
    [[shown]] = table(pd.DataFrame({"a": column}))[1]
    assert shown[0] == shown[1][0] == 1 and "..." in str(shown)


@pytest.mark.parametrize(
    ("index", "shown"),
    [
        (pd.RangeIndex(300_000), 1),
        (pd.Index(np.arange(300_000)), 1),
        (pd.Index(np.r_[0:100_000, 100_001, 100_000, 100_002:300_000]), 2),
        (pd.RangeIndex(1, 300_001), 2),
    ],
    ids=["a range", "numbers", "two exchanged", "from 1"],
)
def test_a_long_index_is_hidden_only_where_it_counts_the_rows(index: Any, shown: int) -> None:
    assert len(table(pd.DataFrame({"a": range(300_000)}, index=index))[0]) == shown


def test_the_nanoseconds_of_arrow_need_no_pandas() -> None:
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name == "pandas":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
import pyarrow as pa
from asyncblock.preview import Making
made = Making(pa.array([[1]], pa.list_(pa.timestamp("ns", "UTC"))), None, None).finish_blocking()
print(made["data"]["rows"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[[['1970-01-01T00:00:00.000000001+00:00']]]"


def test_a_scalar_of_arrow_is_its_value_and_a_dataset_is_not_read() -> None:
    import pyarrow.dataset

    assert show(pa.scalar(date(2024, 5, 1))) == {"type": "text", "data": "2024-05-01"}
    assert show(pa.scalar(7)) == {"type": "json", "data": 7}
    table = pyarrow.dataset.dataset(pa.table({"a": [1], "b": ["x"]}))
    assert show(table) == {"type": "text", "data": "InMemoryDataset, not read; its columns: a: int64, b: string"}


def test_a_resampled_series_shows_the_sizes_of_its_groups() -> None:
    made = show(pd.Series([1, 2, 3], index=pd.date_range("2024-05-01", periods=3, freq="12h")).resample("D"))
    assert made["data"]["rows"] == [["2024-05-01T00:00:00", 2], ["2024-05-02T00:00:00", 1]]


@pytest.mark.parametrize("short", [0.1, 1e-7, 12345.678, float("nan"), None])
def test_floats_of_few_bits_have_their_own_digits(short: float | None) -> None:
    shown = None if short is None or short != short else short
    numbers = np.array([short] * 30, "float32")
    frames: list[Any] = [
        pd.DataFrame({"a": numbers}),
        pl.DataFrame({"a": pl.Series([short] * 30, dtype=pl.Float32)}),
        pa.table({"a": pa.array([short] * 30, pa.float32())}),
        numbers,
        numbers.astype(">f4"),
        pd.DataFrame({"a": pd.array([short] * 30, dtype="Float32")}),
    ]
    for frame in frames:
        making = Making(frame, None, None)
        made = making.finish_blocking()
        assert made["data"]["rows"][0] == made["data"]["rows"][-1] == [shown]
        assert making.pages is not None
        assert loads(b"".join(making.pages.pieces())) == [[[shown]] * 30]


def test_infinite_floats_of_few_bits_are_told() -> None:
    rows = show(np.array([np.inf, 0.1], "float32"))["data"]["rows"]
    assert rows == [["inf"], [0.1]]
    assert show(np.array([0.1], "float16"))["data"]["rows"] == [[0.1]]


class Length(np.ndarray[Any, Any]):
    """Numbers with a unit, as astropy has them: what is taken of them has it too."""

    unit = "m"

    def __getitem__(self, place: Any) -> Any:
        return np.asarray(super().__getitem__(place)).view(Length)

    def __str__(self) -> str:
        return f"{np.asarray(self)} m"


def test_numbers_with_a_unit_are_numbers() -> None:
    made = show(np.array([1.5, 2.0]).view(Length))
    assert made["data"]["rows"] == [[1.5], [2.0]] and made["note"] == "in m"
    assert show(np.array(3.0).view(Length)) == {"type": "text", "data": "3.0 m"}
    cells = pd.DataFrame({"a": pd.Series([np.array(3.0).view(Length)], dtype=object)})
    assert show(cells)["data"]["rows"] == [["3.0 m"]]
