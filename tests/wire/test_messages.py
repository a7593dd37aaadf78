"""Golden frames: what version 1 of the protocol looks like, byte for byte. Lines are only ever added here."""

from __future__ import annotations

import orjson
import pytest

from asyncblock.errors import RemoteProtocolError
from asyncblock.wire.messages import (
    MESSAGES,
    Ack,
    Announce,
    Bye,
    Cancel,
    Carry,
    Close,
    Discard,
    Dispatch,
    Export,
    Fetch,
    Fetched,
    Gone,
    Hello,
    Kept,
    Live,
    Message,
    Page,
    Ping,
    Read,
    Refused,
    Release,
    Reply,
    Request,
    ServiceMessage,
    SessionEnded,
    Spawn,
    Stalled,
    Unread,
    Unspawn,
    Welcome,
    Whole,
    decode,
    encode,
)

GOLDEN: list[tuple[Message, bytes]] = [
    (
        Hello(
            1,
            "5ca1ab1e",
            "b007",
            2,
            "t0ken",
            "asyncblock/0.1.0",
            {"slots": {"async": 1000}},
            [[3, "s.1", 1]],
            None,
            4,
            "e",
        ),
        b'{"op":"hello","version":1,"link":"5ca1ab1e","boot":"b007","generation":2,"token":"t0ken",'
        b'"agent":"asyncblock/0.1.0","executor":{"slots":{"async":1000}},"channels":[[3,"s.1",1]],"replaces":null,'
        b'"next_channel":4,"epoch":"e"}',
    ),
    (Announce(None), b'{"op":"announce","executor":null}'),
    (
        Request("r1", "cancel", {"session_id": "s"}),
        b'{"op":"request","id":"r1","method":"cancel","params":{"session_id":"s"}}',
    ),
    (Read(1, "s", 0), b'{"op":"read","id":1,"session_id":"s","offset":0,"max_bytes":262144}'),
    (Unread(1), b'{"op":"unread","id":1}'),
    (Fetch(1, "5ca1ab1e", 2, 0, 100), b'{"op":"fetch","id":1,"link":"5ca1ab1e","n":2,"offset":0,"size":100}'),
    (
        Stalled(3, 1.5, "main (a.py:3)"),
        b'{"op":"stalled","channel":3,"seconds":1.5,"where":"main (a.py:3)"}',
    ),
    (Gone("0dd", "killed"), b'{"op":"gone","link":"0dd","reason":"killed"}'),
    (Spawn("0dd", "s.1"), b'{"op":"spawn","link":"0dd","job_id":"s.1"}'),
    (Unspawn("0dd", "over"), b'{"op":"unspawn","link":"0dd","reason":"over"}'),
    (
        Ping(1.5, 7, 5, 9, 2, 3),
        b'{"op":"ping","lag":1.5,"stored":7,"held":5,"may_hold":9,"on_disk":2,"may_take":3}',
    ),
    (Bye("closed", "done", True), b'{"op":"bye","code":"closed","reason":"done","stop":true,"retry_after":null}'),
    (
        Welcome(1, "e", "t", True, 7, {"2": 10}, {"data": 1}, {"message": 1}, 5.0, ["whole"]),
        b'{"op":"welcome","version":1,"epoch":"e","token":"t","resumed":true,"stored":7,"bodies":{"2":10},'
        b'"windows":{"data":1},"limits":{"message":1},"heartbeat":5.0,"understands":["whole"]}',
    ),
    (
        Welcome(1, "e", "t", False, 0, {}, {}, {}, 5.0, [], ["ws://a"]),
        b'{"op":"welcome","version":1,"epoch":"e","token":"t","resumed":false,"stored":0,"bodies":{},"windows":{},'
        b'"limits":{},"heartbeat":5.0,"understands":[],"addresses":["ws://a"]}',
    ),
    (
        Welcome(1, "e", "t", False, 0, {}, {}, {}, 5.0, partitions=4),
        b'{"op":"welcome","version":1,"epoch":"e","token":"t","resumed":false,"stored":0,"bodies":{},"windows":{},'
        b'"limits":{},"heartbeat":5.0,"understands":[],"partitions":4}',
    ),
    (Ack(7), b'{"op":"ack","seq":7}'),
    (Whole(2, 10, "5u3"), b'{"op":"whole","n":2,"length":10,"sha256":"5u3"}'),
    (Kept(2), b'{"op":"kept","n":2}'),
    (Discard([2, 3]), b'{"op":"discard","bodies":[2,3]}'),
    (
        Dispatch("s.1", 1, 3, "s", "n", [], {"entry": "main.py"}, {"a": 1}),
        b'{"op":"dispatch","job_id":"s.1","attempt":1,"channel":3,"session_id":"s","node_id":"n","stacks":[],'
        b'"block":{"entry":"main.py"},"inputs":{"a":1},"bodies":{},"block_path":null,"timeout":null}',
    ),
    (Cancel("s.1", 1, "enough"), b'{"op":"cancel","job_id":"s.1","attempt":1,"reason":"enough","grace":10.0}'),
    (Close(3, "s.1", 1, "lost"), b'{"op":"close","channel":3,"job_id":"s.1","attempt":1,"reason":"lost"}'),
    (SessionEnded("s"), b'{"op":"session_ended","session_id":"s"}'),
    (
        Export("s", "s.1", 1, 0),
        b'{"op":"export","session_id":"s","job_id":"s.1","attempt":1,"place":0}',
    ),
    (
        Carry("s", "s.1", 1, 0, 10),
        b'{"op":"carry","session_id":"s","job_id":"s.1","attempt":1,"place":0,"most":10}',
    ),
    (
        Carry("s", "s.1", 1, 0, 10, "f1"),
        b'{"op":"carry","session_id":"s","job_id":"s.1","attempt":1,"place":0,"most":10,"file":"f1"}',
    ),
    (Release("s", [["s.1", 1, [[0, 3]]]]), b'{"op":"release","session_id":"s","values":[["s.1",1,[[0,3]]]]}'),
    (
        Live({"s": [["s.1", 1, [[0, 3]], [[2, 3]]]], "t": None}),
        b'{"op":"live","sessions":{"s":[["s.1",1,[[0,3]],[[2,3]]]],"t":null},"more":false}',
    ),
    (
        ServiceMessage("s", "n", "4a5h", "services/a", {"x": 1}, "s.1"),
        b'{"op":"service_message","session_id":"s","node_id":"n","package":"4a5h","dir":"services/a",'
        b'"payload":{"x":1},"job_id":"s.1"}',
    ),
    (Refused(3, 4, "why"), b'{"op":"refused","channel":3,"index":4,"reason":"why"}'),
    (Reply("r1", {"a": 1}), b'{"op":"reply","id":"r1","result":{"a":1},"error":null}'),
    (
        Page(1, 5, 2, [[3, 1], [4, 1]], False),
        b'{"op":"page","id":1,"next":5,"lines":2,"rows":[[3,1],[4,1]],"end":false,"error":null}',
    ),
    (Fetched(1), b'{"op":"fetched","id":1,"error":null}'),
]


@pytest.mark.parametrize(("message", "line"), GOLDEN, ids=[m.op for m, _ in GOLDEN])
def test_golden_lines_are_written_and_read(message: Message, line: bytes) -> None:
    assert encode(message) == line
    assert decode(orjson.loads(line)) == message


def test_a_welcome_of_a_mainframe_that_knows_less_is_read() -> None:
    line = (
        b'{"op":"welcome","version":1,"epoch":"e","token":"t","resumed":true,"stored":7,"bodies":{"2":10},'
        b'"windows":{"data":1},"limits":{"message":1},"heartbeat":5.0}'
    )
    assert decode(orjson.loads(line)) == Welcome(1, "e", "t", True, 7, {"2": 10}, {"data": 1}, {"message": 1}, 5.0)


def test_every_message_has_a_golden_line() -> None:
    assert {message.op for message, _ in GOLDEN} == set(MESSAGES)


def test_a_ping_of_an_earlier_peer_is_read() -> None:
    assert decode(orjson.loads(b'{"op":"ping","lag":1.5,"stored":7}')) == Ping(1.5, 7)


def test_a_greeting_of_an_earlier_minor_version_is_read() -> None:
    hello = decode({"op": "hello", "version": 1, "link": "l", "boot": "b", "generation": 1})
    assert isinstance(hello, Hello)
    assert (hello.next_channel, hello.epoch) == (1, None)


def test_fields_of_a_later_version_are_skipped() -> None:
    assert decode({"op": "ack", "seq": 7, "colour": "blue"}) == Ack(7)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ({"op": "nod"}, "unknown control message 'nod'"),
        ({"op": "ack"}, "'ack' lacks the field 'seq'"),
        ({"op": "ack", "seq": "7"}, "field 'seq'"),
        ({"op": "ack", "seq": True}, "field 'seq'"),
        ({"op": "ack", "seq": [7]}, "field 'seq' can't be a list"),
        ({"op": "ack", "seq": {}}, "field 'seq' can't be an object"),
        ({"op": "page", "id": 1, "next": 0, "lines": 0, "rows": [["0", 1]], "end": True}, r"'rows\[0\]\[0\]' must be"),
        (
            {"op": "hello", "version": 1, "link": "l", "boot": "b", "generation": 1, "secret": 7},
            "field 'secret' can't be int",
        ),
        ({"op": "hello", "version": 1}, "lacks the field 'link'"),
        (
            {"op": "service_message", "session_id": "s", "node_id": "n", "package": "p", "dir": "d"},
            "lacks the field 'payload'",
        ),
    ],
)
def test_a_malformed_line_says_which_field(line: dict[str, object], words: str) -> None:
    with pytest.raises(RemoteProtocolError, match=words):
        decode(line)
