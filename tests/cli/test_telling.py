"""``report``, ``export`` and ``show``, of sessions that ran here or on a mainframe: finished, failed, running, killed."""

from __future__ import annotations

import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from asyncblock.cli.pictures import iterm, kitty, protocol_of, sixel
from asyncblock.server.journal.peek import peek_sessions

from ..flows import one_block
from ..processes import run, start
from ..terminals import on_terminal

pytestmark = pytest.mark.timeout(180)  # many commands, each of which has to start

WAITS = """
import asyncio
async def main(inputs, ctx):
    await ctx.preview({"type": "table", "data": {"columns": ["n"], "rows": [[41], [42]], "row_count": 2}})
    await ctx.flush()
    print("here I am")
    await asyncio.Event().wait()
"""
FAILS = """
async def main(inputs, ctx):
    await ctx.preview({"type": "text", "data": "a word"})
    raise ValueError("this went wrong")
"""


async def report_of(session_id: str, tmp_path: Path) -> str:
    """Make a report of a session."""
    place = tmp_path / "report.html"
    made = await run("report", session_id, "-o", place, state=tmp_path)
    assert (made.process.returncode, made.err, made.out) == (0, [], [str(place)])
    return place.read_text("utf-8")


async def show(session_id: str, tmp_path: Path) -> list[str]:
    """Look at a session in the terminal."""
    shown = await run("show", session_id, state=tmp_path)
    assert shown.process.returncode == 0, shown.err
    return shown.out


async def test_a_run_is_told_while_it_runs_and_after_it_was_killed_and_doesnt_go_on_for_that(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", WAITS)
    async with start("run", path, state=tmp_path) as running:
        await running.until_line("here I am")
        session_id = running.out[0].split()[1].rstrip(":")
        html = await report_of(session_id[:6], tmp_path)
        assert ">running<" in html and "here I am" in html
        shown = await show(session_id, tmp_path)
        assert any("working" in line for line in shown) and any("42" in line for line in shown)
        running.kill(signal.SIGKILL)
        await running.process.wait()
    [directory] = (tmp_path / "asyncblock" / "runs").iterdir()
    before = [
        (path, path.read_bytes()) for path in sorted(directory.rglob("*")) if path.is_file() and "-shm" not in path.name
    ]
    html = await report_of(session_id, tmp_path)
    assert ">interrupted<" in html and f"asyncblock resume {session_id}" in html
    exported = await run("export", session_id, tmp_path / "out", state=tmp_path)
    assert exported.process.returncode == 0 and "is interrupted" in exported.err[0]
    assert (tmp_path / "out" / "previews" / "0001-n-table.csv").read_text().split() == ["n", "41", "42"]
    after = [
        (path, path.read_bytes()) for path in sorted(directory.rglob("*")) if path.is_file() and "-shm" not in path.name
    ]
    assert after == before and peek_sessions(directory)[0].state == "running"


async def test_a_run_that_failed_writes_its_report_and_is_shown_with_the_authors_frames(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", FAILS)
    failed = await run("run", path, "--report", tmp_path / "run.html", state=tmp_path)
    assert failed.process.returncode == 1
    html = (tmp_path / "run.html").read_text("utf-8")
    assert ">failed<" in html and "this went wrong" in html and "n.py" in html
    session_id = failed.out[0].split()[1].rstrip(":")
    shown = await run("show", session_id, "n", state=tmp_path)
    assert any("a word" in line for line in shown.out) and any("ValueError" in line for line in shown.out)
    unknown = await run("show", session_id, "m", state=tmp_path)
    assert unknown.process.returncode == 2 and "no node 'm'" in unknown.err[0]
    taken = await run("export", session_id, path.parent, state=tmp_path)
    assert taken.process.returncode == 2 and "is there already" in taken.err[0]
    nobody = await run("report", "nothing", state=tmp_path)
    assert nobody.process.returncode == 2 and "'nothing'" in nobody.err[0]


async def test_a_served_mainframes_sessions_are_told_and_those_of_one_that_was_killed(tmp_path: Path) -> None:
    path = one_block(tmp_path / "f", WAITS)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(start("serve", "--port", "0", state=tmp_path))
        await server.until_line("mainframe at", err=True)
        executor = await stack.enter_async_context(start("executor", "--package", path.parent, state=tmp_path))
        await executor.until_line("executor for", err=True)
        submit = await stack.enter_async_context(start("submit", path, state=tmp_path))
        await submit.until_line("here I am")
        session_id = submit.out[0].split()[1].rstrip(":")
        html = await report_of(session_id[:6], tmp_path)
        assert ">running<" in html and ">42<" in html
        # The mainframe first: it mustn't see that the others end.
        for command in (server, submit, executor):
            for pid in command.family():
                os.kill(pid, signal.SIGKILL)
            await command.process.wait()
        html = await report_of(session_id, tmp_path)
        assert ">interrupted<" in html and ">42<" in html


async def test_tables_are_drawn_in_a_terminal_and_escapes_of_blocks_do_nothing(tmp_path: Path) -> None:
    source = """
async def main(inputs, ctx):
    await ctx.preview({"type": "table", "data": {"columns": ["n\\x1b]0;title\\x07"], "rows": [["a\\x1b[2Jb"]], "row_count": 1}})
    print("log\\x1b[5mline")
"""
    path = one_block(tmp_path / "f", source)
    done = await run("run", path, state=tmp_path)
    session_id = done.out[0].split()[1].rstrip(":")
    async with on_terminal("show", session_id, "n", state=tmp_path) as terminal:
        assert await terminal.process.wait() == 0
        for hostile in (b"\x1b]0;title", b"\x1b[2J", b"\x1b[5m"):
            assert hostile not in terminal.drawn


def test_a_terminal_is_sent_pictures_in_the_protocol_that_it_names() -> None:
    assert protocol_of(b"\x1b_Gi=31;OK\x1b\\\x1b[?62;c", {}) == "kitty"
    assert protocol_of(b"\x1b[?62;4;6c", {}) == "sixel"
    assert protocol_of(b"\x1b[?62;6c", {"TERM_PROGRAM": "iTerm.app"}) == "iterm"
    assert protocol_of(b"\x1b[?62;14c", {}) is None and protocol_of(b"", {}) is None
    import io

    from PIL import Image

    made = io.BytesIO()
    Image.new("RGB", (7, 8), (255, 0, 0)).save(made, "PNG")
    assert (kitty(made.getvalue()) or b"").startswith(b"\x1b_Ga=T,f=100,m=0;")
    assert (iterm(made.getvalue()) or b"").startswith(b"\x1b]1337;File=inline=1;")
    drawn = sixel(made.getvalue()) or b""
    # Seven pixels of one colour, six rows at once, then the two that are left.
    assert drawn.startswith(b'\x1bPq"1;1;7;8#0;2;') and b"!7~$-" in drawn and b"!7B$-" in drawn
