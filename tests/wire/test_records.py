from __future__ import annotations

from typing import Any

import pytest

from asyncblock.wire.records import RECORDS, check, encode

REF = {"n": 1, "length": 3, "sha256": "0" * 64, "encoding": "json"}

GOOD: list[dict[str, Any]] = [
    {"type": "JobStarted"},
    {"type": "BlockOutput", "handle": "a", "output": None, "done": False},
    {"type": "BlockOutput", "handle": "a", "body": REF},
    {"type": "BlockOutputs", "outputs": {"a": 1}},
    {"type": "BlockOutputs", "outputs": {}, "bodies": {"a": REF}},
    {"type": "BlockArguments", "id": "s.1.1.1", "values": {"a": 1}},
    {"type": "BlockArguments", "id": "s.1.1.1", "values": {}, "bodies": {"a": REF}},
    {"type": "BlockError", "error": "no"},
    {"type": "BlockFinished"},
    {"type": "BlockFinished", "error": "no", "traceback": "..."},
    {"type": "BlockFinished", "result": {"a": 1}},
    {"type": "BlockFinished", "cancelled": True},
    {"type": "BlockPreview", "payload": {"type": "text", "data": "x"}, "id": "1"},
    {"type": "BlockPreview", "body": REF},
    {"type": "BlockProgress", "rate": 0},
    {"type": "BlockProgress", "rate": 99.5},
    {"type": "BlockLog", "log": "", "stdio": "stderr"},
    {"type": "BlockLogJSON", "json": None},
    {"type": "BlockMessage", "payload": [1]},
    {"type": "BlockWarning", "warning": "w"},
    {"type": "BlockWarning", "warning": "w", "a field of a later version": 1},
]

BAD: list[tuple[object, str]] = [
    (1, "object"),
    ({}, "unknown record type None"),
    ({"type": ["BlockOutput"]}, "unknown record type"),
    ({"type": "BlockJump"}, "unknown record type 'BlockJump'"),
    ({"type": "JobStarted", "t": "now"}, "'t'"),
    ({"type": "JobStarted", "t": True}, "'t'"),
    ({"type": "BlockOutput", "output": 1}, "'handle'"),
    ({"type": "BlockOutput", "handle": 1, "output": 1}, "'handle'"),
    ({"type": "BlockOutput", "handle": "a"}, "exactly one of 'output' and 'body'"),
    ({"type": "BlockOutput", "handle": "a", "output": 1, "body": REF}, "exactly one"),
    ({"type": "BlockOutput", "handle": "a", "body": {**REF, "sha256": "short"}}, "'body'"),
    ({"type": "BlockOutput", "handle": "a", "body": {**REF, "n": -1}}, "'body'"),
    ({"type": "BlockOutputs", "outputs": []}, "'outputs'"),
    ({"type": "BlockOutputs", "outputs": {}, "bodies": {"a": 1}}, "bodies['a']"),
    ({"type": "BlockArguments", "id": "s.1.1.1"}, "'values'"),
    ({"type": "BlockFinished", "error": None}, "'error'"),
    ({"type": "BlockProgress", "rate": 101}, "from 0 to 100"),
    ({"type": "BlockProgress", "rate": "half"}, "'rate'"),
    ({"type": "BlockProgress", "rate": True}, "'rate'"),
    ({"type": "BlockLog", "log": "x", "stdio": "stdlog"}, "'stdio'"),
    ({"type": "BlockLog", "log": "x", "stdout": "stdout"}, "'stdio'"),
]


@pytest.mark.parametrize("record", GOOD, ids=lambda r: r["type"])
def test_check_accepts_what_the_table_allows(record: dict[str, Any]) -> None:
    assert check({**record, "t": 1}) is None


@pytest.mark.parametrize(("record", "words"), BAD, ids=[str(i) for i in range(len(BAD))])
def test_check_says_what_is_wrong(record: object, words: str) -> None:
    if isinstance(record, dict):
        record = {"t": 1, **record}
    reason = check(record)
    assert reason is not None
    assert words in reason


def test_every_type_of_the_table_has_a_good_example() -> None:
    assert {record["type"] for record in GOOD} == set(RECORDS)


def test_encode_puts_type_first_and_time_last() -> None:
    assert encode("BlockLog", 7, log="x", stdio="stdout") == b'{"type":"BlockLog","log":"x","stdio":"stdout","t":7}'
