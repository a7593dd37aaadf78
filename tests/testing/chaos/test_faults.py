"""Faults of chaos: which there are, and what is said of others."""

from __future__ import annotations

import asyncio
import sys


async def test_a_fault_that_is_none_or_cannot_be_had_here_is_said() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "asyncblock.testing.chaos", "--faults", "cut,earthquake"),
        stderr=asyncio.subprocess.PIPE,
    )
    _, err = await process.communicate()
    assert process.returncode == 2
    assert b"there is no kind of fault 'earthquake'; there are mainframe, executor" in err
