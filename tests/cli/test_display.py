"""What a person sees: bars on a terminal, plain lines elsewhere, and a terminal that is left as it was."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from asyncblock import events
from asyncblock.cli.eventwords import Names, words
from asyncblock.wire.bodies import BodyRef

from ..flows import node, one_block, write_flow
from ..processes import all_ended
from ..terminals import on_terminal

STUBBORN = """
import asyncio

async def main(inputs, ctx):
    await ctx.report_progress(40)
    print("waiting")
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print("not now")
"""


async def test_a_bar_for_each_node_moves_below_the_lines_and_leaves_with_the_session(tmp_path: Path) -> None:
    """Each of the nodes holds at 40 % until the file ``go`` is there."""
    source = """
    import asyncio
    from pathlib import Path

    async def main(inputs, ctx):
        await ctx.report_progress(40)
        print(f"[red]log of {ctx.node_id}")
        await ctx.preview({"type": "table", "data": {"columns": ["a"], "rows": [[1], [2]]}}, id="rows")
        while not (Path(__file__).parent / "go").exists():
            await asyncio.sleep(0.01)
    """
    flow = write_flow(tmp_path / "f", [node(name, source, tmp_path / "f") for name in ("alpha", "beta")])
    async with on_terminal("run", flow, state=tmp_path) as terminal:
        await terminal.until(lambda: sum(" 40% " in line for line in terminal.lines) == 2)
        bars = [line for line in terminal.lines if " 40% " in line]
        assert sorted(bar.split()[1] for bar in bars) == ["alpha", "beta"]
        assert all("━" in bar for bar in bars)
        await terminal.until(lambda: "beta: preview 'rows': table, 2 rows, 1 columns" in terminal.lines)
        assert "alpha: [red]log of alpha" in terminal.lines
        assert terminal.screen.cursor.hidden
        (tmp_path / "f" / "go").touch()
        assert await terminal.process.wait() == 0
        await terminal.until(lambda: not terminal.screen.cursor.hidden)
    assert terminal.lines[0].startswith("session ")
    assert "alpha: finished" in terminal.lines
    assert terminal.lines[-1] == "session succeeded, 0 outputs"
    assert not any("━" in line for line in terminal.lines)


async def test_stocks_on_a_terminal_says_what_plain_lines_say(tmp_path: Path) -> None:
    async with on_terminal("run", "stocks", state=tmp_path, height=12) as terminal:
        assert await terminal.process.wait() == 0
        await terminal.until(lambda: any(line.startswith("    worst:") for line in terminal.lines))
    text = "\n".join(terminal.scrolled)
    for said in (
        "load: preview: table, 524 rows, 11 columns",
        "chart: preview 'chart': ",
        "session succeeded, 1 output",
    ):
        assert said in text


async def test_bars_never_take_more_than_the_terminal_has(tmp_path: Path) -> None:
    source = "async def main(inputs, ctx):\n    await ctx.report_progress(50)\n"
    flow = write_flow(tmp_path / "f", [node(f"n{i}", source, tmp_path / "f") for i in range(30)])
    async with on_terminal("run", flow, state=tmp_path, height=14) as terminal:
        assert await terminal.process.wait() == 0
        await terminal.until(lambda: "session succeeded, 0 outputs" in terminal.lines)
    assert {line.split(":")[0] for line in terminal.scrolled if line.endswith(": finished")} == {
        f"n{i}" for i in range(30)
    }
    assert not any("━" in line for line in terminal.scrolled)


async def test_ctrl_c_cancels_and_a_second_one_leaves_at_once_with_the_terminal_as_it_was(tmp_path: Path) -> None:
    async with on_terminal("run", one_block(tmp_path / "f", STUBBORN), state=tmp_path) as terminal:
        await terminal.until(lambda: "n: waiting" in terminal.lines)
        assert terminal.screen.cursor.hidden
        terminal.press(b"\x03")
        await terminal.until(lambda: "cancelling; once more to leave at once" in terminal.lines)
        await terminal.until(lambda: "n: not now" in terminal.lines)
        terminal.press(b"\x03")
        async with asyncio.timeout(3):
            assert await terminal.process.wait() == 130
        await terminal.until(lambda: not terminal.screen.cursor.hidden)
        await all_ended(terminal.family())
    assert terminal.family() == []
    assert not any("Traceback" in line for line in terminal.scrolled)


async def test_ctrl_c_lets_blocks_clean_up(tmp_path: Path) -> None:
    source = """
    import asyncio

    async def main(inputs, ctx):
        print("waiting")
        try:
            await asyncio.Event().wait()
        finally:
            await ctx.report_log("cleaned up")
    """
    async with on_terminal("run", one_block(tmp_path / "f", source), state=tmp_path) as terminal:
        await terminal.until(lambda: "n: waiting" in terminal.lines)
        terminal.press(b"\x03")
        assert await terminal.process.wait() == 130
        await terminal.until(lambda: "session cancelled: interrupted" in terminal.lines)
    assert "n: cleaned up" in terminal.lines
    assert not terminal.screen.cursor.hidden
    assert terminal.family() == []


@pytest.mark.parametrize(("term", "options"), [("dumb", ()), ("xterm-256color", ("--in-process",))])
async def test_a_dumb_terminal_and_a_debugger_get_plain_lines(
    tmp_path: Path, term: str, options: tuple[str, ...]
) -> None:
    path = one_block(tmp_path / "f", "async def main(inputs, ctx):\n    await ctx.report_log('hello')\n")
    async with on_terminal("run", path, *options, state=tmp_path, term=term) as terminal:
        assert await terminal.process.wait() == 0
        await terminal.until(lambda: any(line.startswith("session succeeded") for line in terminal.lines))
    assert "n: hello" in terminal.lines
    assert b"\x1b[?25l" not in terminal.drawn


async def test_a_debugger_can_be_talked_to_in_process(tmp_path: Path) -> None:
    path = one_block(
        tmp_path / "f", "async def main(inputs, ctx):\n    answer = 41\n    breakpoint()\n    return {'out': answer}\n"
    )
    async with on_terminal("run", path, "--in-process", state=tmp_path) as terminal:
        await terminal.until(lambda: any("(Pdb)" in line for line in terminal.lines))
        terminal.press(b"!answer = 42\n")
        await terminal.until(lambda: sum("(Pdb)" in line for line in terminal.lines) == 2)
        terminal.press(b"c\n")
        assert await terminal.process.wait() == 0
        await terminal.until(lambda: "  out = 42" in terminal.lines)


COMMON: dict[str, Any] = {"session_id": "5", "offset": 0, "t": 0}
JOB: dict[str, Any] = {**COMMON, "job_id": "j", "node_id": "n"}
BODY = BodyRef(1, 70_000, "0" * 64, "json", "l")


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (events.BlockStarted(**JOB), "n: started"),
        (events.BlockStarted(**{**JOB, "attempt": 2}), "n: started (attempt 2)"),
        (events.BlockLog(**JOB, log="x", stdio="stderr"), "n: x"),
        (events.BlockLogJSON(**JOB, json={"a": 1}), 'n: {"a":1}'),
        (events.BlockLogJSON(**JOB, body=BODY), "n: a large value"),
        (events.BlockMessage(**JOB, payload=[1]), "n: message [1]"),
        (events.BlockWarning(**JOB, warning="w"), "n: warning: w"),
        (events.BlockError(**JOB, error="e"), "n: error: e"),
        (events.BlockPreview(**JOB, payload={"type": "image", "data": ""}), "n: preview: image"),
        (events.BlockPreview(**JOB, body=BODY, id="p"), "n: preview 'p': 70,000 bytes"),
        (events.BlockPreview(**JOB, payload=3), "n: preview: value"),
        (events.BlockFinished(**JOB), "n: finished"),
        (events.BlockFinished(**JOB, cancelled=True), "n: cancelled"),
        (events.BlockFinished(**JOB, error="E", traceback="  at x\n"), "n: failed: E\n  at x"),
        (events.JobFailed(**JOB, error="E"), "n: failed: E"),
        (events.JobRetrying(**JOB, error="E", pause=0.5, at=1), "n: attempt 2 follows in 0.5 s"),
        (events.JobStalled(**JOB, seconds=1.26, where="f (x.py:3)"), "n: has blocked its event loop for 1.3 s in f (x.py:3)"),
        (events.JobStalled(**JOB, seconds=0.3, where="f (x.py:3)"), None),  # its warning follows
        (events.SessionCancelled(**COMMON, reason="r"), "cancelled: r"),
        (events.JournalBroken(**COMMON, epoch="e", reason="r"), "what followed here may be lost: r"),
        (events.SessionFinished(**COMMON, state="failed", error="E", outputs={}), "session failed: E"),
        (events.SessionFinished(**COMMON, state="cancelled", error="cancelled: r", outputs={}), "session cancelled: r"),
        (events.SessionFinished(**COMMON, state="succeeded", error=None, outputs={"a": 1}), "session succeeded, 1 output\n  a = 1"),
        (events.BlockProgress(**JOB, rate=3), None),
        (events.Other(**COMMON, name="Unknown", fields={}), None),
    ],
)  # fmt: skip
def test_events_in_words(event: events.Event, said: str | None) -> None:
    found = words(event)
    assert (None if found is None else found[0]) == said


def test_large_outputs_are_shown_member_by_member() -> None:
    value = {f"k{i}": "x" * 300 for i in range(25)}
    found = words(events.SessionFinished(**COMMON, state="succeeded", error=None, outputs={"all": value}))
    assert found is not None
    lines = found[0].splitlines()
    assert lines[:2] == ["session succeeded, 1 output", "  all:"]
    assert lines[-1] == "    and 5 more"
    assert len(lines) == 23
    assert max(map(len, lines)) < 120


def test_a_node_of_a_subflow_is_named_by_the_way_to_it() -> None:
    names = Names()
    stacks = ({"flow": "f", "node_id": "outer"}, {"flow": "g", "node_id": "inner"})
    job: dict[str, Any] = {**COMMON, "job_id": "j.1", "node_id": "inner"}
    assert names.of(events.JobCreated(**job, stacks=stacks)) == "outer/inner"
    assert names.of(events.JobCreated(**JOB, stacks=stacks[:1])) == "n"
    log = events.BlockLog(**job, log="x", stdio="stdout")
    assert words(log, names.of(log)) == ("outer/inner: x", None)
    assert names.of(events.BlockFinished(**job)) == "outer/inner"
    assert names.of(events.SessionCancelled(**COMMON, reason="r")) is None
