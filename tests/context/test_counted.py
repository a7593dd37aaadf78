"""Calls and tasks that are cancelled before they begin: nobody has forgotten to await them."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncblock import events

from ..flows import all_of, end_of, run_block

BEGIN = """
import asyncio

async def other():
    pass

async def main(inputs, ctx):
"""

GIVEN_UP = {
    "a task that is cancelled": """
    tasks = [asyncio.create_task(ctx.output("never", "out")), asyncio.create_task(other())]
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
""",
    "no time": """
    for call in (ctx.output("never", "out"), ctx.flush(), ctx.preview({"type": "text", "data": "never"}), other()):
        try:
            await asyncio.wait_for(call, 0)
        except TimeoutError:
            pass
""",
    "a group that fails": """
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ctx.output("never", "out"))
            tasks.create_task(other())
            raise ValueError("given up")
    except* ValueError:
        pass
""",
}


@pytest.mark.parametrize("body", GIVEN_UP.values(), ids=GIVEN_UP.keys())
async def test_what_is_given_up_before_it_begins_fails_nothing_and_warns_of_nothing(tmp_path: Path, body: str) -> None:
    source = f"{BEGIN}{body}    await ctx.output('last', 'out')\n"
    found = await run_block(tmp_path, source, workers=1)
    assert end_of(found).state == "succeeded", end_of(found).error
    assert end_of(found).outputs == {"out": "last"}
    assert [event.output for event in all_of(found, events.BlockOutput)] == ["last"]
    assert [event.log for event in all_of(found, events.BlockLog)] == []


async def test_a_call_that_nobody_awaits_still_fails_the_job(tmp_path: Path) -> None:
    body = GIVEN_UP["a task that is cancelled"] + "    ctx.output('forgotten', 'out')\n"
    found = await run_block(tmp_path, BEGIN + body, workers=1)
    assert "1 call(s) of its ctx were never awaited" in (end_of(found).error or "")
