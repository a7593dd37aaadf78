"""A process that is started again whenever it ends, and told when it is to."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from asyncblock.testing.chaos.keptprocess import KeptProcess

from ...waits import until_files

# Says in a file of its own that it runs, and waits.
_PROGRAM = """
import os, signal, sys
open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
{}
signal.pause()
"""


def program(directory: Path, more: str = "") -> list[str]:
    return [sys.executable, "-S", "-c", _PROGRAM.format(more), str(directory)]


def runs_in(directory: Path) -> list[int]:
    return [int(each.name) for each in directory.iterdir()]


async def test_who_is_killed_comes_back_and_leaves_with_its_keeper(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    async with KeptProcess("it", program(runs), tmp_path / "log") as kept:
        await until_files(runs, lambda: len(runs_in(runs)) == 1)
        first = kept.pids
        assert kept.end(signal.SIGKILL, 0)
        await until_files(runs, lambda: len(runs_in(runs)) == 2)
        assert kept.pids != first
        # One that stands still leaves, too.
        kept.tell(signal.SIGSTOP)
    assert kept.pids == []
    assert kept.exits == []
    assert len(runs_in(runs)) == 2


async def test_an_end_that_nobody_asked_for_is_noted(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    more = "if len(os.listdir(sys.argv[1])) == 1: os._exit(70)"
    async with KeptProcess("it", program(runs, more), tmp_path / "log") as kept:
        await until_files(runs, lambda: len(runs_in(runs)) == 2)
        assert kept.exits == [70]
