"""What a parent makes of the tracebacks of a child: whole, in pieces, repeated, from a process that works or doesn't."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from asyncblock.childprocesses.lifesigns import CONTINUES, REPEAT, Held, Lifesigns, cpu_time, threads_of

DUMP = b"""Timeout (0:00:01)!
Thread 0x00007f1 (most recent call first):
  File "/usr/lib/selectors.py", line 468 in select

Thread 0x00007f2 (most recent call first):
  File "/blocks/deep er.py", line 7 in <listcomp>
  File "/blocks/main.py", line 3 in main
"""
THREADS = (
    (("/usr/lib/selectors.py", 468, "select"),),
    (("/blocks/deep er.py", 7, "<listcomp>"), ("/blocks/main.py", 3, "main")),
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def signs() -> tuple[Lifesigns, list[Held], Clock]:
    told: list[Held] = []
    clock = Clock()
    return Lifesigns(os.getpid(), told.append, clock), told, clock


def test_a_dump_tells_the_frames_of_each_thread() -> None:
    lifesigns, told, _ = signs()
    lifesigns.feed(DUMP)
    lifesigns.paused()
    assert [held.threads for held in told] == [THREADS]
    assert told[0].seconds == 1.0


def test_a_dump_may_come_in_pieces() -> None:
    """Each line is written by itself, and whoever reads is quicker than who writes."""
    lifesigns, told, _ = signs()
    for line in DUMP.splitlines(keepends=True):
        lifesigns.feed(line[:9])
        lifesigns.feed(line[9:])
    assert told == []
    lifesigns.paused()
    assert [(held.threads, held.told) for held in told] == [(THREADS, False)]


@pytest.mark.parametrize("cut", [25, len(DUMP) // 2, len(DUMP) - 1])
def test_what_comes_of_a_dump_after_a_pause_is_told_with_the_rest(cut: int) -> None:
    lifesigns, told, clock = signs()
    lifesigns.feed(DUMP[:cut])
    lifesigns.paused()
    lifesigns.feed(DUMP[cut:])
    lifesigns.paused()
    lifesigns.paused()
    assert told[-1].threads == THREADS
    assert not any(held.told for held in told)
    clock.now += 1
    lifesigns.feed(DUMP)
    lifesigns.paused()
    assert (told[-1].threads, told[-1].told) == (THREADS, True)


def test_a_dump_that_another_one_follows_is_whole() -> None:
    lifesigns, told, _ = signs()
    lifesigns.feed(DUMP + DUMP[:30])
    assert [held.threads for held in told] == [THREADS]


def test_a_hold_that_lasts_is_told_again_after_a_while_and_is_a_sign_of_life_meanwhile() -> None:
    lifesigns, told, clock = signs()
    for _ in range(int(REPEAT) + 1):
        lifesigns.feed(DUMP)
        lifesigns.paused()
        clock.now += 1.0
    assert [held.told for held in told] == [False, *[True] * (int(REPEAT) - 1), False]
    assert [held.seconds for held in told] == [float(n + 1) for n in range(len(told))]
    assert told[1].to_json()["threads"] == []


def test_another_hold_is_counted_from_its_own_beginning() -> None:
    lifesigns, told, clock = signs()
    lifesigns.feed(DUMP)
    lifesigns.paused()
    clock.now += CONTINUES + 1
    lifesigns.feed(DUMP)
    lifesigns.paused()
    assert [(held.seconds, held.told) for held in told] == [(1.0, False), (1.0, False)]


def test_garbage_tells_nothing() -> None:
    lifesigns, told, _ = signs()
    lifesigns.feed(b"Fatal Python error\n" * 10)
    lifesigns.paused()
    assert told == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells the CPU time on Linux only")
def test_cpu_time_grows_with_work_and_not_with_waiting() -> None:
    working = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    waiting = [sys.executable, "-c", "import time\nprint(flush=True)\ntime.sleep(60)"]
    for command, grows in ((working, True), (waiting, False)):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            spent = [cpu_time(child.pid) or 0]
            while spent[-1] <= spent[0] + 1 and len(spent) < 30_000:
                spent.append(cpu_time(child.pid) or 0)
            child.kill()
        assert (spent[-1] > spent[0] + 1) is grows


def test_a_process_that_is_gone_has_no_cpu_time() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert cpu_time(child.pid) is None


def test_threads_are_read_from_a_dump_of_this_interpreter() -> None:
    source = "import faulthandler, sys\ndef here():\n    faulthandler.dump_traceback(sys.stdout)\nhere()\n"
    dump = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout
    [frames] = threads_of(dump)
    assert [frame[2] for frame in frames] == ["here", "<module>"]
