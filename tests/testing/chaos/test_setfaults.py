"""Faults of a set: which there are, and what is said of others."""

from __future__ import annotations

import asyncio
import sys


async def test_what_cannot_be_done_is_said() -> None:
    for given, words in [
        (("--nats", "3"), "say with --cluster how many mainframes it has"),
        (("--cluster", "0"), "from 1 to 9"),
        (("--cluster", "2", "--nats", "2"), "invalid choice: 2"),
        (("--cluster", "2", "--faults", "clock"), "there is no kind of fault 'clock'; there are owner, member"),
        (("--faults", "owner"), "there is no kind of fault 'owner'; there are mainframe, executor"),
    ]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "asyncblock.testing.chaos", *given), stderr=asyncio.subprocess.PIPE
        )
        _, err = await process.communicate()
        assert process.returncode == 2
        assert words in err.decode()
