"""What blocks say, as it arrives at the engine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ..security.starved import Starved
from . import NEEDS_MOSQUITTO, Broker, Engine, engine, outputs

pytestmark = [NEEDS_MOSQUITTO, pytest.mark.timeout(120)]


async def test_progress_is_told_now_and_then_and_the_last_one_before_the_end(peer: Engine) -> None:
    job = peer.run("progresses", {"x": 2000})
    await peer.end(job)
    rates = [each["progress"] for each in peer.said(job, "BlockProgress")]
    assert len(rates) < 500 and rates == sorted(rates) and rates[-1] == 97
    assert [each["progress"] for each in peer.told(job, "BlockProgress")] == rates
    assert len(outputs(peer, job)) == 2000


async def test_many_small_outputs_arrive_in_order(peer: Engine) -> None:
    job = peer.run("many", {"x": 5000})
    await peer.end(job)
    assert outputs(peer, job) == [("a", number) for number in range(5000)]


async def test_a_job_waits_for_no_delayed_acknowledgement(tmp_path: Path, broker: Broker) -> None:
    """With one of the kernel's 40 ms in its way each job would take as long, and nobody waits for a processor then."""
    took: list[float] = []
    async with engine(tmp_path, broker, in_a_hurry=True) as peer:
        waited = Starved(broker.pid, *peer.executor.family()).watch(asyncio.get_running_loop().time)
        for number in range(25):
            waited()
            await peer.end(peer.run("theirs", {"x": number}))
            took.append(waited())
    assert min(took) < 0.038
