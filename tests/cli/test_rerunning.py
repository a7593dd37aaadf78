"""``run --watch``, and an interrupt that comes just when a run has ended."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from asyncblock.cli import rerunning
from asyncblock.cli.interrupts import INTERRUPTED, Interrupts
from asyncblock.cli.submitting import Wanted

from ..engine.test_deploys import a_package


async def test_an_interrupt_at_the_end_of_a_run_leaves_and_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, flow = a_package(tmp_path)

    async def ends(*_: Any) -> int:
        [interrupts] = [each for each in _ if isinstance(each, Interrupts)]
        seen = asyncio.Event()
        with interrupts.handled_by(seen.set):
            os.kill(os.getpid(), signal.SIGINT)
            await seen.wait()
        # As of a session that had ended before: nothing is left to be cancelled.
        return 0

    monkeypatch.setattr(rerunning, "run_plan", ends)
    async with asyncio.timeout(30):
        assert await rerunning.run_again(Wanted(str(flow), {}, (), json=False), 1, tmp_path / "data") == INTERRUPTED
