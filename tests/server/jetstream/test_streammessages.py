from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncblock.errors import LocalProtocolError
from asyncblock.server.jetstream.natsstore import StoredMessage, StoreMessage
from asyncblock.server.jetstream.streamindex import StreamIndex
from asyncblock.server.jetstream.streammessages import (
    COMMIT,
    END,
    ENTRIES,
    MARKS,
    PIECE,
    PartitionNames,
    check_sizes,
    decode_entries,
    encode_commit,
    largest_payload,
)
from asyncblock.server.journal import LinkRow, RequestRow, Write
from asyncblock.server.journal.contract import BeginPrune
from asyncblock.testing.conformance.journal import link, session

NAMES = PartitionNames("set1", 3)


def encoded(*writes: Write) -> list[StoreMessage]:
    return encode_commit(NAMES, "1.1", writes, lambda: {5: 50})


def folded(messages: list[StoreMessage]) -> StreamIndex:
    index = StreamIndex()
    for seq, each in enumerate(messages, 1):
        index.take(StoredMessage(seq, each.subject, each.headers, each.data))
    return index


def test_entries_of_one_session_and_marks_are_one_message() -> None:
    writes = [Write() for _ in range(3)]
    for offset, write in enumerate(writes):
        write.entry(1, offset, b"%d" % offset)
        write.mark(7, offset)
    (message,) = encoded(*writes)
    assert message.subject == "ab.set1.3.e.1"
    assert message.headers == {ENTRIES: "1 0 3 3", MARKS: "[[7,2]]", COMMIT: "1.1", END: "1"}
    assert decode_entries(message.data) == [b"0", b"1", b"2"]


def test_a_commit_of_two_sessions_ends_with_its_marks() -> None:
    write = Write()
    write.entry(1, 0, b"a")
    write.entry(2, 4, b"b")
    write.mark(7, 1)
    messages = encoded(write)
    assert [each.subject for each in messages] == ["ab.set1.3.e.1", "ab.set1.3.e.2", "ab.set1.3.meta"]
    assert [END in each.headers for each in messages] == [False, False, True]


def test_nothing_is_no_message() -> None:
    assert encoded(Write(), Write()) == []


@given(st.lists(st.binary(max_size=300_000), min_size=1, max_size=12))
def test_entries_are_cut_into_messages_and_come_back(payloads: list[bytes]) -> None:
    write = Write()
    for offset, payload in enumerate(payloads):
        write.entry(1, offset, payload)
    messages = encoded(write)
    assert [payload for each in messages for payload in decode_entries(each.data)] == payloads
    assert all(len(each.data) < PIECE + 300_100 for each in messages)
    assert folded(messages).entry_figures(1) == (len(payloads), sum(map(len, payloads)))


def test_a_mark_keeps_its_place_among_the_links() -> None:
    """What was written of a link before it was dropped doesn't come back with the marks at the end."""
    first, drop, anew = Write(), Write(), Write()
    first.link(link(1, "a"))
    first.mark(1, 9)
    drop.drop_link(1)
    anew.link(link(1, "a"))
    anew.mark(1, 2)
    index = folded(encoded(first, drop, anew))
    assert index.links == {1: LinkRow(link_no=1, link_id="a", token_hash="hash", generation=1, boot="boot")}
    assert index.marks == {1: 2}


def test_a_prune_brings_the_marks_that_its_messages_had() -> None:
    begun, prune = Write(), Write()
    begun.session(session(1))
    prune.rows.append(BeginPrune(1))
    index = folded(encoded(begun, prune))
    assert (index.marks, index.sessions) == ({5: 50}, {})


def test_what_no_message_can_hold_is_refused() -> None:
    most = largest_payload(8 << 20)
    # In base64, and with its headers, it comes back in one message.
    assert most * 4 // 3 + 20_000 < 8 << 20
    fits, entry, answer = Write(), Write(), Write()
    fits.entry(1, 0, bytes(most))
    fits.request(RequestRow(request_id="r", answer=bytes(1000), at=1))
    check_sizes(fits, 8 << 20)
    entry.entry(1, 0, bytes(most + 1))
    with pytest.raises(LocalProtocolError, match="entry 0 of session number 1"):
        check_sizes(entry, 8 << 20)
    answer.request(RequestRow(request_id="r", answer=bytes(most - 1000), at=1))
    with pytest.raises(LocalProtocolError, match="a RequestRow has"):
        check_sizes(answer, 8 << 20)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "-a", "x" * 41, "a*"])
def test_a_sets_name_is_a_token(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="a set's name"):
        PartitionNames(name)
