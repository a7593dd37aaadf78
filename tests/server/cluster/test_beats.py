from __future__ import annotations

import orjson
import pytest

from asyncblock.server.cluster.beats import beat_subject, decode_beat, encode_beat
from asyncblock.server.cluster.ownership import Beat
from asyncblock.server.jetstream import PartitionNames


def test_what_is_told_is_heard() -> None:
    beat = Beat("a/1", "owner", 8, 3, "ws://a", "b/1")
    heard = decode_beat(encode_beat(beat, 1234))
    assert heard is not None
    assert (heard.beat, heard.clock) == (beat, 1234)


def test_fields_of_newer_members_are_skipped() -> None:
    told = orjson.loads(encode_beat(Beat("a", "owner", 8, 3), 1))
    heard = decode_beat(orjson.dumps({**told, "load": 0.5}))
    assert heard is not None
    assert heard.beat == Beat("a", "owner", 8, 3)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"7", b"{}", b'{"member":"a"}']
    + [
        orjson.dumps({**orjson.loads(encode_beat(Beat("a", "owner", 8, 3), 1)), name: wrong})
        for name, wrong in (("term", "8"), ("member", None), ("clock", "now"), ("to", 1))
    ],
)
def test_what_isnt_a_beat_is_nothing(data: bytes) -> None:
    assert decode_beat(data) is None


def test_no_stream_of_the_partition_keeps_beats() -> None:
    names = PartitionNames("s")
    kept = [names.own, names.meta, names.entries("*"), names.snapshots("*"), names.body("*", "*")]
    parts = beat_subject(names).split(".")
    for subject in kept:
        others = subject.split(".")
        assert len(others) != len(parts) or any(o not in ("*", p) for o, p in zip(others, parts, strict=True))
