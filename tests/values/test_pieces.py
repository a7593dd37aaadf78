from __future__ import annotations

import dataclasses
import gc
import threading
import time
from collections import OrderedDict, namedtuple
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncblock.errors import UnserializableValue
from asyncblock.values import Encoded, dumps, loads, pieces
from asyncblock.values.pieces import dumps_pieces, loads_blocks, paced

Pair = namedtuple("Pair", "left right")


@dataclasses.dataclass
class Holder:
    name: str
    rows: Any


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=5), inner, max_size=8),
    max_leaves=60,
)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let small values be split as large ones are."""
    with monkeypatch.context() as patch:
        small_pieces(patch)
        yield


def small_pieces(patch: pytest.MonkeyPatch) -> None:
    for name, size in {"PIECE": 24, "_TEXT": 7, "_FLAT": 3, "_LONG_LINE": 16}.items():
        patch.setattr(pieces, name, size)


def blocks_of(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(values, st.integers(1, 50))
def test_any_value_comes_back_through_lines_whatever_the_blocks(value: Any, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small_pieces(patch)
        data = b"".join(dumps_pieces(value))
        assert loads(data) == value
        assert data.replace(b"\n", b"") == dumps(value)
        assert loads_blocks(blocks_of(data, size)) == value


@given(values, st.integers(1, 50), st.booleans())
def test_json_of_any_other_form_is_read_too(value: Any, size: int, indented: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small_pieces(patch)
        data = orjson.dumps(value, option=orjson.OPT_INDENT_2 if indented else 0)
        assert loads_blocks(blocks_of(data, size)) == value


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=20), st.integers(1, 50))
def test_a_long_text_is_read_in_parts(text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small_pieces(patch)
        for data in (b"".join(dumps_pieces([text])), b'{\n"k":\n' + dumps(text) + b"\n}"):
            assert loads_blocks(blocks_of(data, size)) == loads(data)


LARGE = [
    {"rows": Holder("a", [Holder("b", list(range(30_000))) for _ in range(3)])},
    {"huge": list(range(300_000)), "small": 1},
    [1] * 1000 + [["x" * 1000] * 1000] + [1] * 1000,
    [{"id": i, "tags": ["a", "b"], "name": "é" * 10} for i in range(20_000)],
    OrderedDict(a=Pair(set(range(50_000)), "x" * 500_000)),
    [[[[[[[[[[[[list(range(100_000))]]]]]]]]]]]],
    np.arange(100_000.0),
    {"a": np.arange(60_000, dtype="float32").reshape(3, 20_000), "b": np.zeros((20_000, 3)), "c": np.array(["x"] * 9)},
    np.arange("2020-01-01", "2220-01-01", dtype="M8[D]"),
    np.array([{"a": 1}] * 20_000, dtype=object),
    ['\U0001f600"\\\n' * 100_000],
    {},
    [],
    {"empty": [{}, [], np.array([]), set()], "large": "x" * 300_000},
]


@pytest.mark.parametrize("value", LARGE, ids=[str(index) for index in range(len(LARGE))])
def test_every_form_at_any_depth_comes_in_bounded_pieces(value: Any) -> None:
    made = list(dumps_pieces(value))
    whole = b"".join(made)
    assert whole.replace(b"\n", b"") == dumps(value)
    assert max(map(len, made)) <= 6 * 128 * 1024
    assert loads_blocks(blocks_of(whole, 1 << 20)) == loads(whole)


def test_each_line_parses_alone() -> None:
    value = {"rows": [{"id": i, "x": "y" * 100} for i in range(5000)], "more": list(range(50_000))}
    lines = b"".join(dumps_pieces(value)).split(b"\n")
    assert len(lines) > 5
    for line in (line.removeprefix(b",") for line in lines):
        if line in (b"[", b"]", b"{", b"}"):
            continue
        forms = (b"[%b]" % line, b"{%b}" % line, b"{%bnull}" % line)
        assert any(_parses(form) for form in forms), line[:80]
        assert len(line) < 6 * pieces.PIECE


def _parses(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"rows": [[0] * 40, [0] * 40 + [object()]]}, "rows[1][40]"),
        ({"a": {"b": [1] * 50 + [{"c": object()}]}}, "a.b[50].c"),
        (Holder("x" * 50, [1, 2, 3, {(1,): 2}]), "rows[3]"),
        ([Pair([1] * 40, object())], "[0].right"),
    ],
)
@pytest.mark.usefixtures("tiny")
def test_what_cannot_be_sent_is_named_with_its_path_from_the_top(value: Any, path: str) -> None:
    with pytest.raises(UnserializableValue) as caught:
        list(dumps_pieces(value, handle="out"))
    assert caught.value.path == path
    assert caught.value.handle == "out"


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[Any] = ["x" * 300_000]
    value.append(value)
    with pytest.raises(UnserializableValue, match="contains itself"):
        list(dumps_pieces(value))


def test_a_value_that_changes_meanwhile_is_refused_with_words() -> None:
    value = {str(n): "x" * 50_000 for n in range(10)}
    making = dumps_pieces(value)
    next(making)
    value["more"] = ""
    with pytest.raises(UnserializableValue, match="changed while it was being sent"):
        list(making)


def test_other_threads_run_between_two_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[int] = []
    monkeypatch.setattr(time, "sleep", lambda seconds: slept.append(threading.get_ident()))
    monkeypatch.setattr(pieces, "_YIELD", 0.0)
    made = list(paced(dumps_pieces(list(range(200_000)))))
    assert len(slept) == len(made) > 5
    slept.clear()
    loads_blocks(made)
    assert len(slept) > 5


NESTED = [[[1, 2, 3]] * 20_000, {"a": {"b": {"c": [[1, 2, 3]] * 20_000, "d": 1}}}, [[[[{"x": [[1, 2, 3]] * 20_000}]]]]]


@pytest.mark.parametrize("value", NESTED, ids=["list", "objects", "both"])
def test_between_two_pieces_no_more_is_weighed_than_a_piece(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    weighed = 0

    def counting(*args: Any) -> int:
        nonlocal weighed
        weighed += 1
        return weigh(*args)

    weigh = pieces.weigh
    monkeypatch.setattr(pieces, "weigh", counting)
    counts = []
    for _ in dumps_pieces(value):
        counts.append(weighed)
        weighed = 0
    row = 5 + 3 * 9
    assert max(counts) < 1.2 * pieces.PIECE / row, counts


@pytest.mark.parametrize("kind", [int, float, str])
@pytest.mark.parametrize("count", [3, 16, 17, 1000])
def test_a_list_weighs_what_its_items_weigh(kind: type, count: int) -> None:
    items = [kind(number) for number in range(count)]
    whole, budget = pieces.weigh(items, 100_000, 1), 100_000
    for each in items:
        budget -= len(each) + 3 if isinstance(each, str) else 9
    assert whole == budget - 2
    assert pieces.weigh(items, 100_000 - whole - 1, 1) < 0
    assert pieces.weigh([*items, None], 100_000, 1) < whole


def test_parsing_leaves_nothing_frozen_and_lets_an_authors_frozen_objects_be() -> None:
    data = b"".join(dumps_pieces([{"a": [n]} for n in range(50_000)]))
    loads_blocks([data])
    assert gc.get_freeze_count() == 0
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        loads_blocks([data])
        assert gc.get_freeze_count() >= frozen > 0
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("content", [b"{not json", b"", b"1 2"])
def test_a_fragment_that_is_not_json_is_named_by_its_path(content: bytes) -> None:
    with pytest.raises(UnserializableValue, match=r"on handle 'h' at a\[0\] can't be sent: the fragment isn't JSON"):
        b"".join(dumps_pieces({"a": [orjson.Fragment(content)]}, handle="h"))


def test_a_fragment_comes_in_lines_of_ours() -> None:
    rows = list(range(100_000))
    data = b"".join(dumps_pieces([orjson.Fragment(orjson.dumps(rows, option=orjson.OPT_INDENT_2))]))
    assert data.replace(b"\n", b"") == dumps([rows])
    assert loads_blocks([data]) == [rows]


def test_what_is_encoded_already_is_written_as_it_is() -> None:
    data = b"".join(dumps_pieces({"a": Encoded(b"[%s1]" % (b"1," * 100_000))}))
    assert loads_blocks([data]) == {"a": [1] * 100_001}
    assert dumps([Encoded(b"{}")]) == b"[{}]"


def test_a_dataclass_by_itself_comes_in_pieces() -> None:
    value = Holder("n", [{"i": number} for number in range(50_000)])
    made = list(dumps_pieces(value))
    assert len(made) > 5 and loads(b"".join(made)) == loads(dumps(value))
