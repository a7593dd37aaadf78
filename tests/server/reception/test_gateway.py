"""Item 1: the generation fences an older connection, also while it waits for the disk."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import orjson

from asyncblock.server.journal import BodyKey
from asyncblock.testing import MemoryMainframe, run_virtual
from asyncblock.transport import Transport
from asyncblock.transport.memory import memory_pair
from asyncblock.wire.bodies import encode_chunk
from asyncblock.wire.frames import join_batch
from asyncblock.wire.messages import Bye, Hello, Request, encode
from asyncblock.wire.records import encode as record

from ...flow.plans import node, plan

EXECUTOR = {"languages": ["python"], "packages": {"h": "p"}, "slots": {"async": 4}}
DATA = b'"' + b"x" * 100 + b'"'


async def dial(mainframe: MemoryMainframe, hello: Hello) -> Transport:
    ours, theirs = memory_pair()
    mainframe.accept_soon(theirs)
    await ours.send(encode(hello))
    return ours


async def until(peer: Transport, op: str, test: Callable[[dict[str, Any]], bool] = lambda line: True) -> dict[str, Any]:
    async with asyncio.timeout(30):
        while True:
            for line in (await peer.receive()).split(b"\n"):
                message: dict[str, Any] = orjson.loads(line)
                if message["op"] == op and test(message):
                    return message


async def send_output(peer: Transport, channel: int, bodies: int = 1) -> None:
    named = []
    for n in range(1, bodies + 1):
        ref = {"n": n, "length": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest(), "encoding": "json"}
        named.append(record("BlockOutput", 0, handle="out", body=ref, done=False))
        await peer.send(encode_chunk(n, 0, DATA))
    await peer.send(join_batch(1, [(channel, [record("JobStarted", 0), *named])]))


async def outputs_in_journal(mainframe: MemoryMainframe) -> int:
    rows = await mainframe.journal.page(1, 0)
    lines = [orjson.loads(line) for _, payload in rows for line in payload.split(b"\n")]
    return sum(each["type"] == "BlockOutput" for line in lines for each in line.get("records", ()))


async def executor_with_a_job(mainframe: MemoryMainframe) -> tuple[Transport, str, int]:
    """Connect an executor, start a session, and return its connection, token and channel."""
    peer = await dial(mainframe, Hello(1, "link", "boot", 1, executor=EXECUTOR))
    token = (await until(peer, "welcome"))["token"]
    flow = plan(node("n"), outputs={"out": "n.out"})
    await peer.send(encode(Request("r", "start", {"session_id": "s", "plan": flow.to_json(), "inputs": {}})))
    return peer, token, (await until(peer, "dispatch"))["channel"]


def test_a_batch_that_waits_for_its_body_while_a_newer_connection_sends_it_again_is_applied_once() -> None:
    async def main() -> None:
        async with MemoryMainframe() as mainframe:
            older, token, channel = await executor_with_a_job(mainframe)
            waiting, disk = asyncio.Event(), asyncio.Event()
            finish = mainframe.journal.bodies.finish

            async def slow_finish(*args: Any) -> None:
                waiting.set()
                await disk.wait()
                await finish(*args)

            mainframe.journal.bodies.finish = slow_finish  # type: ignore[method-assign,assignment]  # a disk that takes its time
            await send_output(older, channel)
            await waiting.wait()
            newer = await dial(mainframe, Hello(1, "link", "boot", 2, token, channels=[[channel, "s.1", 1]]))
            welcome = await until(newer, "welcome")
            assert (welcome["resumed"], welcome["stored"]) == (True, 0)
            waiting.clear()
            await send_output(newer, channel)
            await waiting.wait()
            disk.set()
            await until(newer, "ack", lambda line: line["seq"] == 1)
            assert await outputs_in_journal(mainframe) == 1
            await newer.close()

    run_virtual(main())


def test_bodies_of_a_batch_that_is_sent_again_while_one_of_them_is_checked_are_counted_once() -> None:
    async def main() -> None:
        async with MemoryMainframe() as mainframe:
            older, token, channel = await executor_with_a_job(mainframe)
            waiting, disk = asyncio.Event(), asyncio.Event()
            finish = mainframe.journal.bodies.finish

            async def slow_finish(key: BodyKey, *args: Any) -> None:
                if key.n == 2:
                    waiting.set()
                    await disk.wait()
                await finish(key, *args)

            mainframe.journal.bodies.finish = slow_finish  # type: ignore[method-assign,assignment]  # a disk that takes its time
            await send_output(older, channel, bodies=2)
            await waiting.wait()
            newer = await dial(mainframe, Hello(1, "link", "boot", 2, token, channels=[[channel, "s.1", 1]]))
            await until(newer, "welcome")
            disk.set()
            await send_output(newer, channel, bodies=2)
            await until(newer, "ack", lambda line: line["seq"] == 1)
            rows = await mainframe.journal.page(1, 0)
            assert mainframe.sessions.running["s"].bytes == sum(len(row) for _, row in rows) + 2 * len(DATA)
            await newer.close()

    run_virtual(main())


def test_a_connection_with_an_older_generation_is_turned_away() -> None:
    async def main() -> None:
        async with MemoryMainframe() as mainframe:
            newer, token, _ = await executor_with_a_job(mainframe)
            older = await dial(mainframe, Hello(1, "link", "boot", 1, token))
            assert (await until(older, "bye"))["code"] == "replaced"
            await newer.send(encode(Bye("closed", "", stop=True)))

    run_virtual(main())


def test_somebody_elses_token_gets_no_link() -> None:
    async def main() -> None:
        async with MemoryMainframe() as mainframe:
            peer, _, _ = await executor_with_a_job(mainframe)
            thief = await dial(mainframe, Hello(1, "link", "boot", 2, "guessed"))
            bye = await until(thief, "bye")
            assert (bye["code"], bye["stop"]) == ("unauthorized", True)
            await peer.close()

    run_virtual(main())


def test_a_body_resumes_at_the_offset_that_is_stored() -> None:
    async def main() -> None:
        async with MemoryMainframe() as mainframe:
            older, token, _ = await executor_with_a_job(mainframe)
            await older.send(encode_chunk(1, 0, DATA[:40]))
            await older.send(encode(Request("after", "session", {"session_id": "s"})))
            await until(older, "reply", lambda line: line["id"] == "after")
            older.abort()
            newer = await dial(mainframe, Hello(1, "link", "boot", 2, token))
            assert (await until(newer, "welcome"))["bodies"] == {"1": 40}
            await newer.close()

    run_virtual(main())


def test_a_start_whose_reply_was_lost_does_not_start_twice_across_a_restart() -> None:
    async def main() -> None:
        async with MemoryMainframe() as mainframe:
            peer, _, _ = await executor_with_a_job(mainframe)
            await mainframe.kill()
            peer.abort()
            await mainframe.start()
            again = await dial(mainframe, Hello(1, "client", "boot", 1))
            await until(again, "welcome")
            flow = plan(node("n"), outputs={"out": "n.out"})
            params = {"session_id": "s", "plan": flow.to_json(), "inputs": {}}
            await again.send(encode(Request("r", "start", params)))
            assert (await until(again, "reply"))["result"] == {"session_id": "s"}
            assert len(await mainframe.journal.sessions()) == 1
            await again.close()

    run_virtual(main())
