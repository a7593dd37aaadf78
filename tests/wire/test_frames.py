from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncblock.errors import RemoteProtocolError
from asyncblock.wire.bodies import decode_chunk, encode_chunk
from asyncblock.wire.frames import is_text, join_batch, split, take_batch
from asyncblock.wire.messages import MESSAGES, decode


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
