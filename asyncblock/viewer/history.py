"""What a fold doesn't keep, read back from the journal: lines, values, previews, and the state at an earlier moment.

``Index`` notes where things are while the session is followed: eight bytes for each line of a log, a few for values.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from .. import events
from ..errors import Unavailable
from ..page import State, StateLimits
from ..page.shown import Log, LogLine
from ..report.recording import Recording

__all__ = ["FoundLine", "History", "Index", "Search"]

_VALUES: Final = 20
"""How many values of each handle can be found again: the last ones."""

_GAP: Final = 400
"""Two rows that lie further apart than so many rows are read by two requests."""

_PATIENCE: Final = 20.0
"""Seconds that reading back may take; then the user is told that the mainframe is away."""

_SEARCHED: Final = 4_000
"""Lines that are searched at once."""

_SEARCH: Final = 1.5
"""Seconds after which a search answers with what it has found so far."""

_MATCHES: Final = 200
_CHECKPOINTS: Final = 24
_CACHED: Final = 24 << 20
"""Bytes of previews that are kept, as far as their sizes are known."""

_BARE: Final = StateLimits(head=0, tail=0, lines=0, payloads=0)


class _Noted(Log):
    """A log that keeps the places of lines instead of the lines."""

    def __init__(self, state: State, places: dict[str, array[int]]) -> None:
        super().__init__(_BARE)
        self._state = state
        self._places = places

    def say(self, path: str, line: LogLine) -> None:
        """Note where a line is."""
        found = self._places.get(path)
        if found is None:
            found = self._places[path] = array("Q")
        found.append(self._state.place())


class Index:
    """Where lines and values of nodes are in the journal (``Work.place``)."""

    def __init__(self) -> None:
        self.lines: dict[str, array[int]] = {}
        self.values: dict[str, dict[str, deque[int]]] = {}
        self.jobs: dict[str, deque[tuple[int, str]]] = {}
        """For each node, its last jobs: the places where they began, and their ids."""

    def log(self, state: State) -> Log:
        """Return the log of a state, which fills this."""
        return _Noted(state, self.lines)

    def note(self, event: events.AnyEvent, path: str, state: State) -> None:
        """Note the places of values that an event puts out, and of a job's beginning."""
        match event:
            case events.JobCreated(recomputes=None) | events.FlowJobStarted():
                self.jobs.setdefault(path, deque(maxlen=_VALUES)).append((state.place(), event.job_id))
                return
            case events.BlockOutput():
                handles: Collection[str] = (event.handle,)
            case events.BlockOutputs():
                handles = (*event.outputs, *event.bodies)
            case events.BlockFinished() if event.result or event.bodies:
                handles = (*event.result, *event.bodies)
            case _:
                return
        of_node = self.values.setdefault(path, {})
        place = state.place()
        for handle in handles:
            places = of_node.get(handle)
            if places is None:
                places = of_node[handle] = deque(maxlen=_VALUES)
            places.append(place)

    def count(self, path: str, until: int | None) -> int:
        """Return how many lines a node had at a row of the journal, or has now."""
        places = self.lines.get(path)
        if places is None:
            return 0
        return len(places) if until is None else bisect_right(places, ((until + 1) << 20) - 1)


@dataclass(frozen=True, slots=True)
class FoundLine:
    """A line that a search has found, and its number."""

    number: int
    line: LogLine


@dataclass(frozen=True, slots=True)
class Search:
    """What a search came to."""

    found: list[FoundLine]
    next: int | None
    """The line to go on from; None at the end."""


class History:
    """Reads a session's journal back. States of earlier moments share one fold, so they are made one after another."""

    def __init__(self, recording: Recording, feeds: Mapping[str, Collection[str]] | None, now: State) -> None:
        self._recording = recording
        self._feeds = feeds
        self._now = now
        self._lock = asyncio.Lock()
        self._then = State(_BARE, feeds)
        self._checkpoints: list[tuple[int, bytes]] = []
        self._payloads: dict[int, tuple[Any, int]] = {}

    # ------------------------------------------------------------------ single events

    async def at_places(self, places: Sequence[int]) -> dict[int, events.AnyEvent]:
        """Return the events at places in the journal.

        **Cancellation** is safe. Raises ``Unavailable`` when they can't be read in time.
        """
        found: dict[int, events.AnyEvent] = {}
        # A place that isn't there yet doesn't come from this page; reading up to it would wait for the session.
        wanted = sorted(each for each in set(places) if each >> 20 <= self._now.offset)
        try:
            async with asyncio.timeout(_PATIENCE):
                while wanted:
                    run = 1
                    while run < len(wanted) and (wanted[run] >> 20) - (wanted[run - 1] >> 20) <= _GAP:
                        run += 1
                    await self._read(wanted[:run], found)
                    wanted = wanted[run:]
        except TimeoutError:
            raise Unavailable("the mainframe didn't send the session's journal in time; try again") from None
        return found

    async def _read(self, places: list[int], found: dict[int, events.AnyEvent]) -> None:
        """Read events that are near to each other; in order."""
        left = set(places)
        row, within = -1, 0
        async with aclosing(self._recording.events(places[0] >> 20)) as read:  # type: ignore[type-var]  # an async generator
            async for event in read:
                row, within = event.offset, within + 1 if event.offset == row else 1
                place = (row << 20) + within
                if place in left:
                    left.remove(place)
                    found[place] = event
                if not left or place > places[-1]:
                    return

    async def payload(self, place: int) -> Any:
        """Return what a preview shows. **Cancellation** is safe. Raises ``Unavailable`` when there is none."""
        if place not in self._payloads:
            event = (await self.at_places([place])).get(place)
            if not isinstance(event, events.BlockPreview):
                raise Unavailable("there is no preview at this place of the journal")
            value, size = event.payload, 64 << 10
            if event.body is not None:
                value, size = await self._recording.fetch(event.body), event.body.length
            self._payloads[place] = (value, size)
            while len(self._payloads) > 1 and sum(each for _, each in self._payloads.values()) > _CACHED:
                del self._payloads[next(iter(self._payloads))]
            return value
        return self._payloads[place][0]

    # ------------------------------------------------------------------ lines

    async def lines(self, places: Sequence[int]) -> list[LogLine]:
        """Return the lines at places. **Cancellation** is safe. Raises as ``at_places``."""
        found = await self.at_places(places)
        scratch = State(_BARE)
        heard = _Heard()
        scratch.log = heard
        made: list[LogLine] = []
        for place in dict.fromkeys(places):
            event = found.get(place)
            if event is not None:
                heard.lines.clear()
                # Each event by itself: a line depends on no other event.
                scratch.offset, scratch.within = -1, 0
                scratch.take(event)
                made += heard.lines
        return made

    async def search(self, places: Sequence[int], words: str, begin: int) -> Search:
        """Search lines from a number on, for a while. **Cancellation** is safe."""
        wanted = words.lower()
        found: list[FoundLine] = []
        until = time.monotonic() + _SEARCH
        while begin < len(places):
            some = places[begin : begin + _SEARCHED]
            for number, line in enumerate(await self.lines(some), begin):
                if wanted in line.text.lower():
                    found.append(FoundLine(number, line))
                    if len(found) >= _MATCHES:
                        return Search(found, number + 1)
            begin += len(some)
            if time.monotonic() > until:
                break
        return Search(found, begin if begin < len(places) else None)

    # ------------------------------------------------------------------ earlier moments

    async def at(self, offset: int) -> State:
        """Return the state after a row of the journal. Use it before the next await: the next call changes it.

        **Cancellation** is safe.
        """
        async with self._lock:
            if offset >= self._now.offset:
                return self._now
            offsets = [each for each, _ in self._checkpoints]
            index = bisect_right(offsets, offset) - 1
            if self._then.offset > offset or (index >= 0 and offsets[index] > self._then.offset):
                self._then = (
                    State.restore(self._checkpoints[index][1], _BARE, self._feeds)
                    if index >= 0
                    else State(_BARE, self._feeds)
                )
            await self._fold_to(offset)
            return self._then

    async def _fold_to(self, offset: int) -> None:
        state = self._then
        if state.offset >= offset:
            return
        pace = max(self._now.offset // _CHECKPOINTS, 500)
        taken = 0
        async with aclosing(self._recording.events(state.read_on())) as read:  # type: ignore[type-var]  # an async generator
            async for event in read:
                if event.offset > offset:
                    break
                if event.offset > state.offset and state.offset // pace != event.offset // pace:
                    self._keep(state)
                state.take(event)
                taken += 1
                if taken % _GAP == 0:
                    await asyncio.sleep(0)

    def _keep(self, state: State) -> None:
        offsets = [each for each, _ in self._checkpoints]
        index = bisect_left(offsets, state.offset)
        if state.offset >= 0 and (index == len(offsets) or offsets[index] != state.offset):
            self._checkpoints.insert(index, (state.offset, state.snapshot()))


class _Heard(Log):
    """A log that keeps what it is told last."""

    def __init__(self) -> None:
        super().__init__(StateLimits(line=1 << 20))
        self.lines: list[LogLine] = []

    def say(self, path: str, line: LogLine) -> None:
        """Keep a line."""
        self.lines.append(line)
