"""A session seen from outside: its events, in whichever way they are read."""

from __future__ import annotations

from pathlib import Path

import asyncblock
from asyncblock import events

from ..flows import one_block

TALKS = """
async def main(inputs, ctx):
    for number in range(5):
        await ctx.report_progress(number)
        await ctx.preview({"type": "text", "data": str(number)}, id="one")
        await ctx.flush()
    await ctx.output(7, "out")
"""


async def test_each_iteration_begins_where_it_is_told_to_and_ends_with_the_session(tmp_path: Path) -> None:
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(one_block(tmp_path, TALKS))
        whole = [event async for event in session]
        assert isinstance(whole[-1], events.SessionFinished)
        assert [event async for event in session.events(whole[3].offset)] == [
            event for event in whole if event.offset >= whole[3].offset
        ]
        assert [event async for event in session.events(follow=False)] == whole
        assert (await session.wait(), await session.outputs()) == (whole[-1], {"out": 7})


async def test_latest_leaves_out_what_a_later_event_supersedes(tmp_path: Path) -> None:
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(one_block(tmp_path, TALKS))
        await session.wait()
        found = [event async for event in session.events(latest=True)]
    assert [event.rate for event in found if isinstance(event, events.BlockProgress)] == [4]
    previews = [event.payload["data"] for event in found if isinstance(event, events.BlockPreview)]
    assert previews == ["4"]
    assert [event.offset for event in found] == sorted(event.offset for event in found)


async def test_the_plan_of_a_session_is_read_from_its_journal(tmp_path: Path) -> None:
    async with asyncblock.embedded() as mainframe:
        session = await mainframe.start(one_block(tmp_path, TALKS))
        assert [node.node_id for node in (await session.plan()).nodes] == ["n"]
        await session.wait()
