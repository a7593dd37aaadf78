"""A set under chaos: a short real run is clean, nothing is left of it, and a defect of a mainframe is found."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import orjson
import pytest

from asyncblock.testing.chaos.audit import Audit
from asyncblock.testing.chaos.setrun import compare_ends, run_set

from ...processes import MARK, all_ended, family

CHAOS = (sys.executable, "-m", "asyncblock.testing.chaos", "--cluster", "3", "--nats", "3")


@pytest.mark.timeout(300)
async def test_a_short_storm_over_a_set_leaves_every_promise_kept() -> None:
    process = await asyncio.create_subprocess_exec(
        *(*CHAOS, "--seconds", "8", "--seed", "2", "--faults", "owner,pause,cut,nats_stall"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    *told, line = out.decode().splitlines()
    outcome = orjson.loads(line)
    assert outcome["lost"] == outcome["duplicated"] == outcome["reordered"] == outcome["sessions_hanging"] == 0
    assert outcome["fenced"] == outcome["commits_repeated"] == outcome["broken"] == 0
    assert outcome["owners"] > 1 and outcome["sessions_finished"] > 0 and outcome["commits"] > 0
    assert told[0] == "seed 2, 8 s"
    assert told[1].startswith("3 mainframes on 3 NATS nodes: member ")
    assert any("faults, " in each for each in told)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_whoever_stops_it_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    mark = tmp_path.name
    process = await asyncio.create_subprocess_exec(
        *CHAOS,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, MARK: mark, "TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            while b"faults, " not in await process.stdout.readline():
                continue
        started = family(mark)
        # Itself, mainframes, NATS nodes; one may be away.
        assert len(started) >= 6
        process.send_signal(number)
        _, err = await process.communicate()
        assert process.returncode == 130, err.decode()
        assert err.decode().splitlines()[-1] == "stopped, and nothing was compared"
        await all_ended(started)
        assert [*tmp_path.iterdir()] == []
    finally:
        for pid in family(mark):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.timeout(300)
async def test_entries_of_an_owner_that_had_lost_the_set_are_found(tmp_path: Path) -> None:
    serve = (sys.executable, "-m", "tests.testing.planted", "unfenced", "serve")
    words: list[str] = []
    for seed in range(1, 6):
        place = tmp_path / str(seed)
        place.mkdir()
        found = await run_set(place, 8.0, seed, members=2, nodes=1, faults=["pause"], serve=serve, end_timeout=3.0)
        assert found.stream is not None
        if found.stream.fenced:
            return
        words += found.words
    pytest.fail(f"nothing was found: {words}")


def test_sessions_that_are_gone_or_ended_otherwise_are_lost() -> None:
    audit = Audit(sessions={"a": "succeeded", "b": "failed", "c": "running"})
    compare_ends(audit, ["a", "b", "c", "d"], {"a": "succeeded", "b": "succeeded"})
    assert audit.lost == 2
    assert "session d was started" in audit.words[1]
