"""One property over every form of a value: what is encoded here can be decoded, whole and in lines; else it is named."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import math
import pathlib
import types
import uuid
from typing import Any

import attrs
import msgspec
import numpy as np
import orjson
import pandas as pd
import pydantic
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from asyncblock.errors import UnserializableValue
from asyncblock.values import dumps, is_small, pieces
from asyncblock.values.pieces import dumps_pieces, loads_blocks


@dataclasses.dataclass
class Data:
    x: Any
    _hidden: Any = None


@attrs.define
class Attrs:
    x: Any


class Struct(msgspec.Struct):
    x: Any


class Model(pydantic.BaseModel):
    x: Any


Pair = collections.namedtuple("Pair", "x y")


class Colour(enum.Enum):
    RED = "red"
    ONE = 1
    MANY = (1, 2)


class Large(enum.IntEnum):
    HUGE = 2**70
    SMALL = 3


class Whole(int):
    pass


class Real(float):
    pass


class Text(str):
    pass


zones = (
    st.none()
    | st.just(datetime.UTC)
    | st.integers(-86399, 86399).map(lambda seconds: datetime.timezone(datetime.timedelta(seconds=seconds)))
)
hashable = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers().map(Whole),
    st.floats(),
    st.floats().map(Real),
    st.decimals().filter(lambda number: not number.is_snan()),
    st.decimals(places=2, min_value=-1000, max_value=1000),
    st.text(st.characters(), max_size=8),  # lone surrogates too
    st.text(max_size=4).map(Text),
    st.text(max_size=4).map(np.str_),
    st.binary(max_size=4),
    st.complex_numbers(),
    st.datetimes(timezones=zones),
    st.times(timezones=zones),
    st.dates(),
    st.timedeltas(),
    st.uuids(),
    st.sampled_from([*Colour, *Large]),
    st.just(pathlib.PurePosixPath("a/b")),
    st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)).map(pd.Timestamp),
    st.sampled_from([pd.Timedelta(seconds=1), np.datetime64("NaT", "ns"), np.timedelta64(3, "ms")]),
    st_numpy.scalar_dtypes().flatmap(st_numpy.from_dtype),
    st.floats().map(np.longdouble),
)
dtypes = st.one_of(st_numpy.scalar_dtypes(), st.just(np.dtype(object)), st.just(np.dtype(np.longdouble)))


def views(array: Any) -> Any:
    """Arrays as others make them: with gaps, turned, masked."""
    made = [array, array.T, np.asfortranarray(array)]
    if array.ndim:
        made.append(np.repeat(array, 2, axis=0)[::2])
    if array.dtype.kind in "biuf":
        made.append(np.ma.masked_array(array, array == array.min() if array.size else False))
    return st.sampled_from(made)


arrays = st_numpy.arrays(
    st_numpy.scalar_dtypes(), st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
).flatmap(views)
json_texts = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
).map(lambda value: pydantic.TypeAdapter(Any).dump_json(value))
fragments = (json_texts | st.binary(max_size=6) | st.sampled_from([b"1E400", b"9" * 30, b"[", b'"\\ud800"'])).map(
    orjson.Fragment
)
values = st.recursive(
    hashable
    | arrays
    | fragments
    | st.sampled_from([object(), pd.NA, pd.NaT, decimal.Decimal("sNaN")])
    | st.lists(hashable, max_size=3).map(lambda items: np.array([*items, None], dtype=object)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(hashable, max_size=4),
        st.dictionaries(st.text(max_size=3), inner, max_size=4),
        st.dictionaries(hashable, inner, max_size=3),
        st.dictionaries(st.text(max_size=3), inner, max_size=3).map(collections.UserDict),
        st.dictionaries(st.integers(), inner, max_size=3).map(types.MappingProxyType),
        st.tuples(inner, inner).map(lambda pair: Pair(*pair)),
        inner.map(Data),
        inner.map(Attrs),
        inner.map(Struct),
        inner.map(lambda value: Model(x=value)),
    ),
    max_leaves=12,
)


def encoded(value: Any) -> list[bytes] | None:
    """Encode as a block's values are; None where the value is refused."""
    try:
        return [dumps(value)] if is_small(value) else list(dumps_pieces(value))
    except UnserializableValue:
        return None


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(value=values, tiny=st.booleans())
@example(value=[Whole(2**70)], tiny=False)
@example(value=np.array([], dtype="M8[s]"), tiny=True)
@example(value={1: orjson.Fragment(b"1E400")}, tiny=True)
def test_what_is_encoded_can_be_decoded_or_is_refused_by_name(value: Any, tiny: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if tiny:
            # So small that every value comes in pieces.
            patch.setattr(pieces, "PIECE", 16)
            patch.setattr(pieces, "_FLAT", 2)
            patch.setattr(pieces, "_TEXT", 3)
        sent = encoded(value)
        try:
            made = list(dumps_pieces(value))
        except UnserializableValue as error:
            assert sent is None, error
            return
        whole = b"".join(made)
        assert orjson.loads(whole) == loads_blocks(made)
        assert sent is None or orjson.loads(b"".join(sent)) == orjson.loads(whole)
        # A record is a part of a line.
        assert orjson.loads(b'{"output":' + whole.replace(b"\n", b"") + b"}") == {"output": orjson.loads(whole)}


@pytest.mark.parametrize("shape", [(12_000,), (4000, 3), (40, 100, 3), (12_000, 1), (3, 4000), (1, 1, 12_000)])
@pytest.mark.parametrize("dtype", ["u1", "f4", ">i8", "?", "M8[s]", "m8[s]", "O", "U3", "f2"])
def test_arrays_of_every_shape_come_in_few_pieces_and_come_back(shape: tuple[int, ...], dtype: str) -> None:
    array = (np.arange(12_000) % 100).astype(dtype).reshape(shape)
    plain = array.tolist() if dtype not in ("M8[s]", "m8[s]") else orjson.loads(dumps(array))
    for each in (array, np.repeat(array, 2, axis=-1)[..., ::2], np.asfortranarray(array)):
        made = list(dumps_pieces(each))
        assert orjson.loads(b"".join(made)) == plain
        assert len(made) < 200


@given(
    st_numpy.arrays(
        st.sampled_from([np.dtype(kind) for kind in ("u1", "i1", "u8", "i8", "f2", "f4", "f8", "?", ">i4", ">f8")]),
        st_numpy.array_shapes(min_dims=1, max_dims=6, min_side=0, max_side=5),
    ),
    st.booleans(),
)
def test_the_text_of_an_array_is_that_of_its_lists(array: Any, turned: bool) -> None:
    given = array.T if turned else array
    # orjson has the digits of the numbers' own precision, and of lists those of doubles.
    own = np.ascontiguousarray(given, given.dtype.newbyteorder("="))
    assert dumps(given) == orjson.dumps(own, option=orjson.OPT_SERIALIZE_NUMPY)
    if array.dtype.kind != "f" or array.dtype.itemsize == 8:
        assert dumps(given) == orjson.dumps(given.tolist())


SHAPES = [
    (1200, 3),
    (200, 2, 3),
    (40, 10, 3),
    (1200, 1),
    (1200, 1, 1),
    (1, 1200, 1),
    (3, 400, 3),
    (2, 600, 1),
    (50, 2, 2, 6),
    (100, 1, 3, 4),
    (1, 1, 1, 5),
    (600, 2),
    (171, 7),
]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["u1", "i1", "<i8", ">u2", "?", "f8", "u8"])
@pytest.mark.parametrize("least", [0, -50, 1000, -(2**62)])
def test_short_rows_have_the_text_of_their_lists(shape: tuple[int, ...], kind: str, least: int) -> None:
    numbers = np.arange(math.prod(shape)) % 1100 + least
    array = numbers.astype(kind).reshape(shape)
    for each in (array, array.T, array[..., ::-1], array[::2]):
        assert dumps(each) == orjson.dumps(each.tolist())
        assert orjson.loads(b"".join(dumps_pieces(each))) == each.tolist()


def test_an_array_may_have_as_many_axes_as_numpy_knows() -> None:
    most = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32
    array = np.arange(6).reshape((2,) + (1,) * (most - 3) + (3,))
    assert dumps(array) == orjson.dumps(array.tolist())
    assert b"".join(dumps_pieces([array])).replace(b"\n", b"") == dumps([array])


def test_one_uuid_may_be_a_key_and_a_value() -> None:
    one = uuid.UUID(int=1)
    assert orjson.loads(dumps({one: one})) == {str(one): str(one)}


@pytest.mark.parametrize("shape", [(0,), (0, 2), (2, 0), (1, 0, 3), (2, 2, 0)])
def test_a_masked_array_without_items_keeps_its_shape(shape: tuple[int, ...]) -> None:
    value = np.ma.masked_array(np.zeros(shape, dtype=bool), mask=True)
    assert loads_blocks(dumps_pieces({"a": value})) == {"a": np.zeros(shape).tolist()}


LARGE_MIXED = {(n, n) for n in range(20_000)} | {(19_999, "text"), (0, None)}


@pytest.mark.parametrize(
    "value", [{False, decimal.Decimal("NaN")}, {1, "a", None}, LARGE_MIXED], ids=["not a number", "kinds", "large"]
)
def test_a_set_whose_members_cant_be_compared_is_sent_in_any_order(value: set[Any]) -> None:
    found = loads_blocks(dumps_pieces([value]))[0]
    assert len(found) == len(value)
    if len(value) < 10:
        assert sorted(map(str, orjson.loads(dumps(value)))) == sorted(map(str, found))
