"""When an executor of the engine leaves, and that nothing of it is left."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from ..processes import all_ended, start
from . import NEEDS_MOSQUITTO, Broker, Engine

pytestmark = [NEEDS_MOSQUITTO, pytest.mark.timeout(120)]


async def test_a_session_that_ends_while_a_job_runs_leaves_nothing_running(peer: Engine, tmp_path: Path) -> None:
    job = peer.run("waits", {"x": str(tmp_path / "never")})
    await peer.until(lambda topic, each: each["type"] == "BlockOutput" and each["job_id"] == job)
    processes = peer.executor.family()
    assert len(processes) > 1
    peer.finish_session()
    assert await peer.executor.wait() == 0
    await all_ended(processes)
    assert [each["log"] for each in peer.told(job, "BlockLog")] == ["cleans up"]
    assert peer.executor.err == ["WARNING asyncblock.executor: 1 jobs still run after 0 s and are cancelled"]


async def test_it_leaves_when_it_is_told_to(peer: Engine) -> None:
    processes = peer.executor.family()
    peer.executor.kill(signal.SIGTERM)
    assert await peer.executor.wait() == 0
    await all_ended(processes)


async def test_it_leaves_when_the_engine_that_has_started_it_is_gone(tmp_path: Path, broker: Broker) -> None:
    peer = Engine(broker.port, tmp_path)
    await peer.connect()
    try:
        shell = ("sh", "-c", '"$@" & wait', "engine")
        async with start(
            "oocana-executor", *peer.arguments(), state=tmp_path, under=shell, **peer.environment()
        ) as command:
            await peer.until(lambda topic, each: each["type"] == "ExecutorReady")
            job = peer.run("waits", {"x": str(tmp_path / "never")})
            await peer.until(lambda topic, each: each["type"] == "BlockOutput" and each["job_id"] == job)
            processes = [pid for pid in command.family() if pid != command.process.pid]
            command.kill(signal.SIGKILL)
            await all_ended(processes)
            assert "is gone" in await command.until_line("is gone", err=True)
    finally:
        await peer.close()
