"""The audit: what blocks were told is stored, against what the journal and the observers hold. It only reads."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from ...server.journal import BodyKey, Journal, SqliteJournal
from ...server.journal.datadir import DataDir
from .chaosblocks import CONSUMERS

__all__ = ["Audit", "Effect", "acknowledged", "audit", "audit_journal", "effects_in"]

Attempt = tuple[str, int]
"""Job id and attempt number."""


@dataclass(slots=True)
class Audit:
    """What the comparison found; all but the first three and ``sessions`` must be 0 or empty."""

    acked: int = 0
    """Outputs that a block was told are stored."""
    journaled: int = 0
    sessions: dict[str, str] = field(default_factory=dict)
    """State by session id."""
    lost: int = 0
    """Acknowledged, and not in the journal."""
    duplicated: int = 0
    reordered: int = 0
    missed: int = 0
    """In the journal, and an observer that followed to the end didn't see it, or saw it twice or elsewhere."""
    mixed: int = 0
    """Downstream inputs that came from more than one attempt, or came twice."""
    damaged: int = 0
    """Large outputs whose body isn't there whole."""
    frames: int = 0
    """Var values that consumers have looked at."""
    wrong: int = 0
    """Of these, those that weren't what was put out; and sessions that have succeeded without some."""
    moved: int = 0
    """Var values that were written for other processes."""
    made_again: int = 0
    """Jobs that ran again for var values that were lost."""
    swapped: int = 0
    """Jobs that got another value than the journal says, or one that isn't what was sent."""
    repeated: int = 0
    """Attempts that ran more than once."""
    unfounded: int = 0
    """Attempts that have finished, as the journal says, and without an effect."""
    effects: int = 0
    """What jobs have done outside."""
    words: list[str] = field(default_factory=list)
    """What was found, for people."""

    @property
    def clean(self) -> bool:
        """Tell whether every promise was kept."""
        return not (
            self.lost
            or self.duplicated
            or self.reordered
            or self.missed
            or self.mixed
            or self.damaged
            or self.wrong
            or self.swapped
            or self.repeated
            or self.unfounded
        )


def acknowledged(notes: Path) -> dict[Attempt, int]:
    """Read the blocks' notes: the last number that each attempt was told is stored."""
    found: dict[Attempt, int] = {}
    for path in notes.iterdir():
        job_id, _, attempt = path.name.rpartition(".")
        lines = [line for line in path.read_text().splitlines() if line]
        if lines:
            found[job_id, int(attempt)] = int(lines[-1].removeprefix("done "))
    return found


@dataclass(frozen=True, slots=True)
class Effect:
    """What a job has done outside: it has taken a value."""

    source: str
    """The job that has sent it."""
    of: int
    """That job's attempt."""
    n: int
    right: bool
    """It is what was sent under this number."""


def effects_in(directory: Path) -> dict[Attempt, list[Effect]]:
    """Read what jobs have done outside, by attempt."""
    found: dict[Attempt, list[Effect]] = {}
    for path in directory.iterdir():
        job_id, _, attempt = path.name.rpartition(".")
        lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
        found[job_id, int(attempt)] = [Effect(each["source"], each["of"], each["n"], each["right"]) for each in lines]
    return found


async def audit(
    data_dir: Path, notes: Path, seen: dict[str, list[tuple[Attempt, int]]], effects: Path | None = None
) -> Audit:
    """Compare. ``seen`` holds the numbers that each observer saw, by session.

    **Cancellation** is safe. Raises ``Unavailable`` when the mainframe still runs.
    """
    with DataDir.open(data_dir) as place:
        journal = await SqliteJournal.open(place)
        try:
            done = {} if effects is None else await asyncio.to_thread(effects_in, effects)
            return await audit_journal(journal, acknowledged(notes), seen, done)
        finally:
            await journal.close()


async def audit_journal(
    journal: Journal,
    acked: dict[Attempt, int],
    seen: dict[str, list[tuple[Attempt, int]]],
    effects: Mapping[Attempt, list[Effect]] | None = None,
) -> Audit:
    """Compare with an open journal. ``acked`` holds the last number that each attempt was told is stored, ``effects``
    what attempts have done outside.

    **Cancellation** is safe.
    """
    found = Audit()
    stored: dict[Attempt, list[int]] = defaultdict(list)
    for row in await journal.sessions():
        found.sessions[row.session_id] = row.state
        reading = _Reading(journal, found, stored)
        await reading.session(row.session_no)
        if row.session_id in seen and seen[row.session_id] != reading.in_order:
            found.missed += 1
            found.words.append(_difference(row.session_id, seen[row.session_id], reading.in_order))
        if effects is not None:
            reading.compare_effects(effects)
    _compare(found, acked, stored)
    for attempt, done in (effects or {}).items():
        found.effects += len(done)
        if len(done) > 1:
            found.repeated += 1
            found.words.append(f"{attempt} ran {len(done)} times")
        if not all(each.right for each in done):
            found.swapped += 1
            found.words.append(f"{attempt} got a value that isn't what was sent: {done}")
    return found


def _compare(found: Audit, acked: dict[Attempt, int], stored: dict[Attempt, list[int]]) -> None:
    for attempt, last in acked.items():
        found.acked += last + 1
        missing = set(range(last + 1)) - set(stored.get(attempt, ()))
        if missing:
            found.lost += len(missing)
            found.words.append(f"{attempt}: told that 0..{last} are stored, without {sorted(missing)[:5]}")
    for attempt, numbers in stored.items():
        found.journaled += len(numbers)
        doubled = len(numbers) - len(set(numbers))
        if doubled:
            found.duplicated += doubled
            found.words.append(f"{attempt}: {doubled} numbers stand more than once")
        elif numbers != list(range(len(numbers))):
            found.reordered += 1
            found.words.append(f"{attempt}: out of order or with gaps: {numbers[:20]}")


def _difference(session_id: str, seen: list[tuple[Attempt, int]], stored: list[tuple[Attempt, int]]) -> str:
    at = next((i for i, (a, b) in enumerate(zip(seen, stored, strict=False)) if a != b), min(len(seen), len(stored)))
    return f"session {session_id}: an observer saw {len(seen)} of {len(stored)} outputs, another order from {at} on"


class _Reading:
    """Reads one session's rows."""

    def __init__(self, journal: Journal, found: Audit, stored: dict[Attempt, list[int]]) -> None:
        self._journal = journal
        self._found = found
        self._stored = stored
        self._places: dict[tuple[int, int, int], tuple[Attempt, int]] = {}
        self._consumed: dict[tuple[str, str], list[tuple[Attempt, int]]] = defaultdict(list)
        self._given: dict[str, tuple[Attempt, int]] = {}
        """What jobs get, by job id."""
        self._finished: list[Attempt] = []
        self.in_order: list[tuple[Attempt, int]] = []
        """What an observer of the session sees."""
        self._put_out: dict[tuple[int, int, int], int] = {}
        """Numbers of var values, by their places: the order in which their attempt has put them out."""
        self._taken: dict[str, int] = {}
        """Which var value each job has."""
        self._looked_at: list[int] = []
        self._wanted: int | None = None
        """How many var values a session puts out."""
        self._count: int | None = None
        """How many var values a session has that has succeeded."""

    async def session(self, session_no: int) -> None:
        offset = 0
        while page := await self._journal.page(session_no, offset):
            for place, payload in page:
                for index, line in enumerate(payload.split(b"\n")):
                    await self._line(place, index, orjson.loads(line))
                offset = place + 1
        for source, inputs in self._consumed.items():
            attempts = {attempt for attempt, _ in inputs}
            if len(attempts) > 1 or len(set(inputs)) < len(inputs):
                self._found.mixed += 1
                self._found.words.append(f"inputs from {source} came from {sorted(attempts)}, {len(inputs)} in all")
        if self._count is not None and sorted(self._looked_at) != list(range(self._count)):
            self._found.wrong += 1
            self._found.words.append(f"of {self._count} var values consumers have seen {sorted(self._looked_at)}")

    def _frames(self, offset: int, index: int, obj: dict[str, Any]) -> None:
        """Compare what consumers say of var values with which ones they were given."""
        if obj["type"] == "SessionStarted" and any(node["node_id"] == "frames" for node in obj["plan"]["nodes"]):
            self._wanted = obj["inputs"]["count"]
        elif obj["type"] == "SessionFinished" and self._wanted is not None:
            self._count = self._wanted if obj["state"] == "succeeded" else None
            if self._count is None:
                self._found.words.append(f"a session of var values {obj['state']}: {obj['error']}")
        elif obj["type"] == "ValueExported":
            self._found.moved += 1
        elif obj["type"] == "JobCreated" and obj.get("recomputes") is not None:
            self._found.made_again += 1
        elif obj["type"] == "JobCreated" and obj["node_id"] == "take":
            _, *place, _ = obj["inputs"]["v"]
            self._taken[obj["job_id"]] = self._put_out[place[0], place[1], place[2]]

    def _frame_records(self, offset: int, index: int, obj: dict[str, Any]) -> None:
        for number, record in enumerate(obj["records"]):
            if obj["node_id"] == "frames" and record["type"] == "BlockOutput":
                self._put_out[offset, index, number] = record["output"]["place"]
            elif obj["node_id"] == "take" and record["type"] == "BlockFinished" and "n" in record.get("result", ()):
                wanted, got = self._taken[obj["job_id"]], record["result"]["n"]
                self._found.frames += 1
                if not obj.get("late"):
                    self._looked_at.append(wanted)
                if got != [float(wanted)]:
                    self._found.wrong += 1
                    self._found.words.append(f"job {obj['job_id']} was given var value {wanted} and has seen {got}")

    async def _line(self, offset: int, index: int, obj: dict[str, Any]) -> None:
        if "records" in obj:
            self._frame_records(offset, index, obj)
            for number, record in enumerate(obj["records"]):
                if record["type"] == "BlockFinished" and obj["node_id"] in CONSUMERS and not obj.get("late"):
                    if record.get("error") is None and not record.get("cancelled"):
                        self._finished.append((obj["job_id"], obj["attempt"]))
                elif record["type"] == "BlockOutput" and obj["node_id"] == "source" and record["handle"] == "out":
                    n = await self._number(record, obj["link"])
                    attempt = (obj["job_id"], obj["attempt"])
                    self._stored[attempt].append(n)
                    self._places[offset, index, number] = (attempt, n)
                    if not obj.get("late"):
                        self.in_order.append((attempt, n))
            return
        self._frames(offset, index, obj)
        if obj["type"] == "JobCreated" and obj["node_id"] in CONSUMERS:
            _, *place, _ = obj["inputs"]["value"]
            attempt, n = self._places[place[0], place[1], place[2]]
            self._consumed[obj["node_id"], attempt[0]].append((attempt, n))
            self._given[obj["job_id"]] = (attempt, n)

    def compare_effects(self, effects: Mapping[Attempt, list[Effect]]) -> None:
        """Compare what jobs were given, and which have finished, with what they did."""
        for job_id, attempt in self._finished:
            if job_id in self._given and not effects.get((job_id, attempt)):
                self._found.unfounded += 1
                self._found.words.append(f"{job_id}, attempt {attempt}, has finished and did nothing")
        for (job_id, attempt), done in effects.items():
            given = self._given.get(job_id)
            for each in done:
                if given is not None and given != ((each.source, each.of), each.n):
                    self._found.swapped += 1
                    self._found.words.append(f"{job_id}, attempt {attempt}, is given {given} and got {each}")

    async def _number(self, record: dict[str, Any], link: str) -> int:
        if "body" not in record:
            return int(record["output"]["n"])
        ref = record["body"]
        data = await self._journal.bodies.read(BodyKey(link, ref["n"]), 0, ref["length"] + 1)
        try:
            return int(orjson.loads(data)["n"])
        except (orjson.JSONDecodeError, KeyError):
            self._found.damaged += 1
            self._found.words.append(f"body {link}-{ref['n']} has {len(data)} bytes of {ref['length']}")
            return -1
