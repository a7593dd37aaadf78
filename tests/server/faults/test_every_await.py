"""An error at every await of the mainframe: the right thing fails, it is told, the rest goes on, nothing hangs.

The story runs in processes of its own, because their mainframe's source is rewritten. ``python -m
tests.server.faults.story --all`` raises each of the four kinds of errors at each place; here they take turns.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from .awaits import sites

pytestmark = pytest.mark.timeout(400)

SLICES = 4
ROOT = Path(__file__).parents[3]

NOT_IN_THE_STORY = {
    ("gateway.py", 'await self._say(transport, Bye("trouble", words, stop=False'): "follows another error",
    ("gateway.py", 'await self._unreadable(link, transport, "the mainframe failed at it, time'): "follows three errors",
    ("gateway.py", 'await self._say(transport, Bye("trouble", words, False'): "follows another error",
    ("gateway.py", "await self._failed_at("): "follows another error",
    ("supervision.py", "await asyncio.sleep(pause)"): "follows another error",
    (
        "connection.py",
        "await self._drained.wait()",
    ): "needs 8 MiB of answers that nobody reads (tests/server/test_limits.py)",
    ("mainframe.py", "await asyncio.wait(self._connections)"): "waits for connections that a client left open",
    (
        "linkservices.py",
        "await self._expire(link, limit)",
    ): "is for links that were away for a day (tests/server/test_limits.py)",
    ("mainframe.py", "await asyncio.wait([task])"): "is for members of a set (tests/server/cluster/test_members.py)",
    ("mainframe.py", "await asyncio.sleep(_FORGET_INTERVAL)"): "is reached once in ten minutes, and is a sleep",
    ("incoming.py", "await asyncio.sleep(0)"): "needs a batch of over 500 lines (tests/security/test_floods.py)",
    (
        "uploads.py",
        "await asyncio.wait([self._last_write]",
    ): "needs a slow disk (tests/server/reception/test_uploads.py)",
    ("uploads.py", "await asyncio.wait([keeping])"): "needs a slow disk (tests/server/reception/test_uploads.py)",
    ("uploads.py", "await self._finish(ref.n, ref.length, ref.sha256)"): "is for peers that don't ask first",
    (
        "sessions.py",
        "session = RunningSession.from_first_row(",
    ): "needs a snapshot (tests/server/sessionstate/test_snapshots.py)",
    (
        "sessions.py",
        "named = {(body.link_id, body.n) for body in await",
    ): "needs values that went to other hosts (tests/executor/keeping/test_carriage.py)",
    ("answers.py", "kept = await self._sessions.journal.request(key)"): "is for orders of services",
    ("answers.py", "await self._done.wait()"): "needs 64 orders at once",
    ("answers.py", "number = await self._sessions.journal.bodies.session_of(key)"): "is for executors' tokens",
    (
        "linkservices.py",
        "taken = await self.sessions.journal.bodies.names_any(",
    ): "is for links that are away for a day",
    (
        "askedrows.py",
        "",
    ): "is for journals that other processes can't read (tests/server/sessionstate/test_askedrows.py)",
    ("refolding.py", ""): "needs a large state (tests/server/sessionstate/test_snapshots.py)",
    ("folding.py", ""): "runs in a process of its own (tests/server/sessionstate/test_snapshots.py)",
    ("lines.py", ""): "is for records that can't be read (tests/security/test_bad_records.py)",
}
"""Why a place isn't visited, by its file and the beginning of its line."""

ENDS_THE_SERVER = {"mainframe.py", "gateway.py", "linkservices.py", "supervision.py"}
"""Files in which an error may be one that the server can't go on with."""


@cache
def told(part: int) -> list[dict[str, Any]]:
    """Run a slice of the story; what it says of each place."""
    command = [sys.executable, "-m", "tests.server.faults.story", "--slice", f"{part}/{SLICES}"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=380)
    assert run.returncode == 0, run.stderr[-3000:]
    return [json.loads(line) for line in run.stdout.splitlines()]


def source(file: str, line: int) -> str:
    [path] = (ROOT / "asyncblock" / "server").rglob(file)
    return path.read_text().splitlines()[line - 1].strip()


def test_the_story_visits_every_await() -> None:
    visited = {tuple(each) for each in told(0)[0]["visited"]}
    missing = {
        (file, source(file, line))
        for file, place, line in sites()
        if (file, place) not in visited
        and not any(file == known and source(file, line).startswith(text) for known, text in NOT_IN_THE_STORY)
    }
    assert missing == set()


def test_the_story_ends_well_without_errors() -> None:
    plain = told(0)[0]
    assert (plain["mainframe"], plain["sessions"]) == ("served", ["right", "right"])
    assert not plain["logged"]


@pytest.mark.parametrize("part", range(SLICES))
def test_an_error_at_an_await_fails_what_it_concerns_and_nothing_else(part: int) -> None:
    wrong = [
        (each["site"], each["error"], problem)
        for each in told(part)
        if "site" in each and (problem := _problem(each)) is not None
    ]
    assert wrong == []


def _problem(each: dict[str, Any]) -> str | None:
    """Return what isn't as it should be after an error at one place."""
    file, _, line = each["site"]
    sessions, mainframe = each.get("sessions", []), each["mainframe"]
    if each["hits"] != 1:
        return "the error was never raised"
    if mainframe == "hangs":
        return "it hangs"
    if not sessions:
        # It didn't begin, or ended at once: whoever started it has the error.
        return None if "injected" in mainframe else f"it didn't begin: {mainframe}"
    if sessions.count("right") < 1 or any(not _explained(outcome) for outcome in sessions):
        return f"sessions: {sessions}"
    if mainframe != "served":
        if file not in ENDS_THE_SERVER:
            return f"the server ended: {mainframe}"
        # The one place where the error stands for the closing itself: the directory stays locked until the process ends.
        closing = source(file, line) == "await self._stack.aclose()"
        return None if closing or _goes_on(each["again"]) else f"opened again: {each['again']}"
    refused = isinstance(each["again"], str)
    if not refused and not _goes_on(each["again"]):
        return f"opened again: {each['again']}"
    return None if each["logged"] or (refused and "injected" in each["again"]) else "nothing is logged"


def _explained(outcome: str) -> bool:
    return outcome == "right" or "injected at" in outcome


def _goes_on(again: list[str] | str) -> bool:
    return not isinstance(again, str) and all(outcome == "pruned" or _explained(outcome) for outcome in again)
