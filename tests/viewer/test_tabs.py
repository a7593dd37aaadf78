"""When tabs are told: at once after a quiet time, and at a pace while much goes on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from asyncblock import events
from asyncblock.client import SessionInfo
from asyncblock.report.recording import RecordedSession
from asyncblock.viewer import Sources, Watched, serving
from asyncblock.viewer.cursors import Followings

from ..report.made import Made
from .served import client_of, tab_of


class _Growing(RecordedSession):
    """A session whose rows are made while it is followed."""

    def __init__(self, made: Made) -> None:
        super().__init__("one", lambda offset: made.rows[offset:], lambda link, n: b"", interrupted=False)
        self.made = made
        self.more = asyncio.Event()

    def say(self, words: str) -> None:
        """Add a line of a log."""
        self.made.record("a", "BlockLog", log=words, stdio="stdout")
        self.more.set()

    async def events(self, offset: int = 0) -> AsyncIterator[events.AnyEvent]:
        """Iterate over the events that there are, and those to come."""
        while True:
            while offset < len(self.made.rows):
                for event in events.events_of_row("one", *self.made.rows[offset]):
                    yield event
                offset += 1
            self.more.clear()
            await self.more.wait()


async def test_only_what_was_read_out_before_its_end_is_looked_for_elsewhere() -> None:
    asked: list[str] = []
    opened: list[str] = []
    growing = _Growing(Made("a"))

    @asynccontextmanager
    async def open(session_id: str) -> AsyncIterator[Watched]:
        async def moved() -> bool:
            asked.append(session_id)
            return True

        opened.append(session_id)
        if session_id == "running":
            yield Watched(growing, moved=moved, rows=len(growing.made.rows))
            return
        made = Made("a")
        if opened.count(session_id) == 2:
            made.end()
        yield Watched(made.recording(interrupted=True), moved=moved)

    followings = Followings(open)
    async with followings.watching("running") as following:
        await following.caught_up.wait()
        await following.look()
        assert asked == [], "it goes on where it is followed"
    async with asyncio.timeout(30), followings.watching("killed") as following:
        await following.caught_up.wait()
        assert following.word == "interrupted"
        await following.look()
        while following.word != "succeeded":
            change = following.next_change()
            await change.wait()
        assert (asked, opened) == (["killed"], ["running", "killed", "killed"])
        await following.look()
        assert asked == ["killed"], "what has its end goes on nowhere"
    await followings.close()


class _Growings:
    def __init__(self, session: _Growing) -> None:
        self._session = session

    async def sessions(self) -> list[SessionInfo]:
        """List it."""
        return [SessionInfo("one", "One", "", "running", 1, None, None, 0)]

    @asynccontextmanager
    async def open(self, session_id: str) -> AsyncIterator[Watched]:
        """Open it."""
        yield Watched(self._session)


async def test_a_change_after_a_quiet_time_is_told_at_once_and_others_close_upon_it_together() -> None:
    session = _Growing(Made("a"))
    sources = Sources(None, _Growings(session), roles=frozenset({"client"}))
    async with serving(sources, port=0) as page, client_of(page) as client, tab_of(page, client) as tab:

        async def lines(at_least: int) -> tuple[int, float]:
            """Return how many messages it takes until so many lines are told, and when that is."""
            count = 0
            while True:
                message: dict[str, Any] = orjson.loads(await tab.recv())
                count += 1
                if message["session"]["lines"] >= at_least:
                    return count, time.monotonic()

        await tab.send('{"watch": "one"}')
        await lines(0)
        said = 0
        alone: list[float] = []
        close: list[float] = []
        for _ in range(5):
            await asyncio.sleep(0.15)  # it is to be quiet: that is what is tried
            for times in (alone, close):
                said += 1
                begun = time.monotonic()
                session.say("a line")
                times.append((await lines(said))[1] - begun)
        assert min(alone) < min(close) / 2, (alone, close)

        begun = time.monotonic()
        for _ in range(1_000):
            said += 1
            session.say("one of many")
            if said % 10 == 0:
                await asyncio.sleep(0.001)
        count, ended = await lines(said)
        assert count <= (ended - begun) / 0.1 + 2, "ten a second, and those at both ends"
