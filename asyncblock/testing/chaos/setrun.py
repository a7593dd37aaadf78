"""A run of a set of mainframes under chaos, and the comparison of what was promised with what its streams hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from ...childprocesses.workers import Workers
from ...client import connect
from ...errors import Unavailable
from ...server.jetstream import JetStreamJournal
from ...server.jetstream.natsstore import NatsStore
from .audit import Audit, acknowledged, audit_journal, effects_in
from .chaosblocks import write_package
from .chaosset import ChaosSet
from .keptprocess import KeptProcess
from .natsnodes import NatsNodes
from .outcome import Outcome
from .setfaults import SET_FAULTS
from .storm import Storm, raging
from .streamaudit import StreamAudit, audit_stream
from .system import SERVE, ChaosSessions, System

__all__ = ["run_set"]

_PAUSES = (0.5, 4.0)
"""Between two faults: NATS nodes take seconds to find a leader, and something is to be done between."""

_PROGRESS = 5.0
_BROKEN = 70
"""The exit code of a mainframe that has ended by an error of its own."""


async def run_set(
    directory: Path,
    seconds: float,
    seed: int,
    *,
    members: int,
    nodes: int,
    faults: Sequence[str] | None = None,
    serve: Sequence[str] = SERVE,
    end_timeout: float = 240.0,
    tell: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Run a set under chaos in a directory, and audit it. ``faults`` are the kinds, ``serve`` is a mainframe's command.

    ``tell`` is told how it goes on. **Cancellation** ends everything that was started.
    """
    kinds = [name for name, fault in SET_FAULTS.items() if fault.missing() is None] if faults is None else list(faults)
    package, notes, effects = directory / "package", directory / "notes", directory / "effects"
    for place in (package, notes, effects):
        place.mkdir()
    flows = write_package(package)
    began = time.monotonic()
    with (directory / "storm.log").open("w", buffering=1) as log:

        def note(kind: str) -> None:
            log.write(f"{time.strftime('%H:%M:%S')} {time.monotonic() - began:6.1f} {kind}\n")

        async with NatsNodes(directory, nodes) as nats:
            async with AsyncExitStack() as stack:
                found = await stack.enter_async_context(ChaosSet(directory, nats, members, serve))
                tell(f"{members} mainframes on {nodes} NATS nodes: {found.owner.process.name} owns the set")
                workers = await stack.enter_async_context(Workers(found.url, found.token, 2, [package], grace=5.0))
                mainframe = await stack.enter_async_context(connect(found.url, found.token))
                sessions = ChaosSessions(mainframe, flows, notes, effects, seed)
                system = System(found, found.doors, workers, sessions)
                storm = Storm(seed, system, kinds, SET_FAULTS, pauses=_PAUSES, tell=note)
                progress = stack.enter_context(_Progress(system, storm, began, tell))
                try:
                    async with asyncio.timeout(seconds + end_timeout):
                        async with sessions.going_on(4):
                            await raging(storm, seconds)
                            progress.over = True
                            note("the storm is over")
                except TimeoutError:
                    pass
                finally:
                    await system.close()
            tell("all have ended; now what was promised is compared with what the streams hold")
            audit, stream = await _audit(found, notes, effects, sessions)
            processes = [*(member.process for member in found.members), *nats.nodes]
            return Outcome(
                seed,
                audit,
                dict(storm.done),
                found.doors.cuts,
                len(sessions.finished),
                dict(sessions.kinds),
                len(sessions.hanging()),
                sessions.failed,
                stream,
                len(found.terms),
                tuple(filter(None, map(_broken, processes))),
                seconds,
            )


class _Progress:
    """Tells how it goes on, now and then, for the duration of the block."""

    def __init__(self, system: System, storm: Storm, began: float, tell: Callable[[str], None]) -> None:
        self.over = False
        """The storm is."""
        self._system = system
        self._storm = storm
        self._began = began
        self._tell = tell
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> _Progress:
        self._again()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _again(self) -> None:
        if self._timer is not None:
            sessions, found = self._system.sessions, self._system.mainframes
            running = len(sessions.hanging())
            over = ", the storm is over" if self.over else ""
            self._tell(
                f"{time.monotonic() - self._began:4.0f} s: {self._storm.done.total()} faults, "
                f"{len(sessions.finished)} sessions ended, {running} running{over}; "
                f"owner {len(found.terms)} is {found.owner.process.name}, term {found.terms[-1]}"
            )
        self._timer = asyncio.get_running_loop().call_later(_PROGRESS, self._again)


async def _audit(found: ChaosSet, notes: Path, effects: Path, sessions: ChaosSessions) -> tuple[Audit, StreamAudit]:
    audit = await _audit_journal(found, notes, effects, sessions)
    store = await NatsStore.open(found.nodes.urls, name="audit")
    try:
        return audit, await audit_stream(store, found.names)
    finally:
        await store.close()


async def _audit_journal(found: ChaosSet, notes: Path, effects: Path, sessions: ChaosSessions) -> Audit:
    nodes, acked = found.nodes, acknowledged(notes)
    done = await asyncio.to_thread(effects_in, effects)
    try:
        journal = await JetStreamJournal.open(
            nodes.urls, found.names, nodes.demands, owner="audit", epoch=found.description.epoch
        )
    except Unavailable as error:
        # The stream may say why.
        return Audit(lost=1, words=[f"the journal can't be read: {error}"])
    try:
        audit = await audit_journal(journal, acked, sessions.seen, done)
    finally:
        await journal.close()
    compare_ends(audit, sessions.started, sessions.finished)
    return audit


def compare_ends(audit: Audit, started: Sequence[str], ended: dict[str, str]) -> None:
    """Compare what clients were told of sessions with what the journal says of them."""
    for session_id in started:
        if session_id not in audit.sessions:
            audit.lost += 1
            audit.words.append(f"session {session_id} was started, and the journal doesn't know it")
        elif session_id in ended and ended[session_id] != audit.sessions[session_id]:
            audit.lost += 1
            words = (
                f"session {session_id} {ended[session_id]}, as was told; in the journal: {audit.sessions[session_id]}"
            )
            audit.words.append(words)


def _broken(process: KeptProcess) -> str:
    bad = [code for code in process.exits if code == _BROKEN or code < 0]
    return f"{process.name} has ended by itself, with exit codes {bad}; see its log" if bad else ""
