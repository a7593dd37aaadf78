"""Replaying golden sessions: one end is real, the recording speaks for the other.

What differs from one run to the next is bound when it is first seen: ids, secrets, hashes (hexadecimal texts). Times
are left out of the comparison, and so is where batches, acknowledgements and pages end.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from ...errors import ConnectionLost
from ...transport import Transport
from ...transport.memory import memory_pair
from ...wire import frames
from ...wire.bodies import decode_chunk
from ...wire.messages import Hello, Read, encode
from ...wire.records import RECORDS, Audience
from ..memorymainframe import MemoryMainframe
from .scene import SceneEntry, scene
from .stories import STORIES

__all__ = ["against_lower_end", "against_mainframe"]

_PATIENCE: Final = 20.0
"""Seconds that the real end may take for what follows."""

_TOKEN: Final = re.compile(rb"[0-9a-f]{12,64}")

_PASSING: Final = frozenset(
    {
        "t", "at", "created_at", "finished_at", "offset", "bytes", "agent", "retry_after", "limits", "understands",
        "now", "database_bytes", "wal_bytes", "session_bytes", "free_bytes",
    }
)  # fmt: skip
"""Fields that say when or where in the journal something was, or which version speaks, and how it is set."""

_UNCOMPARED: Final = frozenset({"ping", "ack", "page", "unread"})
"""Which of them come, and when, depends on the moment."""

Line = tuple[Any, list[bytes]]
"""A control line and the data lines behind it."""


class _Names:
    """What is called otherwise in this run than in the recording."""

    def __init__(self) -> None:
        self._here: dict[bytes, bytes] = {}
        self._there: dict[bytes, bytes] = {}

    def to_here(self, message: bytes) -> bytes:
        """Say what was recorded with this run's names."""
        return _TOKEN.sub(lambda found: self._here.get(found[0], found[0]), message)

    def match(self, recorded: Any, came: Any) -> bool:
        """Tell whether two messages are the same; names that are new are bound."""
        theirs, ours = _normal(recorded), _normal(_known(came, recorded))
        if _TOKEN.sub(b"", theirs) != _TOKEN.sub(b"", ours):
            return False
        pairs = list(zip(_TOKEN.findall(theirs), _TOKEN.findall(ours), strict=True))
        if any(self._here.get(a, b) != b or self._there.get(b, a) != a for a, b in pairs):
            return False
        self._here.update(pairs)
        self._there.update((b, a) for a, b in pairs)
        return True


def _normal(value: Any) -> bytes:
    return orjson.dumps(_lasting(value))


def _known(came: Any, recorded: Any) -> Any:
    """Leave out the fields that a later version has added."""
    match came, recorded:
        case dict(), dict():
            # Packages are named by their hashes, which are others here.
            kept = {key: each for key, each in came.items() if key in recorded or _TOKEN.fullmatch(key.encode())}
            return {key: _known(each, recorded.get(key)) for key, each in kept.items()}
        case list(), list() if len(came) == len(recorded):
            return [_known(ours, theirs) for ours, theirs in zip(came, recorded, strict=True)]
    return came


def _lasting(value: Any) -> Any:
    """Leave out what is another each time."""
    match value:
        case dict():
            # Of the two that are called so, the program's version is a text.
            passing = _PASSING | {"version"} if isinstance(value.get("version"), str) else _PASSING
            return {key: _lasting(each) for key, each in value.items() if key not in passing}
        case ["record", int(), int(), int(), str(handle)]:
            # Which row it is depends on what was committed together.
            return ["record", handle]
        case list():
            return [_lasting(each) for each in value]
    return value


@dataclass(slots=True)
class _Stream:
    """What came on one connection of the real end."""

    transport: Transport
    lines: dict[str, deque[Any]] = field(default_factory=lambda: defaultdict(deque))
    bodies: dict[int, bytearray] = field(default_factory=lambda: defaultdict(bytearray))
    acknowledged: int = 0
    ended: bool = False


class _Player:
    """Walks through the entries: sends those of the end that isn't there, and waits for those of the other."""

    def __init__(self, entries: list[SceneEntry], played: str) -> None:
        self._entries = entries
        self._played = played
        """The way of the messages that the recording says: ``up`` or ``down``."""
        self._names = _Names()
        self._streams: dict[tuple[str, int], _Stream] = {}
        self._changed = asyncio.Event()
        self._tasks: asyncio.TaskGroup
        self._batches: dict[str, dict[int, int]] = defaultdict(dict)
        """The real lower end's batches by link: how many records there are up to each."""
        self._recorded: dict[str, dict[int, int]] = defaultdict(dict)
        self._records: dict[tuple[str, int, Audience], list[Any]] = defaultdict(list)
        """Records that came, by link, channel and kind: data and telemetry may pass each other."""
        self._expected: dict[tuple[str, int, Audience], list[Any]] = defaultdict(list)
        self.page_lines: dict[str, dict[int, list[bytes]]] = defaultdict(dict)
        """What the recording's pages hold, by session and offset."""
        self._reads: dict[tuple[str, int], str] = {}
        self._compared: set[tuple[str, int, int]] = set()
        """The recording's batches that were seen, by link, channel and number: some come again."""

    async def play(self) -> None:
        """Replay; raises ``AssertionError`` or ``TimeoutError`` where the real end says something else."""
        async with asyncio.TaskGroup() as self._tasks:
            try:
                for place, entry in enumerate(self._entries):
                    await self._step(place, entry)
            finally:
                for stream in self._streams.values():
                    stream.transport.abort()

    async def _step(self, place: int, entry: SceneEntry) -> None:
        key = (entry.link, entry.connection)
        if entry.way == "open":
            stream = self._streams[key] = _Stream(await self._open(entry))
            self._tasks.create_task(self._listen(entry.link, stream))
            return
        stream = self._streams[key]
        if entry.way in ("cut", "end"):
            if entry.way == "cut" or self._played == "up":
                stream.transport.abort()
            return
        self._note(entry)
        if entry.way == self._played:
            await self._say(stream, entry)
        else:
            await self._expect(place, stream, entry)

    async def _open(self, entry: SceneEntry) -> Transport:
        raise NotImplementedError

    # ------------------------------------------------------------------ the recording

    def _note(self, entry: SceneEntry) -> None:
        """Take note of what the recording says of batches and pages."""
        for header, data in _lines(entry.message):
            if header["op"] == "batch":
                self._count(self._recorded[entry.link], header["seq"], data)
            elif header["op"] == "read":
                self._reads[entry.link, header["id"]] = header["session_id"]
            elif header["op"] == "page" and header["error"] is None:
                rest = iter(data)
                rows = self.page_lines[self._reads[entry.link, header["id"]]]
                for offset, count in header["rows"]:
                    rows[offset] = [next(rest) for _ in range(count)]

    @staticmethod
    def _count(batches: dict[int, int], seq: int, data: list[bytes]) -> bool:
        """Count the records of a batch; tell whether it is a new one."""
        if seq in batches:
            return False
        batches[seq] = batches.get(seq - 1, 0) + sum(len(orjson.loads(raw)) for raw in data)
        return True

    async def _say(self, stream: _Stream, entry: SceneEntry) -> None:
        message = self._names.to_here(entry.message) if frames.is_text(entry.message) else entry.message
        if self._played == "down" and frames.is_text(message):
            message = b"\n".join(self._translated(entry.link, header, data) for header, data in _lines(message))
        try:
            await stream.transport.send(message)
        except ConnectionLost:
            assert not stream.ended, f"the connection of {entry.link} has ended before {message[:80]!r}"

    def _translated(self, link: str, header: dict[str, Any], data: list[bytes]) -> bytes:
        """Say a mark in terms of the batches that have come."""
        name = {"ack": "seq", "welcome": "stored", "ping": "stored"}.get(header["op"])
        if name is not None:
            counted = self._recorded[link].get(header[name], 0)
            header[name] = max([0, *(seq for seq, count in self._batches[link].items() if count <= counted)])
        return b"\n".join([orjson.dumps(header), *data])

    # ------------------------------------------------------------------ the real end

    async def _listen(self, link: str, stream: _Stream) -> None:
        try:
            while True:
                message = await stream.transport.receive()
                if not frames.is_text(message):
                    n, offset, piece = decode_chunk(message)
                    stream.bodies[n][offset : offset + len(piece)] = piece
                for header, data in _lines(message):
                    if header["op"] == "batch":
                        self._take_batch(link, header, data)
                    elif header["op"] in ("ack", "ping"):
                        stream.acknowledged = max(stream.acknowledged, header["seq" if "seq" in header else "stored"])
                    elif header["op"] not in _UNCOMPARED:
                        stream.lines[header["op"]].append(header)
                self._changed.set()
        except ConnectionLost:
            stream.ended = True
            self._changed.set()

    def _take_batch(self, link: str, header: dict[str, Any], data: list[bytes]) -> None:
        if self._count(self._batches[link], header["seq"], data):
            for channel, raw in zip(header["channels"], data, strict=True):
                for record in orjson.loads(raw):
                    self._records[link, channel, RECORDS[record["type"]].kind].append(record)

    async def _expect(self, place: int, stream: _Stream, entry: SceneEntry) -> None:
        """Wait until what is recorded has come."""
        if not frames.is_text(entry.message):
            n, offset, piece = decode_chunk(entry.message)
            await self._until(place, lambda: len(stream.bodies[n]) >= offset + len(piece), f"body {n}")
            assert stream.bodies[n][offset : offset + len(piece)] == piece, f"entry {place}: body {n} is another"
            return
        for header, data in _lines(entry.message):
            if header["op"] == "batch":
                for channel, raw in zip(header["channels"], data, strict=True):
                    await self._expect_records(place, entry.link, channel, header["seq"], orjson.loads(raw))
            elif header["op"] == "ack":
                await self._until(place, lambda seq=header["seq"]: stream.acknowledged >= seq, "an acknowledgement")
            elif header["op"] not in _UNCOMPARED:
                waiting = stream.lines[header["op"]]
                await self._until(place, lambda waiting=waiting: bool(waiting), header["op"])
                came = waiting.popleft()
                if header["op"] == "welcome":
                    came["stored"] = header["stored"]
                assert self._names.match(header, came), f"entry {place}: recorded {header}, came {came}"

    async def _expect_records(self, place: int, link: str, channel: int, seq: int, records: list[Any]) -> None:
        if (link, channel, seq) in self._compared:
            return
        self._compared.add((link, channel, seq))
        for recorded in records:
            key = (link, channel, RECORDS[recorded["type"]].kind)
            index = len(self._expected[key])
            self._expected[key].append(recorded)
            came = self._records[key]
            await self._until(place, lambda came=came, index=index: len(came) > index, f"a record of {channel}")
            words = f"entry {place}: recorded {recorded}, came {came[index]}"
            assert self._names.match(recorded, came[index]), words

    async def _until(self, place: int, there: Any, what: str) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                while not there():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise TimeoutError(f"entry {place}: {what} didn't come") from None


def _lines(message: bytes) -> Iterator[Line]:
    return frames.split(message) if frames.is_text(message) else iter(())


class _Mainframe(_Player):
    """The real end is a mainframe."""

    def __init__(self, entries: list[SceneEntry], mainframe: MemoryMainframe) -> None:
        super().__init__(entries, "up")
        self._mainframe = mainframe

    async def _open(self, entry: SceneEntry) -> Transport:
        return self.connect()

    def connect(self) -> Transport:
        """Open a connection."""
        ours, theirs = memory_pair()
        self._mainframe.accept_soon(theirs)
        return ours

    async def check_journals(self) -> None:
        """Compare what the recording's readers were shown with what this mainframe's journal holds."""
        transport = self.connect()
        await transport.send(encode(Hello(1, "audit", "audit", 1)))
        for number, (session_id, rows) in enumerate(self.page_lines.items()):
            recorded = [line for offset in sorted(rows) for line in rows[offset]]
            came = await _journal(transport, number, session_id)
            for theirs, ours in zip(recorded, came, strict=True):
                assert self._names.match(orjson.loads(theirs), orjson.loads(ours)), (
                    f"recorded {theirs!r}, came {ours!r}"
                )
        transport.abort()


async def _journal(transport: Transport, number: int, session_id: str) -> list[bytes]:
    found: list[bytes] = []
    offset, end = 0, False
    while not end:
        await transport.send(encode(Read(number, session_id, offset)))
        page = None
        while page is None:
            for header, data in _lines(await transport.receive()):
                if header["op"] == "page":
                    page = header
                    found += data
        assert page["error"] is None, page["error"]
        offset, end = page["next"], page["end"]
    return found


class _LowerEnd(_Player):
    """The real end is whoever is below: a story's client and executor."""

    def __init__(self, entries: list[SceneEntry]) -> None:
        super().__init__(entries, "down")
        self._dialled: dict[str, asyncio.Queue[Transport]] = defaultdict(asyncio.Queue)

    async def dial(self, name: str) -> Transport:
        """Let a link connect."""
        ours, theirs = memory_pair()
        self._dialled[name].put_nowait(theirs)
        return ours

    async def _open(self, entry: SceneEntry) -> Transport:
        async with asyncio.timeout(_PATIENCE):
            return await self._dialled[entry.link].get()


async def against_mainframe(name: str, entries: list[SceneEntry]) -> None:
    """Say to a real mainframe what was said to the one of a recording. Raises where it says something else."""
    async with MemoryMainframe() as mainframe:
        player = _Mainframe(entries, mainframe)
        await player.play()
        async with asyncio.timeout(_PATIENCE):
            await player.check_journals()


async def against_lower_end(name: str, entries: list[SceneEntry]) -> None:
    """Let a story happen before a mainframe that says what the recorded one has said. Raises likewise."""
    player = _LowerEnd(entries)
    async with scene(player.dial) as place:
        playing = asyncio.create_task(player.play())
        try:
            async with asyncio.timeout(2 * _PATIENCE):
                await STORIES[name](place)
                await place.over()
                await playing
        finally:
            playing.cancel()
            await asyncio.wait([playing])
            if not playing.cancelled() and (error := playing.exception()) is not None:
                raise error
