from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncblock.errors import RemoteProtocolError
from asyncblock.wire.bodies import decode_chunk, encode_chunk
from asyncblock.wire.frames import WRONG, is_text, join_batch, join_page, link_of, on_link, split, take_batch
from asyncblock.wire.messages import MESSAGES, Page, decode, encode


def test_a_batch_comes_back_with_its_raw_lines() -> None:
    message = join_batch(17, [(3, [b'{"a":1}', b'{"b":2}']), (4, [b"{}"]), (3, [b"{}"])])
    [(header, lines)] = split(message)
    batch = take_batch(header, lines)
    assert batch.seq == 17
    assert batch.runs == [(3, b'[{"a":1},{"b":2}]'), (4, b"[{}]"), (3, b"[{}]")]


def test_control_lines_and_batches_share_a_message() -> None:
    message = b'{"op":"ping"}\n' + join_batch(1, [(1, [b"{}"])]) + b'\n{"op":"ping"}'
    assert [(header["op"], len(lines)) for header, lines in split(message)] == [("ping", 0), ("batch", 1), ("ping", 0)]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b'{"no":"op"}',
        b'{"op":1}',
        b'{"op":"batch","seq":1}',
        b'{"op":"batch","seq":1,"channels":[true]}',
        b'{"op":"batch","seq":1,"channels":[1]}',
        b'{"op":"page","lines":-1}',
        b'{"op":"page","lines":2}\n{}',
        b'\xff{"op":"ping"}',
    ],
)
def test_what_cannot_be_split_is_unreadable(message: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        list(split(message))


def test_a_page_comes_back_with_its_rows() -> None:
    message = join_page(encode(Page(1, 5, 2, [[3, 2]], end=False)), [b'{"a":1}', b"{}"])
    [(header, lines)] = split(message)
    assert (header["op"], lines) == ("page", [b'{"a":1}', b"{}"])


def test_more_lines_than_may_be_are_refused() -> None:
    with pytest.raises(RemoteProtocolError, match="a message has 3 lines; 2 may be"):
        list(split(b'{"op":"ping"}\n' * 2, max_lines=2))


def test_a_hello_may_name_another_link_and_nothing_else_may() -> None:
    [(header, _)] = split(on_link(3, b'{"op":"hello"}'))
    assert link_of(header) == 3
    assert link_of({"op": "hello"}) == link_of({"op": "hello", "on": "3"}) == 0
    with pytest.raises(RemoteProtocolError, match="'ping' is for link 3"):
        list(split(on_link(3, b'{"op":"ping"}')))
    with pytest.raises(RemoteProtocolError, match="'on' is the number of a link"):
        list(split(b'{"op":"hello","on":false}'))


REQUEST = '{"op":"request","id":"r","method":"start","params":%s}'


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ('{"a": 1}', None),
        ('{"a": 1, "a": 2}', "a key twice"),
        ('{"a": 99999999999999999999}', "64 bits"),
        ('{"a": NaN}', ""),
        ('{"a": "\\ud800"}', ""),
    ],
)
def test_a_request_that_readers_may_take_differently_can_still_be_refused_by_its_id(
    params: str, why: str | None
) -> None:
    [(header, _)] = split((REQUEST % params).encode())
    assert (header["id"], header["method"]) == ("r", "start")
    assert (WRONG in header) is (why is not None)
    assert (why or "") in str(header.get(WRONG, ""))


def test_a_request_that_is_too_deep_to_be_written_again_is_left_to_its_reader() -> None:
    [(header, _)] = split((REQUEST % ('{"a": ' + "[" * 300 + "]" * 300 + "}")).encode())
    assert WRONG not in header


@pytest.mark.parametrize(
    "line", ['{"op":"ping","id":"request","method":"x","params":NaN}', '{"op":"request","params":NaN}', '"request" NaN']
)
def test_what_is_no_request_is_unreadable(line: str) -> None:
    with pytest.raises(RemoteProtocolError, match="isn't JSON"):
        list(split(line.encode()))


@pytest.mark.parametrize("seq", [b"0", b"-1", b"1.5", b'"1"', b"null"])
def test_a_batch_needs_a_positive_number(seq: bytes) -> None:
    [(header, lines)] = split(b'{"op":"batch","channels":[],"seq":%b}' % seq)
    with pytest.raises(RemoteProtocolError, match="seq"):
        take_batch(header, lines)


def test_a_chunk_comes_back() -> None:
    message = encode_chunk(2**40, 2**41, b"data")
    assert not is_text(message)
    n, offset, piece = decode_chunk(message)
    assert (n, offset, bytes(piece)) == (2**40, 2**41, b"data")


@pytest.mark.parametrize("message", [b"", b"\x01", b"\x02" + bytes(30)])
def test_a_malformed_chunk_is_unreadable(message: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_chunk(message)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_the_documented_error(message: bytes) -> None:
    try:
        for header, lines in split(message):
            if header["op"] == "batch":
                take_batch(header, lines)
            elif header["op"] in MESSAGES:
                decode(header)
    except RemoteProtocolError:
        pass
    try:
        decode_chunk(message)
    except RemoteProtocolError:
        pass
