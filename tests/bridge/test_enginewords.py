"""What blocks say, in the engine's words: without a socket."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from asyncblock.bridge.enginewords import (
    JobWords,
    Said,
    WholeJson,
    bin_value,
    defs_of,
    encoded,
    options_of,
    read_input,
    said_of,
    var_value,
)
from asyncblock.wire.bodies import BodyRef

STACKS = [{"flow_job_id": "f", "flow": "/x", "node_id": "n"}]
KEY = {"executor": "asyncblock", "handle": "h", "job_id": "j", "session_id": "s", "attempt": 1, "place": 0}
REF = {"n": 1, "length": 3, "sha256": "0" * 64, "encoding": "json"}


def said(record: dict[str, Any]) -> Said:
    job = JobWords("s", "j", STACKS, "/b", frozenset({"a", "b"}))
    return said_of(job, record, lambda handle, ref: [handle, ref.n])


def without(message: dict[str, object]) -> dict[str, object]:
    assert (message["session_id"], message["job_id"]) == ("s", "j")
    return {key: value for key, value in message.items() if key not in ("session_id", "job_id", "stacks", "block_path")}


@pytest.mark.parametrize(
    ("record", "to_engine", "to_all"),
    [
        ({"type": "BlockOutput", "handle": "a", "output": None}, [{"type": "BlockOutput", "handle": "a", "output": None}], []),
        ({"type": "BlockOutput", "handle": "a", "body": REF}, [{"type": "BlockOutput", "handle": "a", "output": ["a", 1]}], []),
        (
            {"type": "BlockOutput", "handle": "a", "output": 1, "to_node": []},
            [{"type": "BlockOutput", "handle": "a", "output": 1, "options": {"target": {"to_node": [], "to_flow": None}}}],
            [],
        ),
        ({"type": "BlockOutputs", "outputs": {"a": 1}, "bodies": {"b": REF}}, [{"type": "BlockOutputs", "outputs": {"a": 1, "b": ["b", 1]}}], []),
        (
            {"type": "BlockOutputs", "outputs": {"c": 1}},
            [],
            [{"type": "BlockWarning", "warning": "Output handle key: [c] is not defined in Block outputs schema."}],
        ),
        ({"type": "BlockError", "error": "e"}, [{"type": "BlockError", "error": "e"}], []),
        ({"type": "BlockLog", "log": "l", "stdio": "stderr"}, [], [{"type": "BlockLog", "log": "l", "stdio": "stderr"}]),
        ({"type": "BlockLogJSON", "json": [1]}, [], [{"type": "BlockLogJSON", "json": [1]}]),
        ({"type": "BlockMessage", "body": REF}, [], [{"type": "BlockMessage", "payload": ["payload", 1]}]),
        ({"type": "BlockPreview", "payload": {"type": "text"}, "id": "p"}, [{"type": "BlockRequest", "action": "Preview", "payload": {"type": "text", "id": "p"}}], []),
        ({"type": "BlockSomethingNew"}, [], []),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_each_record_is_said_as_theirs(record: dict[str, Any], to_engine: list[Any], to_all: list[Any]) -> None:
    found = said(record)
    assert ([without(each) for each in found.to_engine], [without(each) for each in found.to_all]) == (
        to_engine,
        to_all,
    )
    assert found.end is None
    assert all(each["stacks"] == STACKS and each["block_path"] == "/b" for each in found.to_all)


@pytest.mark.parametrize(
    ("record", "end"),
    [
        ({}, {}),
        ({"result": {}}, {}),
        ({"result": {"a": 1, "c": 2}}, {"result": {"a": 1}}),
        ({"bodies": {"a": REF}}, {"result": {"a": ["a", 1]}}),
        ({"error": "e"}, {"error": "e"}),
        ({"error": "E: e", "traceback": "Traceback\nE: e\n"}, {"error": "Traceback\nE: e\n"}),
        ({"error": "gone", "traceback": "Traceback\nE\n"}, {"error": "Traceback\nE\ngone"}),
        ({"cancelled": True}, {"error": "the job was cancelled"}),
    ],
)  # fmt: skip
def test_each_end_is_told_as_theirs(record: dict[str, Any], end: dict[str, Any]) -> None:
    found = said({"type": "BlockFinished", **record}).end
    assert found is not None
    assert without(found) == {"type": "BlockFinished", **end}


def test_a_preview_that_is_encoded_already_gets_its_id() -> None:
    job = JobWords("s", "j", [])
    record = {"type": "BlockPreview", "body": REF, "id": 'a"b'}

    def payload(content: bytes) -> Any:
        def whole(handle: str, ref: BodyRef) -> Any:
            return WholeJson(content)

        return orjson.loads(encoded(said_of(job, record, whole).to_engine[0]["payload"]))

    assert payload(b'{\n"type":"text","data":\n"x"}') == {"id": 'a"b', "type": "text", "data": "x"}
    assert payload(b"[1]") == [1]


def test_values_that_stay_and_bytes_are_wrapped_and_found_again() -> None:
    assert read_input(var_value(KEY)) == ("value", KEY)
    assert read_input(bin_value("/f")) == ("file", "/f")
    for plain in (
        1,
        {"a": 1},
        {"__OOMOL_TYPE__": "oomol/other", "value": 1},
        {"__OOMOL_TYPE__": "oomol/bin", "value": 3},
    ):
        assert var_value(plain) == plain
        assert read_input(plain) == ("value", plain)
    foreign = {"__OOMOL_TYPE__": "oomol/var", "value": {**KEY, "executor": "nodejs"}}
    assert read_input(foreign) == ("value", foreign)


def test_definitions_by_handle_become_a_list() -> None:
    assert defs_of({"a": {"value": 1}, "b": None}) == [{"value": 1, "handle": "a"}]
    assert defs_of(None) == defs_of([]) == []


def test_a_block_outside_of_a_flow_has_no_node() -> None:
    places: list[list[Any]] = [[], [{}], STACKS]
    assert [JobWords("s", "j", stacks).node_id for stacks in places] == ["none", "unknown", "n"]


def test_where_a_block_is_comes_from_its_service_or_its_executor() -> None:
    executor = {"executor": {"name": "python", "options": {"entry": "a.py"}}}
    assert options_of(executor) == {"entry": "a.py"}
    assert options_of({**executor, "service_executor": {"entry": "s.py"}}) == {"entry": "s.py"}
    for nothing in ({}, {"executor": None}, {"executor": {"name": "python"}}, {"executor": {"options": None}}):
        assert options_of(nothing) == {}


@pytest.mark.parametrize(
    "said", [{"executor": "python"}, {"executor": {"options": [1]}}, {"service_executor": "x"}], ids=repr
)
def test_what_is_no_place_of_a_block_is_told(said: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="that is no object"):
        options_of(said)
