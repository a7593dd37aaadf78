"""Events made of a journal's rows are what their own constructors make."""

from __future__ import annotations

import dataclasses
from typing import Any

import orjson
import pytest

from asyncblock import events
from asyncblock.events import Event, events_of_row
from asyncblock.wire.bodies import BodyRef

REF = {"n": 1, "length": 3, "sha256": "0" * 64, "encoding": "json"}
BODY = BodyRef.from_json({"link": "link-a", **REF})
assert BODY is not None
ORIGIN: dict[str, Any] = {"session_id": "s", "offset": 7, "job_id": "j", "node_id": "n", "attempt": 2, "t": 5}


def made_of(*records: dict[str, Any], **line: object) -> list[Event]:
    head = {"job_id": "j", "node_id": "n", "attempt": 2, "link": "link-a", "n": 0}
    text = orjson.dumps({**head, "records": [{**record, "t": 5} for record in records], **line})
    return list(events_of_row("s", 7, [text]))


@pytest.mark.parametrize(
    ("record", "event"),
    [
        ({"type": "JobStarted"}, events.BlockStarted(**ORIGIN)),
        (
            {"type": "BlockOutput", "handle": "a", "output": {"x": [1]}, "done": False},
            events.BlockOutput(**ORIGIN, handle="a", output={"x": [1]}),
        ),
        (
            {"type": "BlockOutput", "handle": "a", "output": None, "done": True, "to_node": []},
            events.BlockOutput(**ORIGIN, handle="a"),
        ),
        ({"type": "BlockOutput", "handle": "a", "body": REF}, events.BlockOutput(**ORIGIN, handle="a", body=BODY)),
        (
            {"type": "BlockOutputs", "outputs": {"a": 1}, "bodies": {"b": REF}},
            events.BlockOutputs(**ORIGIN, outputs={"a": 1}, bodies={"b": BODY}),
        ),
        ({"type": "BlockOutputs", "outputs": {"a": 1}}, events.BlockOutputs(**ORIGIN, outputs={"a": 1})),
        ({"type": "BlockProgress", "rate": 50}, events.BlockProgress(**ORIGIN, rate=50)),
        ({"type": "BlockLog", "log": "l", "stdio": "stderr"}, events.BlockLog(**ORIGIN, log="l", stdio="stderr")),
        ({"type": "BlockLogJSON", "json": [1]}, events.BlockLogJSON(**ORIGIN, json=[1])),
        ({"type": "BlockMessage", "payload": 1}, events.BlockMessage(**ORIGIN, payload=1)),
        ({"type": "BlockWarning", "warning": "w"}, events.BlockWarning(**ORIGIN, warning="w")),
        ({"type": "BlockError", "error": "e"}, events.BlockError(**ORIGIN, error="e")),
        ({"type": "BlockPreview", "payload": 1, "id": "i"}, events.BlockPreview(**ORIGIN, payload=1, id="i")),
        (
            {
                "type": "BlockPreview",
                "payload": 1,
                "bodies": {"pages": REF},
                "pages": {"rows": 2, "index": [[0, 2, 5]]},
            },
            events.BlockPreview(**ORIGIN, payload=1, pages=events.TablePages(BODY, 2, ((0, 2, 5),))),
        ),
        (
            {
                "type": "BlockPreview",
                "payload": 1,
                "bodies": {"pages": REF},
                "pages": {"rows": 0, "index": [], "tables": [{"at": [3], "rows": 1, "index": [[0, 2, 5]]}]},
            },
            events.BlockPreview(
                **ORIGIN,
                payload=1,
                pages=events.TablePages(BODY, 0, (), tables=(events.TablePages(BODY, 1, ((0, 2, 5),), at=(3,)),)),
            ),
        ),
        ({"type": "BlockFinished"}, events.BlockFinished(**ORIGIN)),
        ({"type": "BlockFinished", "result": {"a": 1}}, events.BlockFinished(**ORIGIN, result={"a": 1})),
        (
            {"type": "BlockJump", "x": 1},
            events.Other(
                session_id="s",
                offset=7,
                t=5,
                name="BlockJump",
                fields={"type": "BlockJump", "x": 1, "t": 5, "job_id": "j", "node_id": "n"},
            ),
        ),
    ],
    ids=lambda each: each.get("type") if isinstance(each, dict) else "",
)
def test_an_event_of_a_record_is_what_its_constructor_makes(record: dict[str, Any], event: Event) -> None:
    [made] = made_of(record)
    assert made == event
    assert type(made) is type(event)
    assert repr(made) == repr(event)
    assert made.to_json() == event.to_json()


def test_an_event_of_an_output_can_t_be_changed() -> None:
    [made] = made_of({"type": "BlockOutput", "handle": "a", "output": 1, "done": False})
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.t = 6  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del made.t
    assert dataclasses.replace(made, t=6) == events.BlockOutput(**{**ORIGIN, "t": 6}, handle="a", output=1)


def test_each_event_has_dicts_of_its_own() -> None:
    first, second = made_of({"type": "BlockFinished"}, {"type": "BlockFinished"})
    assert isinstance(first, events.BlockFinished)
    assert isinstance(second, events.BlockFinished)
    assert first.result is not second.result
    assert first.bodies is not second.bodies


def test_refused_records_are_no_events() -> None:
    records = [{"type": "BlockOutput", "handle": handle, "output": 1, "done": False} for handle in "abc"]
    made = made_of(*records, refused=[[1, "no"]])
    assert [each.handle for each in made if isinstance(each, events.BlockOutput)] == ["a", "c"]


def test_late_records_are_one_event() -> None:
    [made] = made_of({"type": "BlockError", "error": "e"}, late=True)
    assert isinstance(made, events.LateRecords)
    assert made.link == "link-a"
    assert made.records == [{"t": 5, "type": "BlockError", "error": "e"}]
