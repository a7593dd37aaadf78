"""``backup`` and ``restore``: a data directory is copied while it is served, and served from the copy."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest

import asyncblock
from asyncblock import Context, events
from asyncblock.errors import Unavailable
from asyncblock.server.journal.copying import copy_journal
from asyncblock.server.journal.peek import peek_sessions
from asyncblock.testing import run_block

from ..flows import one_block
from ..processes import run, start

pytestmark = pytest.mark.timeout(180)  # many commands, each of which has to start

LARGE = "async def main(inputs, ctx):\n    await ctx.output({'rows': list(range(50_000))}, 'out')\n"


async def test_a_mainframe_is_backed_up_while_it_is_served_and_restored_with_large_values(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", LARGE)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(start("serve", "--port", "0", state=tmp_path))
        await server.until_line("mainframe at", err=True)
        executor = await stack.enter_async_context(start("executor", "--package", path.parent, state=tmp_path))
        await executor.until_line("executor for", err=True)
        submitted = await run("submit", path, "--json", state=tmp_path)
        session_id = submitted.events()[0]["session_id"]
        made = await run("backup", tmp_path / "backup", state=tmp_path)
        assert made.process.returncode == 0 and "1 sessions and 1 bodies" in made.out[0], made.err
        again = await run("backup", tmp_path / "backup", state=tmp_path)
        assert again.process.returncode == 2 and "isn't empty" in again.err[0]
        used = await run("restore", tmp_path / "backup", state=tmp_path)
        assert used.process.returncode == 2 and "isn't empty" in used.err[0]
    data = tmp_path / "other"
    restored = await run("restore", tmp_path / "backup", "--data-dir", data, state=tmp_path)
    assert restored.process.returncode == 0, restored.err
    async with start("serve", "--port", "0", "--data-dir", data, state=tmp_path) as server:
        await server.until_line("mainframe at", err=True)
        found = await run("outputs", session_id[:8], "--data-dir", data, state=tmp_path)
        assert orjson.loads("\n".join(found.out))["out"]["rows"][-1] == 49_999


async def test_a_copy_made_while_blocks_send_is_one_moment_of_the_journal_and_holds_nobody_up(tmp_path: Path) -> None:
    copies: list[Path] = []

    @asyncblock.block(outputs=[{"handle": "out"}])
    async def sends(ctx: Context) -> None:
        number = 0
        while len(copies) < 3:
            for _ in range(200):
                await ctx.output(number, "out")
                number += 1
            await ctx.flush()

    flow = asyncblock.Flow("sends")
    flow.output("out", flow.node(sends)["out"])
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        session = await mainframe.start(flow)
        for number in range(3):
            target = tmp_path / f"copy{number}"
            await asyncio.to_thread(copy_journal, tmp_path / "data", target)
            copies.append(target)
        outputs = await session.outputs()
    rows = [row.rows for copy in copies for row in peek_sessions(copy)]
    assert len(rows) == 3 and rows == sorted(rows) and outputs["out"] > 0
    # In each copy the session is as it was: it goes on, and what it had is there in order.
    async with asyncblock.embedded(copies[0], blocks=[sends]) as mainframe:
        last = -1
        async for event in mainframe.session(session.session_id):
            if isinstance(event, events.BlockOutput):
                assert event.output == last + 1 or event.attempt > 1
                last = event.output
    assert not list(tmp_path.glob("*.new"))


def test_what_is_no_data_directory_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="there is no journal in"):
        copy_journal(tmp_path / "nothing", tmp_path / "copy")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "journal.db").write_bytes(b"no database" * 1000)
    with pytest.raises(Unavailable, match="couldn't be copied"):
        copy_journal(broken, tmp_path / "copy")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["broken"]


async def test_a_module_that_an_extra_brings_is_named_with_it() -> None:
    async def main(ctx: Context) -> None:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib.pyplot")

    result = await run_block(main, check=False)
    assert result.error is not None and "pip install 'asyncblock[preview]'" in result.error
