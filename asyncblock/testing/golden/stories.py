"""The stories of the golden sessions: what each is about, and the real client and executor in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import asyncblock

from ... import events
from ...block import AnyBlock
from ...childprocesses.lifesigns import Held
from ...client import Mainframe, Session
from ...errors import FlowFailed, Rejected
from ...executor import Executor
from ...flow import Flow
from ...link import Link
from .scene import Scene, Story

_OFFERS: Final = {"memory": 0}
"""This machine's memory is no matter."""

__all__ = ["STORIES"]

LARGE: Final = "x" * 66_000
"""More than fits into a record."""


BYTES: Final = {"handle": "data", "json_schema": {"contentMediaType": "oomol/bin"}}


@asyncblock.block(name="add", inputs=[{"handle": "a"}], outputs=[{"handle": "b"}])
async def add(inputs: dict[str, Any], ctx: asyncblock.Context) -> None:
    await ctx.report_log("adding")
    await ctx.preview({"type": "markdown", "data": "**half way**"})
    await ctx.output(inputs["a"] + 1, "b")


@asyncblock.block(name="counts", inputs=[], outputs=[{"handle": "n"}])
async def counts(ctx: asyncblock.Context) -> None:
    for n in range(3):
        await ctx.output(n, "n")
        await ctx.flush()
    await _cut.wait()
    for n in range(3, 6):
        await ctx.output(n, "n")
    await ctx.flush()


@asyncblock.block(name="sends", inputs=[], outputs=[{"handle": "text"}, BYTES])
async def sends(ctx: asyncblock.Context) -> None:
    await ctx.output(LARGE, "text")
    await ctx.output(b"\x00\xff raw", "data")


@asyncblock.block(name="takes", inputs=[{"handle": "text"}, BYTES], outputs=[{"handle": "sizes"}])
async def takes(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, list[int]]:
    return {"sizes": [len(inputs["text"]), len(inputs["data"])]}


@asyncblock.block(name="waits", inputs=[], outputs=[{"handle": "never"}])
async def waits(ctx: asyncblock.Context) -> None:
    await ctx.output(1, "never")
    await ctx.flush()
    _waiting.set()
    await asyncio.Event().wait()


@asyncblock.block(name="asks", inputs=[{"handle": "a"}], outputs=[{"handle": "b"}])
async def asks(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    added = await ctx.run_block("add", inputs={"a": inputs["a"]})
    return await added


@asyncblock.block(name="looks", inputs=[{"handle": "a"}], outputs=[{"handle": "b"}])
async def looks(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    described = await ctx.query_block("add")
    downstream = await ctx.query_downstream()
    await ctx.update_node_weight("looks", 2)
    return {"b": [described["type"], sorted(downstream)]}


_IN_VAIN: Final[list[tuple[str, dict[str, Any]]]] = [
    ("cancel_job", {"job_id": "none"}),
    ("message_service", {"node_id": "none"}),
    ("session", {"session_id": "none"}),
    ("prune", {}),
    ("no such method", {}),
]
"""Questions that are answered with an error."""

_cut: asyncio.Event
_waiting: asyncio.Event


async def run(scene: Scene) -> None:
    """A client starts a flow of two nodes, an executor runs them, the client reads everything and the outputs."""
    async with _hosts(scene, add):
        client = await scene.mainframe("client")
        flow = Flow("run")
        first = flow.node(add, inputs={"a": flow.input("a")}, node_id="first")
        flow.output("b", flow.node(add, inputs={"a": first["b"]}, node_id="second")["b"])
        session = await scene.start(client, "run1", flow, a=1)
        await _read(session)
        assert await session.outputs() == {"b": 3}


async def resume(scene: Scene) -> None:
    """The executor's connection is lost while its job runs; it comes back, and the job goes on where it was."""
    global _cut
    _cut = asyncio.Event()
    async with _hosts(scene, counts) as link:
        client = await scene.mainframe("client")
        flow = Flow("resume")
        flow.output("n", flow.node(counts, node_id="counts")["n"])
        session = await scene.start(client, "resume1", flow)
        reading = asyncio.create_task(_read(session))
        async for event in session:
            if isinstance(event, events.BlockOutput) and event.output == 2:
                break
        await scene.cut("executor")
        while not link.away:  # noqa: ASYNC110  # nobody is told of it
            await asyncio.sleep(0)
        _cut.set()
        await reading
        assert await session.outputs() == {"n": 5}


async def large_body(scene: Scene) -> None:
    """A block puts out a large text and bytes; the next one, on the same link, takes them; the client fetches both."""
    async with _hosts(scene, sends, takes):
        client = await scene.mainframe("client")
        flow = Flow("large body")
        sent = flow.node(sends, node_id="sends")
        taken = flow.node(takes, inputs={"text": sent["text"], "data": sent["data"]}, node_id="takes")
        flow.output("sizes", taken["sizes"])
        flow.output("text", sent["text"])
        session = await scene.start(client, "large1", flow)
        await _read(session)
        assert await session.outputs() == {"sizes": [66_000, 6], "text": LARGE}


async def cancel(scene: Scene) -> None:
    """A client cancels a session whose job waits."""
    global _waiting
    _waiting = asyncio.Event()
    async with _hosts(scene, waits):
        client = await scene.mainframe("client")
        flow = Flow("cancel")
        flow.output("never", flow.node(waits, node_id="waits")["never"])
        session = await scene.start(client, "cancel1", flow)
        await _waiting.wait()
        await client.link.request("cancel", {"session_id": "cancel1", "reason": "enough"}, id="c1")
        await _read(session)
        try:
            await session.outputs()
        except FlowFailed as error:
            assert error.state == "cancelled"


async def run_block(scene: Scene) -> None:
    """A block runs another one of its flow's catalog, and takes its result."""
    async with _hosts(scene, asks, add):
        client = await scene.mainframe("client")
        flow = Flow("run_block", blocks=[add])
        flow.output("b", flow.node(asks, inputs={"a": flow.input("a")}, node_id="asks")["b"])
        session = await scene.start(client, "block1", flow, a=5)
        await _read(session)
        assert await session.outputs() == {"b": 6}


async def watcher(scene: Scene) -> None:
    """A watcher reads a session that somebody else has started, from its beginning and while it runs."""
    async with _hosts(scene, add):
        client = await scene.mainframe("client")
        flow = Flow("watcher")
        flow.output("b", flow.node(add, inputs={"a": flow.input("a")}, node_id="n")["b"])
        await scene.start(client, "watch1", flow, a=1)
        other = await scene.mainframe("watcher")
        session = other.session("watch1")
        await _read(session)
        assert (await other.link.request("session", {"session_id": "watch1"}, id="s1"))["state"] == "succeeded"


async def questions(scene: Scene) -> None:
    """A block looks around; a client asks how the mainframe and its sessions are, and for what isn't there."""
    async with _hosts(scene, looks, add):
        client = await scene.mainframe("client")
        flow = Flow("questions", blocks=[add])
        first = flow.node(looks, inputs={"a": flow.input("a")}, node_id="looks")
        flow.output("seen", first["b"])
        session = await scene.start(client, "asks1", flow, a=1)
        await _read(session)
        assert await session.outputs() == {"seen": ["task", ["b"]]}
        ask = client.link.request
        assert (await ask("info", {}, id="i1"))["sessions"] == {"known": 1, "running": 0}
        assert len((await ask("sessions", {"limit": 10, "state": "succeeded"}, id="i2"))["sessions"]) == 1
        assert (await ask("session", {"session_id": "asks1"}, id="i3"))["state"] == "succeeded"
        assert (await ask("prune", {"older_ms": 1 << 40}, id="i4"))["sessions"] == []
        for number, (method, params) in enumerate(_IN_VAIN):
            try:
                await ask(method, {"session_id": "asks1", **params}, id=f"e{number}")
            except Rejected:
                continue
            raise AssertionError(method)


async def spawn(scene: Scene) -> None:
    """A block with ``spawn: true``: the host is asked for a process, which is a link of its own, with that one job."""
    async with _hosts(scene, spawning=add):
        client = await scene.mainframe("client")
        flow = Flow("spawn")
        flow.output("b", flow.node(add, inputs={"a": flow.input("a")}, node_id="n")["b"])
        plan = flow.plan().to_json()
        plan["blocks"][0]["spawn"] = True
        await client.link.request("start", {"session_id": "spawn1", "plan": plan, "inputs": {"a": 1}}, id="spawn1")
        session = client.session("spawn1")
        await _read(session)
        assert await session.outputs() == {"b": 2}


STORIES: Final[dict[str, Story]] = {
    each.__name__: each for each in (run, resume, large_body, cancel, spawn, run_block, watcher, questions)
}


class _hosts:
    """An executor for some blocks for the duration of the block; ``spawning`` is one whose jobs get a link each."""

    def __init__(self, scene: Scene, *blocks: AnyBlock, spawning: AnyBlock | None = None) -> None:
        self._scene = scene
        served = [*blocks, *([spawning] if spawning else ())]
        self._executor = Executor(served, async_slots=4, sync_slots=2, offers=_OFFERS)
        if spawning is not None:
            self._executor.spawner = _Spawner(scene, spawning)  # type: ignore[assignment]  # it only has to act like one

    async def __aenter__(self) -> Link:
        link = await self._scene.link("executor")
        self._attached = self._executor.attached(Mainframe(link))
        await self._attached.__aenter__()
        return link

    async def __aexit__(self, *exc: object) -> None:
        await self._attached.__aexit__(None, None, None)


class _Spawner:
    """In place of processes: executors in this one, each on the link that the mainframe has asked for."""

    def __init__(self, scene: Scene, block: AnyBlock) -> None:
        self._scene = scene
        self._block = block

    async def live(
        self,
        link_id: str,
        secret: str,
        gone: Callable[[str, str, str], None],
        held: Callable[[Held], None],
        edited: Callable[[], None],
        *,
        partition: int = 0,
    ) -> None:
        """Run one job and leave."""
        executor = Executor([self._block], async_slots=1, sync_slots=1, offers=_OFFERS)
        executor.once = True
        link = await self._scene.link(link_id, secret)
        await executor.run(Mainframe(link))
        await link.close()
        gone(link_id, secret, "its process has ended")

    async def end(self, link_id: str) -> None:
        """It leaves by itself."""

    async def dismiss_all(self) -> None:
        """It has left."""


async def _read(session: Session) -> None:
    async for _ in session:
        pass
