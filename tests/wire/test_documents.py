"""The schema, the AsyncAPI document and the reference page: made of the types, up to date, and true of real exchanges."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema_rs
import orjson
import pytest

from asyncblock.server.dispatching.exports import LINK_METHODS
from asyncblock.server.dispatching.freeslots import SLOT_METHODS
from asyncblock.server.rpc.api import METHODS as CLIENT_METHODS
from asyncblock.server.rpc.blocks import JOB_METHODS
from asyncblock.server.rpc.operations import QUESTIONS
from asyncblock.server.serverlimits import limits
from asyncblock.server.settings import Settings
from asyncblock.testing.golden import STORIES, SceneEntry, stored_sessions
from asyncblock.wire import frames
from asyncblock.wire.describe import asyncapi, json_schema, reference_page
from asyncblock.wire.fields import Limits
from asyncblock.wire.messages import MESSAGES
from asyncblock.wire.methods import ERRORS, METHODS
from asyncblock.wire.records import RECORDS

from ..peers import mainframe
from .test_messages import GOLDEN

ROOT = Path(__file__).parent.parent.parent
SCHEMA = json_schema()
SESSIONS = stored_sessions()


def validator(name: str) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for({**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{name}"}]})


UP, DOWN, RECORD_LINE, ROW = (validator(name) for name in ("up", "down", "records", "row"))


def test_the_schema_is_one_of_its_dialect() -> None:
    assert jsonschema_rs.meta.is_valid(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def lines_of(entries: list[SceneEntry]) -> list[tuple[SceneEntry, dict[str, Any], list[bytes]]]:
    texts = [entry for entry in entries if entry.message and frames.is_text(entry.message)]
    return [(entry, header, data) for entry in texts for header, data in frames.split(entry.message)]


@pytest.mark.parametrize("story", sorted(STORIES))
def test_each_line_of_a_golden_session_is_valid(story: str) -> None:
    seen = set()
    methods: dict[str, str] = {}
    for entry, header, data in lines_of(SESSIONS[story]):
        way = UP if entry.way == "up" else DOWN
        assert way.is_valid(header), [str(each)[:300] for each in way.iter_errors(header)]
        seen.add(header["op"])
        for line in data:
            inner = RECORD_LINE if header["op"] == "batch" else ROW
            assert inner.is_valid(orjson.loads(line)), line
        if header["op"] == "request":
            methods[header["id"]] = header["method"]
            if header["method"] in METHODS:
                assert validator(f"params.{header['method']}").is_valid(header["params"])
        if header["op"] == "reply" and header["error"] is None:
            assert validator(f"result.{methods[header['id']]}").is_valid(header["result"])
    assert {"hello", "welcome", "request", "reply", "page"} <= seen


def test_the_golden_sessions_are_those_of_the_stories() -> None:
    assert SESSIONS.keys() == STORIES.keys()


@pytest.mark.parametrize(
    "line",
    [
        {"op": "ack"},
        {"op": "ack", "seq": "7"},
        {"op": "hello", "version": 1, "link": "mainframe-x", "boot": "b", "generation": 1},
        {"op": "announce", "executor": {"languages": ["python"], "packages": {}, "slots": {"asnyc": 4}}},
        {"op": "announce", "executor": {"packages": {}, "slots": {"async": 4}}},
        {"op": "discard", "bodies": ["7"]},
        {"op": "page", "id": 1, "next": 1, "lines": 1, "rows": [[1]], "end": False},
        {"op": "request", "id": "r", "method": "cancel", "params": {}},
        {"op": "request", "id": "r", "method": "sessions", "params": {"before": ["x", 1]}},
        {"op": "dispatch", "job_id": "j"},
        {"op": "nod"},
    ],
    ids=lambda line: orjson.dumps(line).decode()[:60],
)
def test_what_a_reader_refuses_is_not_valid(line: dict[str, Any]) -> None:
    assert not UP.is_valid(line) and not DOWN.is_valid(line)


def test_every_line_that_is_written_is_valid_but_for_what_is_cut_short_in_the_golden_lines() -> None:
    short = {"hello"}
    for message, line in GOLDEN:
        if message.op not in short:
            either = UP.is_valid(orjson.loads(line)) or DOWN.is_valid(orjson.loads(line))
            assert either or message.op in {"dispatch", "whole"}, line


def test_every_object_and_array_of_a_message_says_what_it_holds() -> None:
    """But for what is any JSON object by its nature."""
    open_ones = {
        ("request", "params"), ("dispatch", "inputs"), ("dispatch", "metadata"), ("reply", "result"),
        ("service_message", "payload"),
    }  # fmt: skip
    found = set()
    for op in MESSAGES:
        for name, field in SCHEMA["$defs"][f"message.{op}"]["properties"].items():
            plain = {key: value for key, value in field.items() if key != "description"}
            if plain in ({}, {"type": "object"}, {"type": "array"}, {"type": ["object", "null"]}):
                found.add((op, name))
    assert found == open_ones


def test_the_requests_that_are_described_are_those_that_are_answered() -> None:
    answered = {**CLIENT_METHODS, **QUESTIONS}
    assert METHODS.keys() == answered.keys() | JOB_METHODS.keys() | LINK_METHODS.keys() | SLOT_METHODS.keys()
    for name, (roles, _) in answered.items():
        assert METHODS[name].roles == roles, name
    assert {name for name, method in METHODS.items() if method.of_jobs} == JOB_METHODS.keys()
    assert {code for method in METHODS.values() for code in method.errors} <= ERRORS.keys()


def test_every_code_of_an_error_is_described() -> None:
    text = "".join(path.read_text() for path in (ROOT / "asyncblock" / "server").rglob("*.py"))
    codes = {part.partition('"')[0] for part in text.split('code="')[1:]}
    # These are written in other ways there.
    assert codes | {"unknown_block", "invalid_inputs", "failed"} == ERRORS.keys()


async def test_a_welcome_names_every_limit(tmp_path: Path) -> None:
    named = limits(Settings())
    assert named.keys() == Limits.__annotations__.keys()
    async with mainframe(tmp_path, Settings(max_reads=7)) as host:
        welcome = await host.peer().hello()
    assert welcome["limits"] == {**named, "reads": 7}


def test_the_reference_page_is_up_to_date() -> None:
    written = (ROOT / "docs" / "wire.md").read_text("utf-8")
    assert written == reference_page(limits(Settings())), "asyncblock wire --reference > docs/wire.md"
    for name in (*MESSAGES, *METHODS):
        assert f"### {name}\n" in written
    for name in RECORDS:
        assert f"| `{name}` |" in written
    headings = {line.lstrip("# ").lower() for line in written.splitlines() if line.startswith("#")}
    assert {each.partition(")")[0] for each in written.split("](#")[1:]} <= headings


def test_the_asyncapi_document_has_each_message_and_refers_to_what_is_there() -> None:
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert document["channels"]["link"]["messages"].keys() == {*MESSAGES, "batch", "chunk"}
    told = {each["$ref"].rpartition("/")[2] for way in document["operations"].values() for each in way["messages"]}
    assert told == {*MESSAGES, "batch", "chunk"}
    for reference in _references(document):
        place: Any = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for inner in value.values() for each in _references(inner)]
    return [each for inner in value for each in _references(inner)] if isinstance(value, list) else []


def _wire(*arguments: str) -> str:
    command = [sys.executable, "-m", "asyncblock", "wire", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=200).stdout


async def test_the_command_prints_each_document_and_writes_the_sessions(tmp_path: Path) -> None:
    options = [[], ["--json-schema"], ["--asyncapi"], ["--reference"], ["--sessions", str(tmp_path / "s")]]
    page, schema, document, reference, _ = await asyncio.gather(*(asyncio.to_thread(_wire, *each) for each in options))
    assert page.startswith("The protocol as data")
    assert orjson.loads(schema) == SCHEMA
    assert orjson.loads(document) == asyncapi()
    assert reference == (ROOT / "docs" / "wire.md").read_text("utf-8")
    assert {path.stem for path in (tmp_path / "s").iterdir()} == STORIES.keys()
