from __future__ import annotations

import asyncio
import contextvars
import logging
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from asyncblock.executor.diagnosis.watchdog import Stall, Watchdog, task_value

current_job: contextvars.ContextVar[str | None] = contextvars.ContextVar("job_of_the_test", default=None)


class Stalls:
    """Takes reports on the watchdog's thread, and tells whoever waits for those of a function.

    On a busy machine the loop may be held up anywhere else, too: such reports are of no interest here.
    """

    def __init__(self) -> None:
        self.all: list[Stall] = []
        self._mutex = threading.Lock()
        self._awaited: list[tuple[Callable[[], bool], threading.Event]] = []

    def __call__(self, stall: Stall) -> None:
        with self._mutex:
            self.all.append(stall)
            for holds, event in self._awaited:
                if holds():
                    event.set()

    def of(self, *functions: str) -> list[Stall]:
        """Return those of some functions."""
        return [stall for stall in self.all if stall.function in functions]

    def told(self, *functions: str, count: int = 1, ended: bool = False) -> threading.Event:
        """Return what is set once so many of some functions were told, or as many that have ended.

        Waiting for it blocks the calling thread, and with it its loop, in a frame of the standard library.
        """
        event = threading.Event()

        def holds() -> bool:
            return sum(stall.ended or not ended for stall in self.of(*functions)) >= count

        with self._mutex:
            self._awaited.append((holds, event))
            if holds():
                event.set()
        return event

    async def end_of(self, *functions: str) -> None:
        """Wait until one of some functions has ended."""
        assert await asyncio.to_thread(self.told(*functions, ended=True).wait, 25)


def job_of(context: contextvars.Context) -> str | None:
    return context.get(current_job)


def line_of(function: Callable[..., object], offset: int) -> int:
    return function.__code__.co_firstlineno + offset


async def test_a_stall_is_reported_while_it_lasts_and_when_it_has_ended() -> None:
    stalls = Stalls()
    told = stalls.told("block")

    async def block() -> None:
        told.wait(25)
        assert not stalls.of("block")[0].ended

    begun = time.monotonic()
    async with Watchdog(stalls, job_of=job_of) as watchdog:
        with watchdog.watching():
            await asyncio.create_task(block(), name="mine")
            await stalls.end_of("block")
    during, after = stalls.of("block")
    assert (during.task, during.job) == ("mine", None)
    assert (during.file, during.line) == (__file__, line_of(block, 1))
    assert 0.1 < during.seconds <= after.seconds < time.monotonic() - begun
    assert after.ended
    assert (after.task, after.line) == ("mine", during.line)


async def test_150_ms_are_seen() -> None:
    stalls = Stalls()
    async with Watchdog(stalls) as watchdog:
        with watchdog.watching():
            time.sleep(0.16)  # noqa: ASYNC251 - it is the subject
    # Whose it was isn't known where the watchdog had no time to look meanwhile; leaving tells what has ended.
    assert any(stall.ended and stall.seconds > 0.1 for stall in stalls.all)


async def test_a_long_stall_is_reported_again() -> None:
    stalls = Stalls()
    thrice = stalls.told("block", count=3)

    async def block() -> None:
        thrice.wait(25)

    async with Watchdog(stalls, threshold=0.02, repeat=0.05) as watchdog:
        with watchdog.watching():
            await asyncio.create_task(block())
            await stalls.end_of("block")
    *during, after = stalls.of("block")
    assert [stall.ended for stall in during] == [False] * len(during) and len(during) >= 3
    assert all(later.seconds - earlier.seconds >= 0.05 for earlier, later in pairwise(during))
    assert after.ended and after.seconds >= during[-1].seconds


async def test_the_job_is_that_of_the_running_task() -> None:
    stalls = Stalls()
    told = stalls.told("blocks")

    async def job(name: str, does: Callable[[], Coroutine[None, None, None]]) -> None:
        current_job.set(name)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(does(), name=f"child of {name}")

    async def blocks() -> None:
        told.wait(25)

    async def passes() -> None:
        await asyncio.sleep(0)

    async with Watchdog(stalls, job_of=job_of, threshold=0.02) as watchdog:
        with watchdog.watching():
            await asyncio.gather(job("a", passes), job("b", blocks), job("c", passes))
            await stalls.end_of("blocks")
    assert [(stall.job, stall.task) for stall in stalls.of("blocks")] == [("b", "child of b")] * 2


async def test_a_callback_is_named_though_it_is_no_task() -> None:
    stalls = Stalls()
    told = stalls.told("callback")
    done = asyncio.Event()

    def callback() -> None:
        told.wait(25)
        done.set()

    async def job() -> None:
        current_job.set("a")
        asyncio.get_running_loop().call_soon(callback)

    async with Watchdog(stalls, job_of=job_of, threshold=0.02) as watchdog:
        with watchdog.watching():
            await asyncio.create_task(job())
            await done.wait()
            await stalls.end_of("callback")
    assert [(stall.job, stall.task) for stall in stalls.of("callback")] == [("a", None)] * 2


async def test_each_of_two_that_stall_in_the_same_round_of_the_loop_is_told() -> None:
    stalls = Stalls()
    of_first, of_second = stalls.told("first"), stalls.told("second")

    async def first() -> None:
        of_first.wait(25)

    async def second() -> None:
        of_second.wait(25)

    async with Watchdog(stalls, threshold=0.05) as watchdog:
        with watchdog.watching():
            await asyncio.gather(first(), second())
            await stalls.end_of("second")
    assert [(stall.function, stall.ended) for stall in stalls.of("first", "second")] == [
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
            await stalls.end_of("short")
    # Where the machine had no time for one of them it is a stall by itself, and told while it lasts, too.
    assert next(stall for stall in stalls.of("short") if stall.ended).seconds > 0.4


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
    scope: dict[str, Any] = {"wait": stalls.told("inner", "outer").wait}
    exec(compile("def inner(): wait(25)", inner, "exec"), scope)
    exec(compile("def outer(): inner()", outer, "exec"), scope)
    async with Watchdog(stalls, roots=[Path("/pkg")], threshold=0.02) as watchdog:
        with watchdog.watching():
            asyncio.get_running_loop().call_soon(scope["outer"])
            await stalls.end_of("inner", "outer")
    assert [(stall.file, stall.line) for stall in stalls.of("inner", "outer")] == [(named, 1)] * 2


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
        time.sleep(0.5)  # noqa: ASYNC251 - it is the subject
        assert watchdog.lag == 0.0
        await asyncio.sleep(0)
    # But for what a busy machine took while somebody did.
    assert all(stall.seconds < 0.5 for stall in stalls.all)


async def test_watching_nests() -> None:
    stalls = Stalls()
    told = stalls.told("test_watching_nests")
    async with Watchdog(stalls, threshold=0.02) as watchdog:
        with watchdog.watching():
            with watchdog.watching():
                pass
            told.wait(25)
            await stalls.end_of("test_watching_nests")


async def test_a_stall_that_ends_with_the_watch_is_reported_to_its_end() -> None:
    stalls = Stalls()
    own = "test_a_stall_that_ends_with_the_watch_is_reported_to_its_end"
    told = stalls.told(own)
    async with Watchdog(stalls, threshold=0.02) as watchdog:
        with watchdog.watching():
            told.wait(25)
            assert watchdog.lag > 0.02
    assert [stall.ended for stall in stalls.of(own)] == [False, True]
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
    unseen = [stall for stall in stalls.all if stall.file is None]
    assert all(stall.ended and stall.job is None for stall in unseen)
    assert any(stall.seconds > 0.05 for stall in unseen)


async def test_what_the_owner_raises_is_logged_and_the_watch_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    stalls = Stalls()
    own = "test_what_the_owner_raises_is_logged_and_the_watch_goes_on"
    told = stalls.told(own)

    def on_stall(stall: Stall) -> None:
        stalls(stall)
        raise ValueError("on_stall")

    def bad_job_of(context: contextvars.Context) -> str | None:
        raise ValueError("job_of")

    with caplog.at_level(logging.ERROR, "asyncblock.executor"):
        async with Watchdog(on_stall, job_of=bad_job_of, threshold=0.02) as watchdog:
            with watchdog.watching():
                told.wait(25)
                await stalls.end_of(own)
    assert stalls.of(own)[0].job is None
    messages = [record.getMessage().split(":")[0] for record in caplog.records]
    assert "couldn't tell which job has stalled" in messages
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
