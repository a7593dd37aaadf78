"""``faulthandler`` in blocks: its clock is each job's own, though asyncblock winds up the interpreter's."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncblock import events

from ...flows import all_of, end_of, node, run_block, run_flow, write_flow

# Since 3.12: the test's own process forks in some of these, and has threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_tracebacks_come_after_the_time_that_a_block_has_set(kind: str, tmp_path: Path) -> None:
    """Longer than the one that asyncblock winds up lasts, and twice in one process."""
    source = f"""
import faulthandler, os, threading

{kind} main(inputs, ctx):
    reading, writing = os.pipe()
    with os.fdopen(reading) as file:
        faulthandler.dump_traceback_later(1.3, repeat=True, file=writing)
        first = file.readline()
        while "in main" not in file.readline():
            pass
        while not file.readline().startswith("Timeout"):
            pass
        faulthandler.cancel_dump_traceback_later()
        faulthandler.dump_traceback_later(60, file=writing)
        os.close(writing)
    return {{"out": first}}
"""
    outputs = [{"handle": n, "from_node": [{"node_id": n, "output_handle": "out"}]} for n in "ab"]
    flow = write_flow(tmp_path, [node(name, source, tmp_path) for name in "ab"], outputs_from=outputs)
    first = "Timeout (0:00:01.300000)!\n"
    assert end_of(await run_flow(flow, workers=1)).outputs == {"a": first, "b": first}


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_block_s_time_that_is_up_may_end_its_job_and_no_other(kind: str, tmp_path: Path) -> None:
    wait = "await asyncio.Event().wait()" if kind == "async def" else "threading.Event().wait(60)"
    source = f"""
import asyncio, faulthandler, threading
from pathlib import Path

{kind} main(inputs, ctx):
    with Path(__file__).with_name("traces.txt").open("w") as file:
        faulthandler.dump_traceback_later(0.1, file=file, exit=True)
        {wait}
"""
    end = end_of(await run_block(tmp_path, source, workers=1))
    assert "the time was up that the block had given faulthandler" in str(end.error)
    assert "Timeout (0:00:00.100000)!\n" in (tmp_path / "traces.txt").read_text()


async def test_wrong_times_are_refused_as_ever(tmp_path: Path) -> None:
    source = "import faulthandler\nasync def main(inputs, ctx):\n    faulthandler.dump_traceback_later(0)\n"
    assert "timeout must be greater than 0" in str(end_of(await run_block(tmp_path, source, workers=1)).error)


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_forked_process_may_set_and_stop_a_clock(kind: str, tmp_path: Path) -> None:
    source = f"""
import faulthandler, multiprocessing as mp, os

def work(writing):
    faulthandler.cancel_dump_traceback_later()
    faulthandler.dump_traceback_later(60, file=writing)
    faulthandler.dump_traceback_later(0.1, file=writing, exit=True)
    mp.Event().wait(60)

{kind} main(inputs, ctx):
    reading, writing = os.pipe()
    process = mp.get_context("fork").Process(target=work, args=(writing,))
    process.start()
    os.close(writing)
    with os.fdopen(reading) as file:
        first = file.readline()
        process.join(20)
    return {{"out": [first, process.exitcode]}}
"""
    found = await run_block(tmp_path, source, workers=1)
    assert end_of(found).outputs == {"out": ["Timeout (0:00:00.100000)!\n", 1]}
    assert all_of(found, events.BlockLog) == []


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_faulthandler_of_the_author_s_own_works(kind: str, tmp_path: Path) -> None:
    source = f"""
import faulthandler, signal, tempfile

{kind} main(inputs, ctx):
    faulthandler.enable()
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file=file)
        faulthandler.register(signal.SIGUSR1, file=file)
        signal.raise_signal(signal.SIGUSR1)
        assert faulthandler.unregister(signal.SIGUSR1)
        file.seek(0)
        return {{"out": file.read().decode().count("in main") >= 2}}
"""
    assert end_of(await run_block(tmp_path, source, workers=1)).outputs == {"out": True}
