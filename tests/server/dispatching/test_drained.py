"""An executor that is drained takes no new jobs, and what depends on its memory ends there."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

import asyncblock
from asyncblock.errors import Rejected
from asyncblock.events import JobWaiting

from ...peers import Host, Peer, mainframe, node, plan

STARTED = {"type": "JobStarted", "t": 1}
FINISHED = {"type": "BlockFinished", "t": 1}


async def starts(peer: Peer, session_id: str, flow: dict[str, Any]) -> None:
    answer = await peer.ask("start", id=session_id, session_id=session_id, plan=flow)
    assert answer["error"] is None, answer


async def executor(host: Host, name: str, **more: Any) -> Peer:
    peer = host.peer()
    await peer.hello(name, slots=2, **more)
    return peer


async def drains(peer: Peer, link: str, drained: bool = True) -> None:
    answer = await peer.ask("drain", id=f"{link} {drained}", link=link, drained=drained)
    assert answer["error"] is None, answer


async def test_new_jobs_go_to_others_until_it_takes_them_again(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        first, second = await executor(host, "first"), await executor(host, "second")
        await drains(second, "first")
        for name in ("a", "b"):
            await starts(second, name, plan(node("n")))
            assert (await second.until("dispatch"))["op"] == "dispatch"
        assert not [each for each in first.came if each["op"] == "dispatch"]
        await starts(second, "c", plan(node("n")))
        await drains(second, "first", False)
        dispatch = await first.until("dispatch")
        assert dispatch["node_id"] == "n", "what waited goes there at once"


async def test_what_runs_there_goes_on_and_the_rest_of_its_group_follows(tmp_path: Path) -> None:
    grouped = plan(node("a", group="g"), node("b", {"v": {"sources": [["a", "out"]]}}, group="g"))
    async with mainframe(tmp_path) as host:
        first = await executor(host, "first")
        await starts(first, "s", grouped)
        dispatch = await first.until("dispatch")
        second = await executor(host, "second")
        await drains(second, "first")
        await first.batch(1, dispatch["channel"], STARTED, {**FINISHED, "result": {"out": 1}})
        assert (await first.until("dispatch"))["node_id"] == "b"
        assert not [each for each in second.came if each["op"] == "dispatch"]


async def test_a_job_that_only_drained_ones_could_run_says_so(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host, host.server.listen("127.0.0.1", 0) as url:
        first = await executor(host, "first")
        async with asyncblock.connect(url, host.server.token) as client:
            await client.drain("first")
            await starts(first, "s", plan(node("n")))
            reason = ""
            async with aclosing(client.session("s").events()) as told:  # type: ignore[type-var]  # an async generator
                async for event in told:
                    if isinstance(event, JobWaiting):
                        reason = event.reason
                        break
            assert "drained" in reason and "Mainframe.drain" in reason
            [row] = await client.executors()
            assert (row["link"], row["drained"], row["job_count"]) == ("first", True, 0)
            await client.drain("first", False)
            assert (await first.until("dispatch"))["node_id"] == "n"
            with pytest.raises(Rejected, match="no executor 'other' is here"):
                await client.drain("other")


async def test_an_observer_sees_who_is_there_and_drains_nobody(tmp_path: Path) -> None:
    async with mainframe(tmp_path) as host:
        await executor(host, "first")
        observer = host.peer(frozenset({"observer"}))
        await observer.hello("watching")
        told = await observer.ask("executors")
        assert [each["link"] for each in told["result"]["executors"]] == ["first"]
        refused = await observer.ask("drain", id="r2", link="first")
        assert refused["error"]["code"] == "unauthorized"
        told = await observer.ask("executors", id="r3")
        assert told["result"]["executors"][0]["drained"] is False
