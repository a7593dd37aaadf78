from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncblock.executor.watchdog import Stall, Watchdog, task_value

current_job: contextvars.ContextVar[str | None] = contextvars.ContextVar("job_of_the_test", default=None)


class Stalls:
    """Takes reports on the watchdog's thread; a test waits for them while it blocks the loop."""

    def __init__(self) -> None:
        self.all: list[Stall] = []
        self._reached: dict[int, threading.Event] = {}

    def __call__(self, stall: Stall) -> None:
        self.all.append(stall)
        self.reached(len(self.all)).set()

    def reached(self, count: int) -> threading.Event:
        """Waiting for it blocks the calling thread, and with it its loop, in a frame of the standard library."""
        return self._reached.setdefault(count, threading.Event())

    async def wait_for(self, count: int) -> None:
        assert await asyncio.to_thread(self.reached(count).wait, 30)


def job_of(context: contextvars.Context) -> str | None:
    return context.get(current_job)


def line_of(function: Callable[..., object], offset: int) -> int:
    return function.__code__.co_firstlineno + offset


async def test_a_stall_is_reported_while_it_lasts_and_when_it_has_ended() -> None:
    stalls = Stalls()

    async def block() -> None:
        stalls.reached(1).wait(30)
        assert not stalls.all[0].ended

    async with Watchdog(stalls, job_of=job_of) as watchdog:
        with watchdog.watching():
            begun = time.monotonic()
            await asyncio.create_task(block(), name="mine")
            taken = time.monotonic() - begun
            await stalls.wait_for(2)
    during, after = stalls.all[:2]
    assert (during.task, during.job, during.function) == ("mine", None, "block")
    assert (during.file, during.line) == (__file__, line_of(block, 1))
    assert 0.1 < during.seconds <= after.seconds < taken + 0.1
    assert after.ended
    assert (after.task, after.function, after.line) == ("mine", "block", during.line)


async def test_150_ms_are_seen() -> None:
    stalls = Stalls()
    async with Watchdog(stalls) as watchdog:
        with watchdog.watching():
            time.sleep(0.16)  # noqa: ASYNC251 - it is the subject
            await stalls.wait_for(1)
    assert stalls.all[-1].ended
    assert stalls.all[-1].seconds > 0.1


async def test_a_long_stall_is_reported_again() -> None:
    stalls = Stalls()
    async with Watchdog(stalls, threshold=0.02, repeat=0.05) as watchdog:
        with watchdog.watching():
            stalls.reached(3).wait(30)
            await stalls.wait_for(4)
    seconds = [stall.seconds for stall in stalls.all]
    assert [stall.ended for stall in stalls.all[:4]] == [False, False, False, True]
    assert seconds == sorted(seconds)
    assert seconds[1] - seconds[0] >= 0.04


async def test_the_job_is_that_of_the_running_task() -> None:
    stalls = Stalls()

    async def job(name: str, blocks: bool) -> None:
        current_job.set(name)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(child(blocks), name=f"child of {name}")

    async def child(blocks: bool) -> None:
        if blocks:
            stalls.reached(1).wait(30)
        await asyncio.sleep(0)

    async with Watchdog(stalls, job_of=job_of, threshold=0.02) as watchdog:
        with watchdog.watching():
            await asyncio.gather(job("a", False), job("b", True), job("c", False))
            await stalls.wait_for(2)
    assert [(stall.job, stall.task) for stall in stalls.all[:2]] == [("b", "child of b")] * 2


async def test_a_callback_is_named_though_it_is_no_task() -> None:
    stalls = Stalls()
    done = asyncio.Event()

    def callback() -> None:
        stalls.reached(1).wait(30)
        done.set()

    async def job() -> None:
        current_job.set("a")
        asyncio.get_running_loop().call_soon(callback)

    async with Watchdog(stalls, job_of=job_of, threshold=0.02) as watchdog:
        with watchdog.watching():
            await asyncio.create_task(job())
            await done.wait()
            await stalls.wait_for(2)
    assert [(stall.job, stall.task, stall.function) for stall in stalls.all[:2]] == [("a", None, "callback")] * 2


async def test_each_of_two_that_stall_in_the_same_round_of_the_loop_is_told() -> None:
    stalls = Stalls()

    async def first() -> None:
        stalls.reached(1).wait(30)

    async def second() -> None:
        # Its own, and the end of the first one's.
        stalls.reached(3).wait(30)

    async with Watchdog(stalls, threshold=0.05) as watchdog:
        with watchdog.watching():
            await asyncio.gather(first(), second())
            await stalls.wait_for(4)
    assert [(stall.function, stall.ended) for stall in stalls.all[:4]] == [
        ("first", False),
        ("first", True),
        ("second", False),
        ("second", True),
    ]


async def test_short_ones_that_make_a_stall_together_are_told_by_the_longest() -> None:
    stalls = Stalls()

    async def short() -> None:
        looked = watchdog.lag
        while watchdog.lag < looked + 0.7:
            pass

    async with Watchdog(stalls, threshold=1.0) as watchdog:
        with watchdog.watching():
            await asyncio.gather(short(), short())
            await stalls.wait_for(1)
    [stall] = stalls.all
    assert stall.ended and stall.function == "short"


@pytest.mark.parametrize(
    ("outer", "inner", "named"),
    [
        ("/pkg/main.py", "/pkg/lib.py", "/pkg/lib.py"),
        ("/pkg/main.py", "/env/lib/site-packages/pandas.py", "/pkg/main.py"),
        ("/pkg/main.py", "/pkg/.venv/lib/site-packages/pandas.py", "/pkg/main.py"),
        ("/pkg/main.py", threading.__file__, "/pkg/main.py"),
        ("/env/lib/site-packages/a.py", threading.__file__, "/env/lib/site-packages/a.py"),
    ],
)
async def test_the_author_s_innermost_frame_is_named(outer: str, inner: str, named: str) -> None:
    stalls = Stalls()
    scope: dict[str, Any] = {"wait": stalls.reached(1).wait}
    exec(compile("def inner(): wait(30)", inner, "exec"), scope)
    exec(compile("def outer(): inner()", outer, "exec"), scope)
    async with Watchdog(stalls, roots=[Path("/pkg")], threshold=0.02) as watchdog:
        with watchdog.watching():
            asyncio.get_running_loop().call_soon(scope["outer"])
            await stalls.wait_for(2)
    assert stalls.all[0].file == named
    assert stalls.all[0].line == 1


async def test_short_blocks_are_no_stalls() -> None:
    stalls = Stalls()
    async with Watchdog(stalls, threshold=5.0) as watchdog:
        with watchdog.watching():
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert 0 <= watchdog.lag < 5.0
    assert stalls.all == []


async def test_nothing_is_reported_when_nobody_watches() -> None:
    stalls = Stalls()
    async with Watchdog(stalls, threshold=0.02) as watchdog:
        with watchdog.watching():
            pass
        time.sleep(0.1)  # noqa: ASYNC251 - it is the subject
        assert watchdog.lag == 0.0
        await asyncio.sleep(0)
    assert stalls.all == []


async def test_watching_nests() -> None:
    stalls = Stalls()
    async with Watchdog(stalls, threshold=0.02) as watchdog:
        with watchdog.watching():
            with watchdog.watching():
                pass
            stalls.reached(1).wait(30)
            await stalls.wait_for(2)
    assert len(stalls.all) >= 2


async def test_a_stall_that_ends_with_the_watch_is_reported_to_its_end() -> None:
    stalls = Stalls()
    async with Watchdog(stalls, threshold=0.02) as watchdog:
        with watchdog.watching():
            stalls.reached(1).wait(30)
            assert watchdog.lag > 0.02
    assert [stall.ended for stall in stalls.all] == [False, True]
    assert watchdog.lag == 0.0


async def test_a_stall_that_nobody_could_see_is_told_by_its_length() -> None:
    """As when an extension holds the interpreter's lock: the watchdog's thread gets no turn either."""
    stalls = Stalls()
    switch = sys.getswitchinterval()
    # In debug mode a step of a task reads source files, and lets go of the interpreter's lock for it.
    asyncio.get_running_loop().set_debug(False)
    async with Watchdog(stalls, threshold=0.02) as watchdog:
        with watchdog.watching():
            sys.setswitchinterval(60)
            try:
                end = time.monotonic() + 0.1
                while time.monotonic() < end:
                    pass
                await asyncio.sleep(0)
            finally:
                sys.setswitchinterval(switch)
    stall = stalls.all[0]
    assert (stall.ended, stall.job, stall.file) == (True, None, None)
    assert stall.seconds > 0.05


async def test_what_the_owner_raises_is_logged_and_the_watch_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    stalls = Stalls()

    def on_stall(stall: Stall) -> None:
        stalls(stall)
        raise ValueError("on_stall")

    def bad_job_of(context: contextvars.Context) -> str | None:
        raise ValueError("job_of")

    with caplog.at_level(logging.ERROR, "asyncblock.executor"):
        async with Watchdog(on_stall, job_of=bad_job_of, threshold=0.02) as watchdog:
            with watchdog.watching():
                stalls.reached(1).wait(30)
                await stalls.wait_for(2)
    assert stalls.all[0].job is None
    messages = [record.getMessage().split(":")[0] for record in caplog.records]
    assert messages[0] == "couldn't tell which job has stalled"
    assert len([message for message in messages if message.startswith("a stall couldn't be reported")]) == len(
        stalls.all
    )


async def test_leaving_ends_the_thread() -> None:
    before = threading.active_count()
    async with Watchdog(Stalls()):
        assert threading.active_count() == before + 1
    assert not [thread for thread in threading.enumerate() if thread.name == "asyncblock-watchdog"]


@pytest.mark.parametrize(
    ("stall", "words"),
    [
        (
            Stall(0.15, False, "s.1", "t", "/a.py", 3, "main"),
            "job s.1 has blocked the event loop for 150 ms in main (/a.py:3)",
        ),
        (Stall(2.0, True, None, "t", "/a.py", 3, "main"), "task t blocked the event loop for 2.0 s in main (/a.py:3)"),
        (Stall(2.0, True, None, None, "/a.py", 3, "f"), "a callback blocked the event loop for 2.0 s in f (/a.py:3)"),
        (Stall(0.05, True, "s.1", None, "/a.py", 3, "f"), "job s.1 blocked the event loop for 50 ms in f (/a.py:3)"),
        (Stall(2.0, True, "s.1", "t", None, None, None), "job s.1 blocked the event loop for 2.0 s"),
        (Stall(2.0, True, None, None, None, None, None), "the event loop stood still for 2.0 s"),
    ],
)
def test_a_stall_in_words(stall: Stall, words: str) -> None:
    assert str(stall) == words


async def test_task_value_of_another_task() -> None:
    async def child() -> None:
        await asyncio.Event().wait()

    current_job.set("mine")
    task = asyncio.create_task(child())
    assert await asyncio.to_thread(task_value, task, current_job) == "mine"
    assert task_value(task, contextvars.ContextVar[str]("never set")) is None
    task.cancel()
    await asyncio.wait([task])
