"""The end of a process in which blocks have run: it has its exit code, whatever threads they have left."""

from __future__ import annotations

import gzip
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from ..flows import node, write_flow
from ..processes import all_ended, start

pytestmark = pytest.mark.timeout(120)

HELD = """
import os, sys, threading

_, full = os.pipe()
os.set_blocking(full, False)
try:
    while True:
        os.write(full, b"x" * 65536)
except BlockingIOError:
    os.set_blocking(full, True)
"""
"""A pipe that nobody reads: whoever writes to it waits, and holds the lock of its stream."""

HOLDERS = {
    "a file": "stream = os.fdopen(full, 'wb', buffering=16)\n",
    "standard output": "os.dup2(full, 1)\nstream = sys.stdout.buffer\n",
    "standard error": "os.dup2(full, 2)\nstream = sys.stderr.buffer\n",
}


def ended(source: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-c", textwrap.dedent(source), *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_thread_that_holds_a_stream_for_ever_does_not_abort_the_process(holder: str) -> None:
    writes = """
def write():
    began.release()
    stream.write(b"x" * 100_000)

began = threading.Semaphore(0)
threading.Thread(target=write, daemon=True).start()
began.acquire()
"""
    # Its turn to write is given up to it: it has the lock of the stream when the process leaves.
    leaves = "import time\ntime.sleep(0.1)\nfrom asyncblock.runtime.ending import leave\nleave(5)\n"
    assert ended(HELD + HOLDERS[holder] + writes + leaves).returncode == 5


def test_what_an_interpreter_does_at_its_end_is_done(tmp_path: Path) -> None:
    done = ended(
        """
        import atexit, gzip, os, sys, threading
        from asyncblock.runtime.ending import leave

        place = sys.argv[1]
        text = open(place + "/text", "w")
        text.write("kept")
        packed = gzip.open(place + "/packed.gz", "wb")
        packed.write(b"kept")
        atexit.register(lambda: text.write(", and at exit"))
        atexit.register(lambda: 1 / 0)
        go = threading.Event()
        def last():
            go.wait()
            text.write(", and by a thread")
        threading.Thread(target=last).start()
        threading.Timer(0.2, go.set).start()
        print("said", end="")
        leave(7)
        """,
        str(tmp_path),
    )
    assert (done.returncode, done.stdout) == (7, b"said")
    assert b"ZeroDivisionError" in done.stderr
    assert (tmp_path / "text").read_text() == "kept, and by a thread, and at exit"
    assert gzip.decompress((tmp_path / "packed.gz").read_bytes()) == b"kept"


@pytest.mark.parametrize("holder", ["nothing", "standard error"])
def test_a_thread_that_a_block_has_left_does_not_keep_the_process(holder: str) -> None:
    source = HELD + ("os.dup2(full, 2)\n" if holder == "standard error" else "")
    done = ended(
        source
        + "from asyncblock.runtime.ending import end_within\n"
        + "threading.Thread(target=threading.Event().wait, name='left').start()\n"
        + "end_within(0.01, 3)\n"
    )
    assert done.returncode == 3
    if holder == "nothing":
        assert b"threads and processes that blocks have left don't end, this process does: left" in done.stderr


LEAVES_A_WRITER = """
    import os, sys, threading, time

    kept = open(os.path.join(os.path.dirname(__file__), "kept"), "w")
    scratch = open(os.path.join(os.path.dirname(__file__), "scratch"), "wb", buffering=65536)

    def write():
        while True:
            scratch.seek(0)
            scratch.write(b"x" * 70_000)
            sys.stdout.write("")
            sys.stderr.write("")
            time.sleep(0.001)

    async def main(inputs, ctx):
        kept.write("kept")
        threading.Thread(target=write, daemon=True).start()
        return {"out": os.getpid()}
    """


@pytest.mark.parametrize("how", ["by default", "spawn: true", "--in-process"])
async def test_a_process_leaves_in_order_though_a_thread_of_a_block_goes_on_writing(how: str, tmp_path: Path) -> None:
    place = tmp_path / "f"
    made = node("n", LEAVES_A_WRITER, place)
    made["task"]["executor"]["options"]["spawn"] = how == "spawn: true"
    options = [how] if how.startswith("--") else []
    flow = write_flow(
        place, [made], outputs_from=[{"handle": "out", "from_node": [{"node_id": "n", "output_handle": "out"}]}]
    )
    async with start("run", flow, "--json", *options, state=tmp_path) as command:
        assert await command.wait() == 0
    assert "Fatal Python error" not in "\n".join(command.err)
    pid = command.events()[-1]["outputs"]["out"]
    await all_ended([pid])
    assert (place / "kept").read_text() == "kept"
