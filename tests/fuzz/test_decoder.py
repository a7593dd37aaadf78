"""Item 10d: whatever bytes come, a documented error or a valid record, in bounded time and memory."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncblock.errors import RemoteProtocolError
from asyncblock.testing import run_virtual
from asyncblock.wire.bodies import encode_chunk
from asyncblock.wire.frames import is_text, split
from asyncblock.wire.messages import MESSAGES
from asyncblock.wire.records import RECORDS, check

from .feeding import decode_one, feed_gateway


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """The gateway warns about each unreadable message."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


LARGE = 256 << 10
"""A sixteenth of the limit: tracing memory is slow, and what grows with the length shows here too."""

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def control(op: str) -> st.SearchStrategy[dict[str, Any]]:
    """Messages with some of their fields, of the right type or of any."""
    likely: st.SearchStrategy[Any] = st.integers(0, 9) | st.text(max_size=5) | st.just([]) | st.just({}) | JSON
    optional = {field.name: likely for field in fields(MESSAGES[op])}
    return st.fixed_dictionaries({"op": st.just(op)}, optional=optional)


def record(name: str) -> st.SearchStrategy[Any]:
    shape = RECORDS[name]
    names = [field for field, _ in (*shape.required, *shape.optional)] + list(shape.one_of or ())
    ref = st.fixed_dictionaries(
        {"n": st.integers(1, 4), "length": st.integers(0, 9), "sha256": st.just("0" * 64), "encoding": st.just("json")}
    )
    return st.fixed_dictionaries({"type": st.just(name), "t": st.just(1)}, optional=dict.fromkeys(names, JSON | ref))


RECORD = st.sampled_from(sorted(RECORDS)).flatmap(record) | JSON
BATCH = st.builds(
    lambda seq, channels, lines: b"\n".join(
        [orjson.dumps({"op": "batch", "seq": seq, "channels": channels}), *(orjson.dumps(line) for line in lines)]
    ),
    st.integers(-1, 4) | JSON,
    st.lists(st.integers(0, 3), max_size=3),
    st.lists(st.lists(RECORD, max_size=3), max_size=3),
)
CHUNK = st.builds(encode_chunk, st.integers(0, 3), st.integers(0, 9), st.binary(max_size=9))
LINE = st.sampled_from(sorted(MESSAGES)).flatmap(control).map(orjson.dumps)
MESSAGE = st.binary(max_size=60) | LINE | BATCH | CHUNK | st.lists(LINE | BATCH, max_size=3).map(b"\n".join)


@given(MESSAGE)
@example(b'{"op":"batch","seq":1,"channels":[' + b"1," * 1000 + b"1]}")
@settings(max_examples=300, deadline=None)
def test_any_message_is_good_or_gets_the_documented_error(message: bytes) -> None:
    decode_one(message)


@given(MESSAGE, st.data())
@settings(max_examples=150, deadline=None)
def test_a_message_with_a_byte_changed_or_cut_is_no_worse(message: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(message)))
    decode_one(message[:place])
    decode_one(message[:place] + bytes([data.draw(st.integers(0, 255))]) + message[place + 1 :])


@given(RECORD)
@settings(max_examples=200, deadline=None)
def test_any_record_is_valid_or_gets_a_reason(value: Any) -> None:
    reason = check(value)
    assert reason is None or 0 < len(reason) < 2000


@given(st.lists(MESSAGE, max_size=5), st.booleans())
@settings(max_examples=120, deadline=None)
def test_the_gateway_survives_any_messages_and_serves_the_next_link(messages: list[bytes], greeted: bool) -> None:
    run_virtual(feed_gateway(messages, greeted=greeted))


@pytest.mark.parametrize(
    "message",
    [
        b'{"op":"ping"}' + b"\n" * LARGE,
        b'{"op":"ping"}\n' * (LARGE // 14),
        b'{"op":' + b"[" * LARGE,
        b'{"op":"batch","seq":1,"channels":[' + b"1," * (LARGE // 2) + b"1]}",
        b'{"op":"page","lines":9223372036854775807}',
        b'{"op":"' + b"x" * LARGE + b'"}',
        b"\x01" * LARGE,
    ],
    ids=lambda message: message[:24].decode("latin1"),
)
def test_the_largest_messages_take_bounded_time_and_memory(message: bytes) -> None:
    message = message[:LARGE]
    began = time.process_time()
    tracemalloc.start()
    try:
        decode_one(message)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 80 * LARGE
    assert time.process_time() - began < 10


def test_an_error_names_little_of_a_large_message() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        message = b'{"op":"ping"}\n{"op":"page","lines":1}'
        assert is_text(message)
        list(split(message))
    assert len(str(caught.value)) < 200


def test_the_atheris_target_runs_where_atheris_is_installed() -> None:
    pytest.importorskip("atheris", reason="it has wheels for some platforms only")
    command = [sys.executable, "-m", "tests.fuzz.decoder", "--seconds", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr[-2000:]
