"""What a caller says of a session beside its inputs reaches each of its blocks, and no other session's."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest

import asyncblock
import asyncblock.metadata
from asyncblock import events
from asyncblock.errors import LocalProtocolError, PayloadTooLarge, Rejected

from .flows import all_of, one_block
from .processes import free_port, start

SAID = {"trace": "00-4bf92f", "user": 7, "trial": True, "note": None}

TELLS = """
def main(inputs, ctx):
    return {"out": dict(ctx.metadata)}
"""

tenant: ContextVar[str] = ContextVar("tenant")


@asyncblock.block
async def tell(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """Return the metadata that it has."""
    return {"said": dict(ctx.metadata)}


@asyncblock.block
async def ask(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """Return the metadata of a block that it runs."""
    return {"said": (await (await ctx.run_block("tell")))["said"]}


@asyncblock.block
async def whose(inputs: dict[str, Any], ctx: asyncblock.Context) -> dict[str, Any]:
    """Return what a registered variable holds."""
    return {"said": tenant.get("nobody")}


@asyncblock.block
def whose_in_a_thread(inputs: dict[str, Any], ctx: asyncblock.SyncContext) -> dict[str, Any]:
    """The same on a worker thread."""
    return {"said": tenant.get("nobody")}


def flow_of(block: Any, *more: Any) -> asyncblock.Flow:
    flow = asyncblock.Flow("said", blocks=more)
    flow.output("said", flow.node(block, {})["said"])
    return flow


@pytest.mark.parametrize("block", [tell, ask], ids=["a node's block", "a block that a block runs"])
async def test_blocks_have_what_the_caller_said(block: Any) -> None:
    async with asyncblock.embedded() as mainframe:
        for said in (SAID, {}):
            session = await mainframe.start(flow_of(block, tell), metadata=said)
            assert await session.outputs() == {"said": said}
            [begun] = all_of([event async for event in session], events.SessionStarted)
            assert begun.metadata == said


async def test_blocks_in_processes_of_their_own_have_it_too(tmp_path: Path) -> None:
    path = one_block(tmp_path, TELLS)
    path.write_text(path.read_text().replace("entry: n.py", "entry: n.py\n        spawn: true"))
    async with asyncblock.embedded(workers=1) as mainframe:
        assert await (await mainframe.start(path, metadata=SAID)).outputs() == {"out": SAID}


async def test_it_outlives_the_mainframe(tmp_path: Path) -> None:
    port = free_port()
    flow = flow_of(tell)
    async with start("serve", "--port", str(port), "--data-dir", str(tmp_path / "d"), state=tmp_path) as first:
        await first.until_line("mainframe at", err=True)
        token = (tmp_path / "d" / "token").read_text().strip()
        async with asyncblock.connect(f"ws://127.0.0.1:{port}", token) as mainframe:
            # Nobody runs it yet.
            session = await mainframe.start(flow, metadata=SAID)
            first.kill()
            await first.wait()
            async with start("serve", "--port", str(port), "--data-dir", str(tmp_path / "d"), state=tmp_path) as again:
                await again.until_line("mainframe at", err=True)
                async with asyncblock.Executor([tell]).attached(mainframe):
                    async with asyncio.timeout(30):
                        assert await session.outputs() == {"said": SAID}


@pytest.mark.parametrize("block", [whose, whose_in_a_thread], ids=["async", "in a thread"])
async def test_a_registered_variable_has_the_callers_value_in_blocks(block: Any) -> None:
    asyncblock.metadata.carry(tenant)
    async with asyncblock.embedded() as mainframe:
        assert await (await mainframe.start(flow_of(block))).outputs() == {"said": "nobody"}
        token = tenant.set("blue")
        try:
            session = await mainframe.start(flow_of(block))
        finally:
            tenant.reset(token)
        assert await session.outputs() == {"said": "blue"}
        # What is said outright goes above it.
        session = await mainframe.start(flow_of(block), metadata={"tenant": "green"})
        assert await session.outputs() == {"said": "green"}


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        ({"a": [1]}, LocalProtocolError, "metadata 'a': a list isn't metadata"),
        ({"a": {"b": 1}}, LocalProtocolError, "metadata 'a': a dict isn't metadata"),
        ({"a": b"raw"}, LocalProtocolError, "metadata 'a': a bytes isn't metadata"),
        ({1: "a"}, LocalProtocolError, "metadata 1"),
        ({"a": "\ud800"}, LocalProtocolError, "metadata can't travel"),
        ({"a": "x" * (16 << 10)}, PayloadTooLarge, "the metadata has at least"),
    ],
)
async def test_what_is_no_metadata_is_refused_before_anything_starts(
    said: Mapping[Any, Any], error: type[Exception], words: str
) -> None:
    async with asyncblock.embedded() as mainframe:
        with pytest.raises(error, match=words):
            await mainframe.start(flow_of(tell), metadata=said)
        assert await mainframe.sessions() == []


@pytest.mark.parametrize("said", [{"a": [1]}, {"a": "x" * (17 << 10)}, "text"], ids=["nested", "large", "no object"])
async def test_the_mainframe_refuses_what_a_client_should_not_have_sent(said: Any) -> None:
    params = {"session_id": "s1", "plan": flow_of(tell).plan().to_json(), "inputs": {}, "metadata": said}
    async with asyncblock.embedded(blocks=[tell]) as mainframe:
        with pytest.raises(Rejected, match="metadata"):
            await mainframe.link.request("start", params)
        assert await mainframe.sessions() == []
