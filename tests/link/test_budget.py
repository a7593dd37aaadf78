"""The body budget: whatever becomes of a large value, the bytes that it held are given back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asyncblock import events
from asyncblock.client import Session
from asyncblock.link import Link

from ..flows import end_of, one_block, started, until
from ..waits import until_called

SOURCES = {
    "previews that later ones supersede": """
        async def main(inputs, ctx):
            for i in range(100):
                await ctx.preview({"type": "image", "data": str(i) + "A" * 1_000_000}, id="x")
        """,
    "previews of a sync block that later ones supersede": """
        def main(inputs, ctx):
            for i in range(100):
                ctx.preview({"type": "image", "data": str(i) + "A" * 1_000_000}, id="x")
        """,
    "outputs cancelled anywhere": """
        import asyncio

        async def main(inputs, ctx):
            for i in range(150):
                task = asyncio.create_task(ctx.output([i, "x" * 2_000_000], "out"))
                await asyncio.sleep(0.0005 * (i % 12))
                task.cancel()
                await asyncio.wait([task])
        """,
    "several outputs cancelled anywhere": """
        import asyncio

        async def main(inputs, ctx):
            for i in range(100):
                task = asyncio.create_task(ctx.outputs({"out": "x" * 500_000, "more": "y" * 800_000}))
                await asyncio.sleep(0.0005 * (i % 20))
                task.cancel()
                await asyncio.wait([task])
        """,
    "outputs of which one can't be sent": """
        async def main(inputs, ctx):
            for _ in range(20):
                try:
                    await ctx.outputs({"out": "x" * 5_000_000, "more": object()})
                except TypeError:
                    pass
        """,
    "results that come too late": """
        import asyncio

        async def main(inputs, ctx):
            tasks = [asyncio.create_task(ctx.finish({"out": "x" * 3_000_000})) for _ in range(4)]
            await asyncio.wait(tasks)
            return {"out": "y" * 3_000_000}
        """,
    "results of a sync block": """
        def main(inputs, ctx):
            ctx.output("x" * 3_000_000, "out")
            return {"more": "y" * 3_000_000}
        """,
    "a job that fails with much under way": """
        import asyncio

        async def main(inputs, ctx):
            tasks = [asyncio.create_task(ctx.output("x" * 3_000_000, "out")) for _ in range(30)]
            await asyncio.sleep(0.05)
            raise ValueError("enough")
        """,
}


def held(link: Link) -> tuple[int, int]:
    """Return the bytes that count against the budget and the bodies that are kept."""
    buffer = link._link_sender.buffer
    return buffer.in_memory + buffer.in_file, len(link._link_sender.outbox.bodies)


async def all_given_back(session: Session) -> None:
    """Wait until nothing is held any more: acknowledgements come after the session's end."""
    link = session._link
    await link.drain(10)
    # A block that was abandoned may still be converting on its thread.
    await until_called(link._link_sender.buffer, "drop", lambda: held(link) == (0, 0))


@pytest.mark.parametrize("name", SOURCES)
async def test_nothing_is_held_when_a_job_has_ended(tmp_path: Path, name: str) -> None:
    outputs = ["out", "more"]
    async with started(one_block(tmp_path, SOURCES[name], outputs)) as session:
        await session.wait()
        await all_given_back(session)


async def test_more_than_the_budget_goes_through_in_turns(tmp_path: Path) -> None:
    source = """
    import asyncio

    async def main(inputs, ctx):
        async with asyncio.TaskGroup() as tasks:
            for i in range(12):
                tasks.create_task(ctx.output("x" * 10_000_000, "out"))
    """
    async with started(one_block(tmp_path, source)) as session:
        found: list[Any] = [event async for event in session]
        await all_given_back(session)
    assert end_of(found).state == "succeeded"
    assert sum(isinstance(event, events.BlockOutput) for event in found) == 12


async def test_a_fenced_job_gives_back_what_waited(tmp_path: Path) -> None:
    """The mainframe closes the job's channel while large values wait in it."""
    source = """
    import asyncio

    async def main(inputs, ctx):
        await ctx.output(1, "out")
        tasks = [asyncio.create_task(ctx.output("x" * 3_000_000, "out")) for _ in range(15)]
        try:
            await asyncio.Event().wait()
        finally:
            for task in tasks:
                task.cancel()
    """
    async with started(one_block(tmp_path, source)) as session:
        await until(session, events.BlockOutput)
        await session.cancel("enough")
        await session.wait()
        await all_given_back(session)
