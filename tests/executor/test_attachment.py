"""Attaching an executor where that can't be: nothing stays open."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import asyncblock
from asyncblock.errors import AsyncBlockError


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells the open files on Linux only")
async def test_an_executor_that_no_link_takes_in_leaves_no_file_open(tmp_path: Path) -> None:
    async with asyncblock.embedded(tmp_path / "data") as mainframe:
        pass
    before = None
    for _ in range(4):
        with pytest.raises(AsyncBlockError):
            async with asyncblock.Executor().attached(mainframe):
                raise AssertionError("its link is over")
        # What the first one has loaded may stay.
        before = before or len(os.listdir("/proc/self/fd"))
    assert len(os.listdir("/proc/self/fd")) == before
