"""Requests whose parameters are of other types, or JSON that readers take differently; and links that nobody greeted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncblock.errors import RemoteProtocolError
from asyncblock.wire.frames import on_link, split
from asyncblock.wire.methods import METHODS

from ..peers import Peer, mainframe, node, plan

SLIPS: list[tuple[str, dict[str, Any], str]] = [
    ("start", {"session_id": 7, "plan": plan(node("n"))}, "session_id"),
    ("start", {"session_id": "s"}, "plan"),
    ("start", {"session_id": "s", "plan": [], "inputs": {}}, "plan"),
    ("start", {"session_id": "s", "plan": plan(node("n")), "inputs": []}, "inputs"),
    ("cancel", {"session_id": "s", "reason": 7}, "reason"),
    ("cancel_job", {"session_id": "s", "job_id": "j", "prefix": 1}, "prefix"),
    ("message_service", {"session_id": "s", "node_id": None}, "node_id"),
    ("session", {}, "session_id"),
    ("sessions", {"limit": "7"}, "limit"),
    ("sessions", {"limit": True}, "limit"),
    ("sessions", {"before": [1]}, "before"),
    ("prune", {"keep": 1.5}, "keep"),
    ("prune", {"older_ms": "1"}, "older_ms"),
]


@pytest.mark.parametrize(("method", "params", "name"), SLIPS, ids=[f"{m}-{n}" for m, _, n in SLIPS])
async def test_a_parameter_of_another_type_is_named(
    tmp_path: Path, method: str, params: dict[str, Any], name: str
) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello()
        reply = await peer.ask(method, **params)
        assert reply["error"]["code"] == "params"
        assert name in reply["error"]["message"]
        assert (await peer.ask("info", id="r2"))["error"] is None


async def test_a_plan_with_a_field_of_another_type_is_refused_before_an_executor_meets_it(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello(slots=1)
        slips: list[dict[str, Any]] = [{"dir": 7}, {"spawn": "yes"}, {"path": []}, {"inputs_def": [{"handle": 3}]}]
        for number, fields in enumerate(slips):
            reply = await peer.ask(
                "start", id=f"r{number}", session_id=f"s{number}", plan=plan(node("n", block=fields))
            )
            assert reply["error"]["code"] == "invalid_flow", fields
            assert next(iter(fields)) in reply["error"]["message"]


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ('{"session_id":"s","session_id":"t"}', "a key twice"),
        ('{"session_id":"s","plan":{"a":{"b":1,"b":2}}}', "a key twice"),
        ('{"session_id":"s","reason":123456789012345678901234567890}', "64 bits"),
        ('{"session_id":"s","reason":18446744073709551616}', "64 bits"),
        ('{"session_id":"s","reason":-9223372036854775809}', "64 bits"),
        ('{"session_id":"s","reason":1e400}', "can't be taken"),
        ('{"session_id":"\\ud800"}', "can't be taken"),
    ],
)
async def test_a_request_that_readers_take_differently_is_refused_and_the_link_goes_on(
    tmp_path: Path, params: str, words: str
) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello()
        await peer.transport.send(f'{{"op":"request","id":"r1","method":"cancel","params":{params}}}'.encode())
        reply = await peer.until("reply")
        assert (reply["id"], reply["error"]["code"]) == ("r1", "params")
        assert words in reply["error"]["message"]
        assert (await peer.ask("info", id="r2"))["error"] is None


@pytest.mark.parametrize(
    "params",
    [
        '{ "session_id" : "none", "reason": "a \\": b" }',
        '{"session_id":"none","reason":"123456789012345678901234567890"}',
        '{"session_id":"n\\u006fne","reason":"\\u00e9: {\\"a\\":1}"}',
    ],
)
async def test_a_request_in_another_spelling_is_taken(tmp_path: Path, params: str) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello()
        await peer.transport.send(f'{{"op":"request","id":"r1","method":"cancel","params":{params}}}'.encode())
        assert (await peer.until("reply"))["error"]["code"] == "unknown_session"


def test_every_method_has_its_types() -> None:
    assert all(method.params is not None and method.result is not None for method in METHODS.values())


# ---------------------------------------------------------------------- several links on a connection


async def greet(peer: Peer, **fields: object) -> None:
    greeting = {"version": 1, "link": "further", "boot": "b", "generation": 1, "executor": None, **fields}
    await peer.say("hello", **greeting)


async def test_a_further_link_on_a_connection_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        assert (await peer.hello())["limits"]["links"] == 1
        for number in (1, 7):
            await greet(peer, on=number)
            bye = await peer.until("bye")
            assert (bye["code"], bye["on"], bye["stop"]) == ("links", number, False)
        assert (await peer.ask("info"))["error"] is None


async def test_the_connections_own_link_may_be_named(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await greet(peer, on=0)
        assert (await peer.until("welcome")).get("on", 0) == 0
        await peer.say("request", on=0, id="r1", method="info", params={})
        assert (await peer.until("reply"))["error"] is None


@pytest.mark.parametrize(
    "line",
    [
        {"op": "ping", "on": 1},
        {"op": "batch", "on": 1, "seq": 1, "channels": []},
        {"op": "bye", "on": 1, "code": "closed", "reason": "", "stop": True},
        {"op": "ping", "on": -1},
        {"op": "ping", "on": True},
        {"op": "ping", "on": False},
        {"op": "ping", "on": None},
        {"op": "ping", "on": "0"},
        {"op": "hello", "on": 1 << 40, "version": 1, "link": "l", "boot": "b", "generation": 1},
    ],
    ids=lambda line: f"{line['op']} on {line['on']}",
)
async def test_a_line_about_a_link_that_the_connection_does_not_have_is_unreadable(
    tmp_path: Path, line: dict[str, Any]
) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await peer.hello()
        await peer.say(**line)
        assert (await peer.until("bye"))["code"] == "unreadable"


async def test_the_first_greeting_is_of_link_0(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        peer = host.peer()
        await greet(peer, on=1)
        assert (await peer.until("bye"))["code"] == "unreadable"


def test_a_lower_end_takes_no_line_about_another_link_either() -> None:
    assert list(split(b'{"op":"ack","on":0,"seq":1}'))
    with pytest.raises(RemoteProtocolError, match="link 0 alone"):
        list(split(on_link(3, b'{"op":"ack","seq":1}')))
