from __future__ import annotations

import asyncio
import gc
import os
import threading
import weakref

import pytest

from asyncblock.errors import Closed
from asyncblock.runtime.iothread import inbox_of, shared


async def test_callbacks_run_on_the_thread_in_the_order_of_the_posts() -> None:
    seen: list[int] = []
    threads: set[str] = set()

    def note(number: int) -> None:
        seen.append(number)
        threads.add(threading.current_thread().name)

    async with shared().lease() as io:
        for number in range(1000):
            io.post(note, number)
        await io.run(asyncio.sleep(0))
        done = threading.Event()
        io.post(done.set)
        await asyncio.to_thread(done.wait, 10)
    assert seen == list(range(1000))
    assert threads == {"asyncblock-io"}


async def test_a_callback_that_fails_spares_those_behind_it(caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    after = asyncio.Event()

    def fail() -> None:
        raise ValueError("mine")

    inbox = inbox_of(loop)
    inbox.post(fail)
    inbox.post(after.set)
    async with asyncio.timeout(10):
        await after.wait()
    assert "a callback posted to an event loop failed" in caplog.text


async def test_the_last_user_stops_the_thread() -> None:
    async with shared().lease() as first:
        async with shared().lease() as second:
            assert first is second
        thread = first._thread
        assert thread.is_alive()
    assert not thread.is_alive()


async def test_a_coroutine_s_error_reaches_whoever_waits() -> None:
    async def fail() -> None:
        raise ValueError("mine")

    async with shared().lease() as io:
        with pytest.raises(ValueError, match="mine"):
            await io.run(fail())


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
async def test_a_forked_child_may_not_use_the_parent_s_thread() -> None:
    async with shared().lease() as io:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                io.post(print)
            except Closed:
                code = 0
            finally:
                os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize(("choice", "module"), [("asyncio", "asyncio"), ("", "uvloop")])
async def test_uvloop_runs_the_thread_where_it_is_installed_unless_told_otherwise(
    choice: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCBLOCK_LOOP", choice)
    async with shared().lease() as io:
        assert type(io.loop).__module__.split(".")[0] == module


def test_the_inbox_of_a_closed_loop_is_let_go_when_another_loop_comes() -> None:
    closed = asyncio.new_event_loop()
    inbox = inbox_of(closed)
    assert inbox_of(closed) is inbox
    closed.close()
    gone = weakref.ref(closed)
    del closed, inbox
    other = asyncio.new_event_loop()
    inbox_of(other)
    other.close()
    gc.collect()
    assert gone() is None
