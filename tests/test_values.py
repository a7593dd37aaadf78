from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import os
import pathlib
import uuid
from typing import Any

import attrs
import msgspec
import numpy as np
import orjson
import pandas as pd
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncblock.errors import UnserializableValue
from asyncblock.values import dumps, is_small, loads
from asyncblock.values.pieces import dumps_pieces


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


Pair = collections.namedtuple("Pair", "a b")


class Odd(datetime.tzinfo):
    """A time zone that orjson doesn't know, some seconds off."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    def dst(self, when: datetime.datetime | None) -> None:
        return None

    def tzname(self, when: datetime.datetime | None) -> str:
        return "odd"

    def utcoffset(self, when: datetime.datetime | None) -> datetime.timedelta:
        return datetime.timedelta(seconds=self.seconds)


class Metres(float):
    def __float__(self) -> float:
        raise RuntimeError("not asked")


class Whole(int):
    pass


class Shade(enum.StrEnum):
    DARK = "dark"


class Fails:
    def __fspath__(self) -> str:
        raise RuntimeError("odd")


os.PathLike.register(Fails)


class Struct(msgspec.Struct):
    a: int


class Model(pydantic.BaseModel):
    when: datetime.date
    inner: list[Any]


@attrs.define
class Attrs:
    x: int
    y: Any


UTC = datetime.UTC

FORMS: list[tuple[Any, str]] = [
    (None, "null"),
    (float("nan"), "null"),
    (float("-inf"), "null"),
    (Point(1, [Point(2)]), '{"x":1,"y":[{"x":2,"y":null}]}'),
    (Pair(1, 2), '{"a":1,"b":2}'),
    ((1, 2), "[1,2]"),
    ({3, 1, 2}, "[1,2,3]"),
    (frozenset("ba"), '["a","b"]'),
    (collections.OrderedDict(a=1), '{"a":1}'),
    (datetime.datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC), '"2020-01-02T03:04:05+00:00"'),
    (datetime.date(2020, 1, 2), '"2020-01-02"'),
    (datetime.time(3, 4), '"03:04:00"'),
    (datetime.time(3, 4, tzinfo=UTC), '"03:04:00+00:00"'),
    (datetime.time(3, 4, tzinfo=Odd(30)), '"03:04:00+00:00:30"'),
    (datetime.timedelta(minutes=1.5), "90.0"),
    (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
    (decimal.Decimal("1.23"), "1.23"),
    (decimal.Decimal("5"), "5"),
    # Older releases of orjson write no plus.
    (decimal.Decimal("1E+300"), orjson.dumps(1e300).decode()),
    (decimal.Decimal("sNaN"), "null"),
    (decimal.Decimal("NaN"), "null"),
    (pathlib.PurePosixPath("/a/b"), '"/a/b"'),
    (Colour.RED, '"red"'),
    (np.float64(1.5), "1.5"),
    (np.int32(7), "7"),
    (np.bool_(True), "true"),
    (np.float32(0.1), "0.1"),
    (np.array(0.1, "f4"), "0.1"),
    (np.array([0.1], "f4"), "[0.1]"),
    (np.array([0.1, 0.1], "f4")[::2], "[0.1]"),
    (np.array([0.1], ">f4"), "[0.1]"),
    ([np.float32(0.1)], "[0.1]"),
    (np.array([np.float32(0.1)], object), "[0.1]"),
    (np.ma.masked_array(np.array([0.1, 2], "f4"), [False, True]), "[0.1,null]"),
    (np.ma.masked_array([[1, 2], [3, 4]], [[False, True], [False, False]]), "[[1,null],[3,4]]"),
    (np.float16(0.5), "0.5"),
    (np.longdouble(0.5), "0.5"),
    (np.array([0.5], np.longdouble), "[0.5]"),
    (Metres(1.5), "1.5"),
    (collections.Counter([1, 1, 2]), '{"1":2,"2":1}'),
    ({datetime.date(2020, 1, 2): 1, uuid.UUID(int=1): 2}, '{"2020-01-02":1,"00000000-0000-0000-0000-000000000001":2}'),
    ({np.str_("a"): 1, Shade.DARK: 2, Colour.RED: 3}, '{"a":1,"dark":2,"red":3}'),
    ({np.int64(1): 1, 1.5: 2, np.float32(0.1): 3, decimal.Decimal("1.20"): 4}, '{"1":1,"1.5":2,"0.1":3,"1.20":4}'),
    ({True: 1, pathlib.PurePosixPath("a"): 2, pd.Timestamp("2020"): 3}, '{"true":1,"a":2,"2020-01-01T00:00:00":3}'),
    (pd.DataFrame({"a": [1]}).to_dict(), '{"a":{"0":1}}'),
    (Model(when=datetime.date(2020, 1, 2), inner=[Struct(a=1)]), '{"when":"2020-01-02","inner":[{"a":1}]}'),
    (Attrs(1, [Struct(a=2)]), '{"x":1,"y":[{"a":2}]}'),
    (np.arange(3), "[0,1,2]"),
    (np.arange(6).reshape(2, 3)[:, ::2], "[[0,2],[3,5]]"),
    (np.array([1.0, np.nan]), "[1.0,null]"),
    (np.array(["a", None], dtype=object), '["a",null]'),
    (np.datetime64("NaT", "ns"), "null"),
    (np.array(["NaT", "2020-01-01"], dtype="datetime64[ns]"), '[null,"2020-01-01T00:00:00.000000000"]'),
    (np.array([1, 2], dtype="timedelta64[s]"), "[1.0,2.0]"),
    (pd.Timestamp("2020-01-02", tz="UTC"), '"2020-01-02T00:00:00+00:00"'),
    (pd.NaT, "null"),
    (pd.NA, "null"),
    (pd.Timedelta(seconds=3), "3.0"),
]


@pytest.mark.parametrize(("value", "form"), FORMS, ids=[f"{type(value).__name__}-{form[:30]}" for value, form in FORMS])
def test_values_json_does_not_have_take_their_stated_form(value: Any, form: str) -> None:
    assert dumps(value).decode() == form
    assert dumps({"k": [value]}).decode() == f'{{"k":[{form}]}}'


class Loop:
    def __init__(self) -> None:
        self.me: dict[str, Any] = {}
        self.me["me"] = self.me


async def coroutine() -> None: ...


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


WRONG: list[tuple[Any, str, str]] = [
    ({"rows": [0, 1, 2, {"when": object()}]}, "rows[3].when", "object"),
    (object(), "", "oomol/var"),
    ([b"x"], "[0]", "oomol/bin"),
    ({"n": 2**64}, "n", "64 bits"),
    ({"a": {(1, 2): 2}}, "a", "key (1, 2) is of type tuple"),
    ({"a": {None: 2}}, "a", "NoneType"),
    ({"a": {float("nan"): 2}}, "a", "key nan"),
    ({"a": {b"x": 2}}, "a", "bytes"),
    ({"a": [{1: 2, "1": 3}]}, "a[0]", "two of its keys have the text '1'"),
    ({"a": {Colour.RED: 2, "red": 3}}, "a", "two of its keys"),
    (collections.UserDict({"a": collections.UserDict({(): 1})}), "a", "tuple"),
    ([decimal.Decimal(2**70)], "[0]", "Decimal has digits"),
    ([decimal.Decimal("1E+400")], "[0]", "Decimal has digits"),
    ({"a": decimal.Decimal("1E-400")}, "a", "Decimal has digits"),
    (Attrs(1, decimal.Decimal("0.1000000000000000000001")), "y", "Decimal has digits"),
    ([np.longdouble("0.1")], "[0]", "longdouble"),
    (np.array([1, 2j]), "[0]", "complex"),
    ([1 + 2j], "[0]", "complex"),
    ([Whole(2**70)], "[0]", "64 bits"),
    (np.array([1, 2**70], object), "", "64 bits"),
    ([Fails()], "[0]", "odd"),
    ([Model(when=datetime.date(2020, 1, 2), inner=[object()])], "[0]", "serialize"),
    (["\ud800"], "[0]", "surrogates"),
    ({"\ud800": 1}, "", "surrogates"),
    (Loop().me, "me", "contains itself"),
    (deep(1000), "[0]", "nested"),
    ([iter(())], "[0]", "iterator"),
    (Point(1, {"z": object()}), "y.z", "object"),
    ({"f": pd.DataFrame({"a": [1]})}, "f", "oomol/var"),
]


@pytest.mark.parametrize(("value", "path", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_what_json_cannot_carry_names_handle_path_and_remedy(value: Any, path: str, words: str) -> None:
    for encode in (dumps, lambda value, handle: list(dumps_pieces(value, handle=handle))):
        with pytest.raises(UnserializableValue) as caught:
            encode(value, handle="out")
        assert caught.value.handle == "out"
        assert caught.value.path.startswith(path)
        assert words in str(caught.value)
        assert "'out'" in str(caught.value)


def test_a_forgotten_await_is_named() -> None:
    forgotten = coroutine()
    with pytest.raises(UnserializableValue, match="forgotten"):
        dumps({"a": forgotten})
    forgotten.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=5), inner, max_size=8),
    max_leaves=60,
)


@given(json_values)
def test_pieces_together_are_the_same_json(value: Any) -> None:
    assert loads(b"".join(dumps_pieces(value))) == loads(dumps(value)) == orjson.loads(orjson.dumps(value))


@pytest.mark.parametrize(
    "value",
    [
        [{"id": i, "name": "x" * 50} for i in range(20_000)],
        {f"k{i}": list(range(1000)) for i in range(300)},
        {"deep": {"deeper": [[i] * 100 for i in range(5000)]}},
        [["y" * 300_000], list(range(100_000)), {}, [], "z" * 10],
    ],
    ids=["rows", "columns", "nested", "mixed"],
)
def test_large_values_come_in_pieces_that_are_quick_to_make(value: Any) -> None:
    pieces = list(dumps_pieces(value))
    assert len(pieces) > 2
    assert max(map(len, pieces)) < 1 << 20
    assert b"".join(pieces).replace(b"\n", b"") == dumps(value)


@dataclasses.dataclass
class Holder:
    held: Any


class Heavy(enum.Enum):
    LIGHT = 1
    HEAVY = "x" * 100_000


@pytest.mark.parametrize(
    ("value", "small"),
    [
        (1, True),
        ("x" * 1000, True),
        ("x" * 100_000, False),
        ({"a": 1, "b": [1, 2]}, True),
        (list(range(100)), True),
        (list(range(100_000)), False),
        ({"a": "x" * 100_000}, False),
        (np.zeros(10), False),
        (datetime.datetime(2020, 1, 1), True),
        (Holder([1, 2]), True),
        (Holder(list(range(100_000))), False),
        (Holder(np.zeros(100_000)), False),
        (Heavy.LIGHT, True),
        (Heavy.HEAVY, False),
        (orjson.Fragment(b"1"), False),
        ([orjson.Fragment(b"1")], False),
    ],
)
def test_is_small_only_of_what_certainly_is(value: Any, small: bool) -> None:
    assert is_small(value) is small


@given(json_values)
def test_what_is_small_encodes_to_little(value: Any) -> None:
    if is_small(value, 1000):
        assert len(dumps(value)) <= 1200
