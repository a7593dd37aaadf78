"""Each attack over real websockets, beside an innocent job that goes on as if nothing were."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from asyncblock.errors import AsyncBlockError
from asyncblock.wire.bodies import CHUNK_SIZE, encode_chunk

from ..peers import Peer, channels_named, node, plan
from .innocent import Innocent
from .served import ROLES, House, served_apart
from .test_bad_records import BAD, OUT_OF_PLACE, send_line

pytestmark = pytest.mark.timeout(180)

STARTED = {"type": "JobStarted", "t": 1}
FINISHED = {"type": "BlockFinished", "t": 1}

_numbers = itertools.count()

MANY = (50_000, 250_000)
"""Channels that a Hello names: as many as may be, and far more."""


async def worker(house: House, **block: Any) -> tuple[Peer, dict[str, Any]]:
    """Give a hostile executor a job of its own."""
    name = f"hostile{next(_numbers)}"
    peer = await house.peer("executor")
    await peer.hello(name, executor={"languages": ["python"], "packages": {name: "p"}, "slots": {"async": 1}})
    made = plan(node("n", block={"hash": name, **block}))
    await house.client.link.request("start", {"session_id": name, "plan": made})
    return peer, await peer.until("dispatch")


async def answered(peer: Peer) -> str:
    """Wait until everything that was said has been heard: by an answer, or a goodbye, whose code is returned."""
    with suppress(AsyncBlockError):
        await peer.say("request", id="last", method="info", params={})
    said = await peer.until("reply", "bye")
    return str(said.get("code", "open"))


async def bad_records(house: House, innocent: Innocent) -> None:
    for bad in BAD.values():
        peer, dispatch = await worker(house)
        await send_line(peer, 1, dispatch["channel"], b"[%b,%b]" % (orjson.dumps(STARTED), bad))
        assert (await peer.until("refused"))["index"] == 1
        await peer.batch(2, dispatch["channel"], FINISHED)
        assert await answered(peer) == "open"


async def records_out_of_place(house: House, innocent: Innocent) -> None:
    for batches, _ in OUT_OF_PLACE:
        peer, dispatch = await worker(house)
        for seq, batch in enumerate(batches, 1):
            await peer.batch(seq, dispatch["channel"], *batch)
        await peer.until("refused")
        assert await answered(peer) == "open"


async def records_for_its_channel(house: House, innocent: Innocent) -> None:
    peer, _ = await worker(house)
    await peer.batch(1, innocent.channel + 1000, STARTED, FINISHED)
    await peer.until("refused")
    assert await answered(peer) == "open"


async def what_is_no_json(house: House, innocent: Innocent) -> None:
    for line in (b"[", b"[1e400,}]", b"{}", b"[NaN]"):
        peer, dispatch = await worker(house)
        await send_line(peer, 1, dispatch["channel"], line)
        assert (await peer.until("bye"))["code"] == "unreadable"


async def a_job_that_throws_executors_out(house: House, innocent: Innocent) -> None:
    name = f"thrower{next(_numbers)}"
    made = plan(node("n", block={"hash": name, "retries": {"retries": 3, "backoff": 0.01}}))
    await house.client.link.request("start", {"session_id": name, "plan": made})
    for number in range(4):
        peer = await house.peer("executor")
        can = {"languages": ["python"], "packages": {name: "p"}, "slots": {"async": 1}}
        await peer.hello(f"{name}{number}", executor=can)
        dispatch = await peer.until("dispatch")
        await send_line(peer, 1, dispatch["channel"], b"[}")
        assert (await peer.until("bye"))["code"] == "unreadable"
    assert (await house.client.session(name).wait()).state == "failed"


async def greetings_of_megabytes(house: House, innocent: Innocent) -> None:
    for role in ROLES:
        for count in MANY:
            peer = await house.peer(role)
            said = await peer.hello(f"many{next(_numbers)}", channels=channels_named(count))
            assert said["op"] == ("welcome" if role == "executor" and count == 50_000 else "bye")
        peer = await house.peer(role)
        dead = [{"link": innocent.link, "reason": "x" * 1000} for _ in range(1000)]
        said = await peer.hello(f"many{next(_numbers)}", replaces={"link": "nobody", "before": dead})
        assert (said["op"], said["code"]) == ("bye", "unauthorized")


async def bodies_that_no_record_names(house: House, innocent: Innocent) -> None:
    peer, _ = await worker(house)
    piece = bytes(CHUNK_SIZE)
    for n in range(1, 51):
        for offset in range(0, 1 << 20, CHUNK_SIZE):
            await peer.transport.send(encode_chunk(n, offset, piece))
    await peer.say("whole", n=1, length=1 << 20, sha256=hashlib.sha256(bytes(1 << 20)).hexdigest())
    await peer.until("kept")
    await peer.say("discard", bodies=list(range(1, 10_001)))
    await peer.say("whole", n=60, length=1, sha256="0" * 64)
    assert await answered(peer) == "unreadable"


async def what_is_nested_deep(house: House, innocent: Innocent) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    peer, dispatch = await worker(house)
    record = b'{"type":"BlockOutput","handle":"out","output":%b,"done":false,"t":1}' % deep
    await send_line(peer, 1, dispatch["channel"], b"[%b,%b]" % (orjson.dumps(STARTED), record))
    assert "200 levels" in (await peer.until("refused"))["reason"]
    for role in ROLES:
        peer = await house.peer(role)
        await peer.hello(f"deep{next(_numbers)}")
        await peer.transport.send(b'{"op":"request","id":"r","method":"info","params":{"a":%b}}' % deep)
        assert await answered(peer) in ("open", "unreadable")


async def what_is_no_message(house: House, innocent: Innocent) -> None:
    for role in ROLES:
        for message in (
            b"{", b'{"op":7}', b'{"op":"hello"}', b'{"op":"welcome"}', b"{}\n" * 30_000, b"\x01", b"\x01" * 4_000_000,
            b'{"op":"batch","seq":1,"channels":[1]}', b'{"op":"read","id":1,"session_id":"s"}', b"{" * 4_000_000,
        ):  # fmt: skip
            peer = await house.peer(role)
            await peer.hello(f"odd{next(_numbers)}")
            await peer.transport.send(message)
            assert (await peer.until("bye"))["code"] in ("unreadable", "unauthorized")


async def connections_that_say_nothing(house: House, innocent: Innocent) -> None:
    silent = []
    for _ in range(25):
        silent += [await house.peer("observer"), peer := await house.peer("observer")]
        await peer.hello(f"silent{next(_numbers)}")
        await peer.say("read", id=1, session_id=innocent.session.session_id, offset=0)
    await innocent.goes_on()
    for peer in silent:
        peer.transport.abort()


async def bodies_over_http(house: House, innocent: Innocent) -> None:
    headers = {"Authorization": "Bearer token-of-observer"}
    base = house.url.replace("ws", "http", 1)
    async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False) as http:
        for place in ("/bodies/x-1", "/bodies/../token", "/bodies/" + "x" * 4000, "/metrics", "/" + "%2e" * 1000):
            answers = await asyncio.gather(*(http.get(place) for _ in range(10)))
            assert {answer.status_code for answer in answers} <= {200, 404}


async def processes_that_are_said_to_be_gone(house: House, innocent: Innocent) -> None:
    for fields in ({}, {"secret": "s" * 32}, {"secret": innocent.job}):
        peer, _ = await worker(house)
        await peer.say("gone", link=innocent.link, reason="dead", **fields)
        assert (await peer.until("bye"))["code"] == "unauthorized"


async def questions_in_its_name(house: House, innocent: Innocent) -> None:
    peer, dispatch = await worker(house)
    its = {"session_id": innocent.session.session_id, "job_id": innocent.job, "attempt": 1}
    mixed = {**its, "job_id": dispatch["job_id"]}
    for params in (its, mixed, {**its, "session_id": dispatch["session_id"]}, {**its, "attempt": 2}):
        for number, (method, more) in enumerate(OF_JOBS.items()):
            reply = await peer.ask(method, id=f"q{number}", **params, **more)
            assert reply["error"]["code"] == "not_held"
    # An offer is of its own slots alone.
    assert (await peer.ask("free", id="f", kind="loop", slots=1000))["error"] is None
    for params in ({"kind": "gpu"}, {"kind": "loop", "slots": -1}, {"kind": "loop", "slots": 10**9}, {"slots": 1}):
        assert (await peer.ask("free", id=str(params), **params))["error"]["code"] == "params"
    value = {**its, "place": 0, "error": "it is gone"}
    assert (await peer.ask("exported", id="e", **value))["error"] is None
    for role in ("observer", "executor"):
        peer = await house.peer(role)
        await peer.hello(f"asks{next(_numbers)}")
        for method in ("cancel", "cancel_job", "message_service", "start", "prune"):
            params = {"session_id": innocent.session.session_id, "job_id": innocent.job, "node_id": "n", "keep": 0}
            reply = await peer.ask(method, id=method, **params, plan=plan(node("n")))
            assert reply["error"]["code"] == "unauthorized"


OF_JOBS: dict[str, dict[str, Any]] = {
    "run_block": {"block_job_id": "x", "block": "self::x"},
    "cancel_block": {"block_job_id": "x", "reason": ""},
    "give_back": {"reason": "edited"},
    "query_block": {"block": "self::x"},
    "query_downstream": {},
    "update_node_weight": {"node_id": "n", "weight": 1},
}

ATTACKS: list[Callable[[House, Innocent], Awaitable[None]]] = [
    bad_records,
    records_out_of_place,
    records_for_its_channel,
    what_is_no_json,
    a_job_that_throws_executors_out,
    greetings_of_megabytes,
    bodies_that_no_record_names,
    what_is_nested_deep,
    what_is_no_message,
    connections_that_say_nothing,
    bodies_over_http,
    processes_that_are_said_to_be_gone,
    questions_in_its_name,
]


async def test_no_attack_disturbs_a_job_that_runs_beside_it(tmp_path: Path) -> None:
    disturbed: list[str] = []
    for count in MANY:
        channels_named(count)
    async with served_apart(tmp_path) as house, house.innocent() as innocent:
        for attack in ATTACKS:
            await attack(house, innocent)
            try:
                await innocent.goes_on()
            except AssertionError as error:
                disturbed.append(f"{attack.__name__}: {error}")
                innocent.largest_gap = 0.0
        assert not disturbed, "\n".join(disturbed)
