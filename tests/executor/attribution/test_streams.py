"""What jobs put in the place of ``sys.stdout``: redirections are a job's own, what is left there is put back."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import asyncblock
from asyncblock import events

from ...flows import all_of, end_of, node, run_flow, write_flow
from .test_capture import captured_process, err, in_job, out

# ---------------------------------------------------------------------- one job


def redirects() -> str:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        print("mine")
        sys.stdout.buffer.write(b"bytes\n")
        thread = threading.Thread(target=print, args=("of a thread",))
        thread.start()
        thread.join()
        with contextlib.redirect_stdout(io.StringIO()) as inner:
            print("inner")
        print("mine again")
    print("back")
    assert inner.getvalue() == "inner\n"
    return text.getvalue()


class Tee:
    """Writes to two streams."""

    def __init__(self, *streams: object) -> None:
        self.streams = streams

    def write(self, text: str) -> int:
        for each in self.streams:
            each.write(text)  # type: ignore[attr-defined]
        return len(text)


def tee() -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(Tee(sys.stdout, text)):  # type: ignore[type-var]
        print("both")
    return text.getvalue()


def swap() -> str:
    # What each is when it is redirected: the first one the other, the second one that other, too.
    with contextlib.redirect_stdout(sys.stderr), contextlib.redirect_stderr(sys.stdout):
        print("out")
        print("err", file=sys.stderr)
    return ""


def errors_into_a_text() -> str:
    with contextlib.redirect_stderr(io.StringIO()) as text:
        print("e", file=sys.stderr)
        print("o")
    return text.getvalue()


def into_nothing() -> str:
    with contextlib.redirect_stdout(None):
        print("nobody's", flush=True)
    return ""


def into_a_file() -> str:
    """Of which a program that is started has the descriptor."""
    with tempfile.TemporaryFile("w+") as file, contextlib.redirect_stdout(file):
        print("first", flush=True)
        subprocess.run(["echo", "of a program"], stdout=sys.stdout, check=True)
        file.seek(0)
        return file.read()


ONE: dict[str, tuple[Callable[[], str], str, list[tuple[str, str]]]] = {
    "nested": (redirects, "mine\nbytes\nof a thread\nmine again\n", out("back")),
    "a tee": (tee, "both\n", out("both")),
    "each into the other": (swap, "", err("out", "err")),
    "nothing": (into_nothing, "", []),
    "a file": (into_a_file, "first\nof a program\n", []),
    "stderr": (errors_into_a_text, "e\n", out("o")),
}


@pytest.mark.parametrize(("block", "text", "lines"), ONE.values(), ids=ONE.keys())
def test_a_redirection_in_a_job_takes_what_that_job_writes(
    block: Callable[[], str], text: str, lines: list[tuple[str, str]]
) -> None:
    with captured_process() as captured:
        ours = (sys.stdout, sys.stderr)
        texts: list[str] = []
        assert in_job(lambda: texts.append(block())) == lines
        assert texts == [text]
        assert (sys.stdout, sys.stderr) == ours
        assert in_job(lambda: print("next")) == out("next")
        assert captured.texts() == ("", "")
        # Outside of jobs it is what it always was.
        with contextlib.redirect_stdout(io.StringIO()) as outside:
            print("outside")
        assert outside.getvalue() == "outside\n"


def test_a_redirection_that_is_never_left_ends_with_its_job() -> None:
    with captured_process():
        stack = contextlib.ExitStack()
        text = io.StringIO()
        in_job(lambda: stack.enter_context(contextlib.redirect_stdout(text)))
        assert in_job(lambda: print("next")) == out("next")
        stack.close()
        assert in_job(lambda: print("after")) == out("after")


# ---------------------------------------------------------------------- jobs of one process

OVERLAP = """
import contextlib, io, threading

BOTH, FIRST_OUT = threading.Barrier(2), threading.Event()

def main(inputs, ctx):
    x = inputs["x"]
    with contextlib.redirect_stdout(io.StringIO()) as text:
        print("mine", x)
        BOTH.wait()
        print("more", x)
        if x == 1:
            FIRST_OUT.wait()
    FIRST_OUT.set()
    print("after", x)
    return {"out": text.getvalue()}
"""

SOURCE = """
async def main(inputs, ctx):
    for x in range(2):
        await ctx.output(x, "out")
"""

SAYS = """
async def main(inputs, ctx):
    print("line", inputs.get("x", ""))
"""

REPLACES = """
import io, sys

def main(inputs, ctx):
    sys.stdout = io.StringIO()
    print("lost")
    return {"out": 1}
"""

FROM_N = [{"handle": "x", "from_node": [{"node_id": "n", "output_handle": "out"}]}]


def lines(found: Sequence[events.Event], node_id: str) -> list[str]:
    return [event.log for event in all_of(found, events.BlockLog) if event.node_id == node_id]


async def test_redirections_of_jobs_that_overlap_take_no_line_of_each_other(tmp_path: Path) -> None:
    """In the order in which each one would put back what the other had put there."""
    x = [{"handle": "x"}]
    both = node("both", OVERLAP, tmp_path, inputs=x, inputs_from=FROM_N, concurrency=2)
    flow = write_flow(tmp_path, [node("n", SOURCE, tmp_path), both])
    says = write_flow(tmp_path / "says", [node("says", SAYS, tmp_path / "says")])
    async with asyncblock.embedded(workers=1) as mainframe:
        found = [event async for event in await mainframe.start(flow)]
        assert end_of(found).state == "succeeded", end_of(found).error
        texts = {event.result["out"] for event in all_of(found, events.BlockFinished) if event.node_id == "both"}
        assert texts == {"mine 0\nmore 0\n", "mine 1\nmore 1\n"}
        assert sorted(lines(found, "both")) == ["after 0", "after 1"]
        assert lines([event async for event in await mainframe.start(says)], "says") == ["line "]


async def test_a_stream_that_a_block_leaves_in_the_place_of_sys_stdout_is_told_and_put_back(tmp_path: Path) -> None:
    says = node("says", SAYS, tmp_path, inputs=[{"handle": "x"}], inputs_from=FROM_N)
    found = await run_flow(write_flow(tmp_path, [node("n", REPLACES, tmp_path), says]), workers=1)
    assert end_of(found).state == "succeeded", end_of(found).error
    [warning] = [event.warning for event in all_of(found, events.BlockWarning) if event.node_id == "n"]
    assert "the block has put another stream in the place of sys.stdout and left it there" in warning
    assert "It is put back now." in warning
    assert lines(found, "says") == ["line 1"]


BESIDE = """
import asyncio

async def main(inputs, ctx):
    await ctx.output(1, "begun")
    # Until the other one has ended.
    while not inputs_seen(ctx):
        await asyncio.sleep(0.05)

def inputs_seen(ctx):
    import pathlib
    return pathlib.Path(__file__).with_name("over").exists()
"""

LAST = """
import pathlib

def main(inputs, ctx):
    print("while the other runs")
    pathlib.Path(__file__).with_name("over").touch()
"""


async def test_it_is_put_back_when_nobody_runs_who_may_have_done_it(tmp_path: Path) -> None:
    begun = [{"handle": "x", "from_node": [{"node_id": "beside", "output_handle": "begun"}]}]
    x = [{"handle": "x"}]
    nodes = [
        node("beside", BESIDE, tmp_path, outputs=["begun"]),
        node("n", REPLACES, tmp_path, inputs=x, inputs_from=begun),
        node("last", LAST, tmp_path, inputs=x, inputs_from=FROM_N),
    ]
    says = write_flow(tmp_path / "says", [node("says", SAYS, tmp_path / "says")])
    async with asyncblock.embedded(workers=1) as mainframe:
        found = [event async for event in await mainframe.start(write_flow(tmp_path, nodes))]
        assert end_of(found).state == "succeeded", end_of(found).error
        told = {event.node_id: event.warning for event in all_of(found, events.BlockWarning)}
        assert told.keys() == {"n", "beside"}
        assert all("or one beside it" in each for each in told.values())
        assert "put back when those that ran at the same time have ended" in told["n"]
        assert lines([event async for event in await mainframe.start(says)], "says") == ["line "]
