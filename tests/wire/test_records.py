from __future__ import annotations

import sys
import tracemalloc
from typing import Any

import pytest

from asyncblock.wire.records import RECORDS, check, encode, flat_outputs

REF = {"n": 1, "length": 3, "sha256": "0" * 64, "encoding": "json"}

PAGES = {"rows": 2, "index": [[0, 2, 5], [1, 9, 5]]}
WRONG: list[dict[str, Any]] = [
    {"rows": "2"},
    {"note": 1},
    {"index": {}},
    {"index": [[0, 2]]},
    {"index": [[0, -2, 5]]},
    {"index": [1]},
    {"index": [[0, True, 5]]},
    {"tables": {}},
    {"tables": [1]},
    {"tables": [PAGES]},
    *({"tables": [{**PAGES, "at": at}]} for at in ([], [-1], ["0"], [True], 0)),
    {"tables": [{"at": [0], **PAGES, "rows": "2"}]},
]

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
    {"type": "BlockPreview", "body": REF, "about": {"type": "image", "size": 5}},
    {"type": "BlockPreview", "payload": 1, "bodies": {"pages": REF}, "pages": PAGES},
    {
        "type": "BlockPreview",
        "body": REF,
        "bodies": {"pages": REF},
        "pages": {**PAGES, "note": "the first 2 of 3 rows"},
    },
    {
        "type": "BlockPreview",
        "payload": 1,
        "bodies": {"pages": REF},
        "pages": {"rows": 0, "index": [], "tables": [{"at": [0], **PAGES}, {"at": [2, 1], **PAGES, "note": "cut"}]},
    },
    {"type": "BlockProgress", "rate": 0},
    {"type": "BlockProgress", "rate": 99.5},
    {"type": "BlockLog", "log": "", "stdio": "stderr"},
    {"type": "BlockLogJSON", "json": None},
    {"type": "BlockMessage", "payload": [1]},
    {"type": "BlockCache", "state": "hit", "why": "kept 3 s ago", "made_at": 1},
    {"type": "BlockCache", "state": "kept", "why": ""},
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
    ({"type": "BlockPreview", "payload": 1, "pages": PAGES}, "'pages' has 'rows'"),
    ({"type": "BlockPreview", "payload": 1, "bodies": {}, "pages": PAGES}, "'pages' has 'rows'"),
    ({"type": "BlockPreview", "payload": 1, "bodies": {"pages": 1}, "pages": PAGES}, "bodies['pages']"),
    *(
        ({"type": "BlockPreview", "payload": 1, "bodies": {"pages": REF}, "pages": {**PAGES, **wrong}}, "'index'")
        for wrong in WRONG
    ),
    ({"type": "BlockProgress", "rate": 101}, "from 0 to 100"),
    ({"type": "BlockProgress", "rate": "half"}, "'rate'"),
    ({"type": "BlockProgress", "rate": True}, "'rate'"),
    ({"type": "BlockCache", "state": "hit"}, "'why'"),
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
    assert set(RECORDS) - {record["type"] for record in GOOD} == set(), (
        "GOOD of this file lacks a record of these types"
    )


def test_encode_puts_type_first_and_time_last() -> None:
    assert encode("BlockLog", 7, log="x", stdio="stdout") == b'{"type":"BlockLog","log":"x","stdio":"stdout","t":7}'


def flat(**fields: object) -> dict[str, Any]:
    return {"type": "BlockOutput", "handle": "a", "output": "v", "done": False, "t": 1, **fields}


def test_flat_outputs_are_known_by_their_handles() -> None:
    values = ["text", 1, 1.5, True, None]
    records = [flat(output=value, handle=handle) for value in values for handle in ("a", "b")]
    assert flat_outputs(records) == {"a", "b"}


@pytest.mark.parametrize(
    "other",
    [
        *GOOD,
        *({"t": 1, **record} if isinstance(record, dict) else record for record, _ in BAD),
        flat(output=[1]),
        flat(output={"a": 1}),
        flat(handle=1),
        flat(handle=["a"]),
        flat(type=1),
        flat(done=0),
        flat(done=None),
        flat(t=True),
        flat(t=1.0),
        flat(extra=1),
        flat(to_node=[]),
        {"handle": "a", "output": 1, "done": False, "t": 1, "kind": "BlockOutput"},
        None,
        "BlockOutput",
        [],
        {},
    ],
    ids=repr,
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_line_with_any_other_record_is_not_flat(other: object, place: int) -> None:
    records: list[object] = [flat(), flat()]
    records.insert(place, other)
    assert flat_outputs(records) is None


def test_an_empty_line_is_not_flat() -> None:
    assert flat_outputs([]) is None


def test_what_is_flat_is_right() -> None:
    assert [check(flat(output=value)) for value in ("v", 1, 1.5, False, None)] == [None] * 5


def test_records_that_are_kept_take_what_they_have() -> None:
    """What the encoder makes holds all of its buffer: kept for an acknowledgement, short records took 4 KiB each."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [encode("BlockLog", 1, log=f"line {n}", stdio="stdout") for n in range(1000)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 2 * sum(map(sys.getsizeof, kept)) + 20_000
