"""Values as they were when they were put out."""

from __future__ import annotations

import array
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from asyncblock.varvalues.detached import detached, is_quick


def writes(value: Any) -> None:
    """Change a value in place."""
    match value:
        case pd.DataFrame():
            value.iloc[0, 0] = 99
            value["more"] = 1
        case pd.Series():
            value.iloc[0] = 99
        case pl.DataFrame():
            value[0, 0] = 99
            value.insert_column(0, pl.Series("more", [0, 0, 0]))
        case _:
            value[0] = type(value[0])(99)


def view_of_a_buffer() -> np.ndarray[Any, Any]:
    view = np.arange(3)[:]
    assert view.base is not None
    return view


VALUES = {
    "pandas": lambda: pd.DataFrame({"a": [1, 2, 3]}),
    "series": lambda: pd.Series([1, 2, 3]),
    "polars": lambda: pl.DataFrame({"a": [1, 2, 3]}),
    "array": lambda: np.arange(3),
    "view": view_of_a_buffer,
    "strided": lambda: np.arange(6)[::2],
    "masked": lambda: np.ma.masked_array([1, 2, 3], [False, True, False]),
    "bytearray": lambda: bytearray(b"abc"),
    "memoryview": lambda: memoryview(bytearray(b"abcd" * 3)).cast("i"),
    "array.array": lambda: array.array("d", [1, 2, 3]),
}


@pytest.mark.parametrize("make", VALUES.values(), ids=VALUES)
def test_changes_reach_nobody_else(make: Any) -> None:
    before, value = make(), make()
    kept = detached(value)
    writes(value)
    handed = detached(kept)
    writes(handed)
    assert type(kept) is type(before)
    assert repr(list(kept)) == repr(list(before))
    if isinstance(before, pd.DataFrame):
        pd.testing.assert_frame_equal(kept, before)
    if isinstance(before, pl.DataFrame):
        assert kept.equals(before)


def test_a_camera_s_buffer_behind_a_view_that_is_read_only_is_copied() -> None:
    buffer = np.zeros(4, dtype="u1")
    view = buffer[:]
    view.flags.writeable = False
    raw = bytearray(4)
    for shown in (view, np.frombuffer(memoryview(raw).toreadonly(), dtype="u1")):
        kept = detached(shown)
        buffer[0] = raw[0] = 1
        assert list(kept) == [0, 0, 0, 0]
        buffer[0] = raw[0] = 0


def test_what_nobody_can_change_is_not_copied(tmp_path: Path) -> None:
    fixed = np.arange(3)
    fixed.flags.writeable = False
    (tmp_path / "file").write_bytes(bytes(100))
    mapped = np.memmap(tmp_path / "file", mode="r")
    for value in (
        fixed,
        fixed[1:],
        np.frombuffer(b"abc", dtype="u1"),
        memoryview(b"abc"),
        pa.table({"a": [1]}),
        mapped,
        mapped[2:],
        np.broadcast_to(np.zeros(1), (10**12,)),
    ):
        assert detached(value) is value


def test_everything_else_is_what_it_is() -> None:
    for value in (None, {"a": np.zeros(1)}, [1], {1}, object(), threading.Lock(), (1, 2), b"abc", lambda: 0):
        assert detached(value) is value
        assert is_quick(value)


def test_classes_of_authors_stay_what_they_are() -> None:
    class Frame(pd.DataFrame):
        @property
        def _constructor(self) -> type[Frame]:
            return Frame

    class Picture(np.ndarray[Any, Any]):
        pass

    assert type(detached(Frame({"a": [1]}))) is Frame
    assert type(detached(np.arange(3).view(Picture))) is Picture


def test_only_what_is_small_is_copied_on_a_loop() -> None:
    assert is_quick(np.zeros(1000))
    assert not is_quick(np.zeros(1 << 20))
    assert not is_quick(bytearray(2 << 20))
    # A shallow copy is enough where pandas copies on write, which is an option before 3.
    assert is_quick(pd.DataFrame({"a": np.zeros(1 << 20)})) is not pd.__version__.startswith("2.")


def test_pandas_without_copy_on_write_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[bool] = []

    def copy(self: pd.DataFrame, deep: bool) -> pd.DataFrame:
        copies.append(deep)
        return self

    monkeypatch.setattr(pd.DataFrame, "copy", copy)
    for version, option, expected in (
        ("2.2.3", False, True),
        ("2.2.3", "warn", True),
        ("2.2.3", True, False),
        ("3.1.1", False, False),
    ):
        monkeypatch.setattr(pd, "__version__", version)
        monkeypatch.setattr(pd, "get_option", lambda name, option=option: option)
        detached(pd.DataFrame({"a": [1]}))
        assert copies.pop() is expected
    monkeypatch.setattr(pd, "__version__", "2.2.3")
    monkeypatch.setattr(pd, "get_option", lambda name: False)
    assert not is_quick(pd.DataFrame({"a": np.zeros(1 << 20)}))
    assert is_quick(pd.Series([1, 2]))
