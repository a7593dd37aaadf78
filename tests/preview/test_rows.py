"""The rows beside a table that is shown in part: in pages, each JSON by itself, the same rows as in a whole table."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from asyncblock.preview import Limits, Making
from asyncblock.preview.rows import Paged
from asyncblock.values import loads
from asyncblock.values.pieces import loads_blocks

from .showing import show

PANDAS: Any = pd
"""Whose stubs know fewer types than it does."""

COUNT = 300
DAYS = [datetime.date(2024, 1, 1) + datetime.timedelta(days=number) for number in range(COUNT)]
MOMENTS = pd.date_range("2024-01-01", periods=COUNT, freq="h", tz="Europe/Paris")


def paged(payload: object, **limits: Any) -> tuple[Paged, list[list[list[Any]]]]:
    """Make a preview and its pages; see that each page is where the index says, and that the body is JSON in lines."""
    making = Making(payload, None, Limits(**limits))
    made = making.finish_blocking()
    assert set(made["data"]) == {"rows", "columns", "row_count"}
    assert making.pages is not None
    body = b"".join(making.pages.pieces())
    [table] = making.pages.tables
    assert making.pages.to_json() == table.to_json()
    found = [loads(body[offset : offset + size]) for _, offset, size in table.index]
    assert loads(body) == found == loads_blocks([body])
    first = 0
    for (row, _, _), page in zip(table.index, found, strict=True):
        assert row == first
        first += len(page)
    assert first == table.count
    return table, found


def _levels() -> pd.DataFrame:
    index = pd.MultiIndex.from_product([["x", "y", "z"], range(100)], names=["who", None])
    return pd.DataFrame({("a", 1): range(COUNT), ("a", 2): "text"}, index=index)


def _odd() -> list[Any]:
    return [None, float("inf"), float("nan"), 2**70, "é" * 2000, b"x", {"a": [DAYS[0]]}, True, 1, "a\ud800"] * 30


def _edges() -> Any:
    networkx = pytest.importorskip("networkx")
    graph = networkx.Graph()
    graph.add_edges_from((number, number + 1, {"weight": number / 2}) for number in range(COUNT))
    return graph


TABLES: dict[str, Callable[[], Any]] = {
    "numbers": lambda: PANDAS.DataFrame({"a": range(COUNT), "b": np.arange(COUNT) / 7, "c": np.arange(COUNT) % 2 == 0}),
    "not finite": lambda: PANDAS.DataFrame({"a": [1.0, np.nan, np.inf, -np.inf] * 75, "b": np.float32(0.1)}),
    "texts": lambda: PANDAS.DataFrame(
        {"a": ["short", "long " * 300, None] * 100, "b": PANDAS.Categorical(["x", "ü", None] * 100)}
    ),
    "moments": lambda: PANDAS.DataFrame(
        {"a": MOMENTS, "b": PANDAS.Series(DAYS, dtype=object), "c": MOMENTS - MOMENTS[0]}
    ),
    "whole seconds": lambda: PANDAS.DataFrame(
        {
            "a": [*MOMENTS[1:].tz_localize(None), None],
            "b": PANDAS.Series(MOMENTS.tz_localize(None)) - PANDAS.Timedelta(1),
        }
    ),
    "far away": lambda: PANDAS.DataFrame({"a": np.array(["0001-01-01", "9999-12-31", "NaT"] * 100, "M8[s]")}),
    "nullable": lambda: PANDAS.DataFrame(
        {"a": PANDAS.array([1, None, 3] * 100, "Int64"), "b": PANDAS.array([True, None, False] * 100)}
    ),
    "odd": lambda: PANDAS.DataFrame({"a": PANDAS.Series(_odd(), dtype=object)}),
    "levels": _levels,
    "an index of days": lambda: PANDAS.DataFrame({"a": range(COUNT)}, index=PANDAS.Index(DAYS, name="day")),
    "sparse": lambda: PANDAS.DataFrame({"a": PANDAS.arrays.SparseArray([0, 0, 1] * 100)}),
    "arrow in pandas": lambda: PANDAS.DataFrame(
        {"a": PANDAS.array([[1], [2, 3], None] * 100, PANDAS.ArrowDtype(pa.list_(pa.int64())))}
    ),
    "no columns": lambda: PANDAS.DataFrame(index=range(COUNT)),
    "many columns": lambda: PANDAS.DataFrame(np.arange(COUNT * 210).reshape(COUNT, 210)),
    "a series": lambda: PANDAS.Series(range(COUNT), index=DAYS, name="s"),
    "an index": lambda: PANDAS.Index(DAYS, name="day"),
    "several levels": lambda: _levels().index,
    "groups": lambda: PANDAS.DataFrame({"a": list(range(150)) * 2, "b": 1}).groupby("a"),
    "a styled one": lambda: PANDAS.DataFrame({"a": range(1000)}).style.map(lambda _: "", subset=([999], ["a"])),
    "polars": lambda: pl.DataFrame({"a": range(COUNT), "b": DAYS, "c": [[day] for day in DAYS]}),
    "nanoseconds": lambda: pl.DataFrame({"a": pl.Series(range(COUNT)).cast(pl.Datetime("ns"))}),
    "arrow": lambda: pa.table({"a": range(COUNT), "b": DAYS, "c": ["x" * 2000, None, "y"] * 100, "d": [[1.5]] * COUNT}),
    "a batch": lambda: pa.record_batch({"a": pa.array([1, None, 255] * 100, pa.uint8())}),
    "a chunked array": lambda: pa.chunked_array([[1.5, None], [2.5] * 298]),
    "numpy": lambda: np.arange(COUNT * 3, dtype="float32").reshape(COUNT, 3) / 10,
    "one dimension": lambda: np.arange(COUNT),
    "days of numpy": lambda: np.array(DAYS, "M8[ns]"),
    "objects of numpy": lambda: np.array(_odd(), dtype=object),
    "records": lambda: np.array([(1, 2.5, "x")] * COUNT, dtype=[("a", "i4"), ("b", "f8"), ("c", "U3")]),
    "masked": lambda: np.ma.masked_array(np.arange(COUNT * 2).reshape(COUNT, 2), False),
    "typed mappings": lambda: {"type": "table", "data": [{"a": number, "b": DAYS[number]} for number in range(COUNT)]},
    "typed lists": lambda: {"type": "table", "data": [[number, "x"] for number in range(COUNT)]},
    "typed columns": lambda: {
        "type": "table",
        "data": {"a": list(range(COUNT)), "b": PANDAS.Series(DAYS, index=range(5, 305))},
    },
    "a typed frame": lambda: {"type": "table", "title": "t", "data": pl.DataFrame({"a": range(COUNT)})},
    "edges": _edges,
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_the_pages_have_the_rows_of_the_whole_table(make: Callable[[], Any]) -> None:
    pages, found = paged(make(), table_bytes=256 * 1024)
    whole = show(make(), rows=10_000)["data"]
    rows = [row for page in found for row in page]
    assert rows == whole["rows"][: len(rows)]
    assert all(len(row) == len(whole["columns"]) for row in rows)
    assert len(rows) > 50 if pages.note else len(rows) == whole["row_count"]


@pytest.mark.parametrize(
    "value", [pd.DataFrame({"a": range(10)}), pd.DataFrame(), {"a": 1}, [pd.DataFrame({"a": range(9)})] * 2, "x" * 99]
)
def test_what_is_shown_whole_or_is_no_table_has_no_pages(value: Any) -> None:
    making = Making(value, None, None)
    making.finish_blocking()
    assert making.pages is None


def test_what_has_no_room_is_cut_and_told() -> None:
    pages, found = paged(pd.DataFrame({"a": range(1_000_000)}), table_bytes=100_000)
    assert pages.note == f"the first {pages.count:,} of 1,000,000 rows"
    assert sum(size for _, _, size in pages.index) <= 100_000
    # Eight characters for a number in a row of its own, with the comma.
    assert pages.count > 10_000
    assert [row for page in found for row in page] == [[number] for number in range(pages.count)]
    assert pages.to_json() == {"rows": pages.count, "index": pages.index, "note": pages.note}
    assert len(pages.index) < 150


def test_a_page_of_rows_of_any_size_stays_small() -> None:
    pages, _ = paged(pd.DataFrame({"a": ["x"] * 5000 + ["y" * 900] * 5000}))
    assert max(size for _, _, size in pages.index) <= 64 << 10
    assert 60 < len(pages.index) < 160


def test_the_pages_are_those_of_the_call() -> None:
    frames: list[Any] = [pd.DataFrame({"a": range(500)}), pl.DataFrame({"a": range(500)})]
    for frame in frames:
        making = Making(frame, None, None)
        if isinstance(frame, pd.DataFrame):
            frame["a"] = -1
            frame.loc[:, "b"] = 7
        else:
            frame[3, "a"] = -1
        making.finish_blocking()
        assert making.pages is not None
        body = loads(b"".join(making.pages.pieces()))
        assert [row for page in body for row in page] == [[number] for number in range(500)]


class Slow:
    """A value whose text takes a while."""

    def __str__(self) -> str:
        time.sleep(0.01)
        return "slow"


def test_rows_that_take_long_are_cut_and_told() -> None:
    pages, found = paged(pd.DataFrame({"a": pd.Series([Slow()] * 2000, dtype=object)}), seconds=2)
    assert pages.note is not None and "of 2,000 rows, which took 0." in pages.note
    assert 5 < pages.count < 200 and found[0][0] == ["slow"]


def test_rows_that_cannot_be_read_are_cut_and_told() -> None:
    rows = [[number] for number in range(500)]
    making = Making({"type": "table", "data": rows}, None, None)
    making.finish_blocking()
    del rows[100:]
    assert making.pages is not None
    body = loads(b"".join(making.pages.pieces()))
    assert 0 < sum(map(len, body)) <= 100
    note = making.pages.tables[0].note
    assert note is not None and note.endswith("of 500 rows; what follows raises IndexError")


def test_of_a_huge_frame_only_what_is_carried_is_read() -> None:
    frame = pd.DataFrame(np.zeros((20_000_000, 1)))
    began = time.thread_time()
    pages, _ = paged(frame, table_bytes=50_000)
    # Reading all takes seconds.
    assert time.thread_time() - began < 0.5
    assert pages.count < 20_000


def test_the_tables_of_a_group_have_pages_each() -> None:
    frame = PANDAS.DataFrame({"a": range(COUNT)})
    making = Making({"long": frame, "a text": "x", "in a list": [frame.head(5), frame * 2]}, None, Limits())
    made = making.finish_blocking()
    assert [each["type"] for each in made["data"]] == ["table", "text", "group"]
    assert all(set(each) == {"type", "title", "data"} for each in (made["data"][0], *made["data"][2]["data"]))
    assert making.pages is not None
    body = b"".join(making.pages.pieces())
    said = making.pages.to_json()
    assert (said["rows"], said["index"]) == (0, [])
    for table, at, factor in zip(said["tables"], [(0,), (2, 1)], [1, 2], strict=True):
        assert (table["at"], table["rows"]) == (at, COUNT)
        pages = [loads(body[offset : offset + size]) for _, offset, size in table["index"]]
        assert [row for page in pages for row in page] == [[number * factor] for number in range(COUNT)]
    assert loads(body) == loads_blocks([body])


def test_the_tables_of_a_group_share_the_room() -> None:
    short, long = (PANDAS.DataFrame({"a": ["x" * 96] * count}) for count in (20, 3000))
    making = Making([long, short, long], None, Limits(table_bytes=100_000))
    making.finish_blocking()
    assert making.pages is not None
    body = b"".join(making.pages.pieces())
    first, second, third = making.pages.tables
    assert len(body) <= 100_000
    # A hundred bytes a row; what the short one leaves is the last one's.
    assert 300 < first.count <= 333 and second.count == 20 and 600 < third.count < 660
    assert (second.note, first.note) == (None, f"the first {first.count} of 3,000 rows")


def test_groups_of_a_frame_have_the_rows_of_their_sizes() -> None:
    groups = PANDAS.DataFrame({"a": range(COUNT), "b": 1}).groupby("a")
    pages, found = paged(groups)
    assert pages.count == COUNT and found[-1][-1] == [COUNT - 1, 1]
