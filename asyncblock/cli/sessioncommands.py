"""What the commands do with existing sessions: list, follow and cancel them, and fetch their outputs.

These are the sessions of the mainframe that the options name. If they name none, the last local runs of this machine
count, too. A session is named by its id, or by as much of its beginning as is unique.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import orjson

from ..client import Mainframe, Session, SessionInfo, connect
from ..client.grouped import GroupInfo, by_group, cancel_group, is_whole, of_group
from ..client.many import is_group
from ..errors import AsyncBlockError, FlowFailed, Unavailable
from ..inprocess.runs import local_runs
from ..report.recording import Followed, RecordedSession, Recording
from ..server.journal.contract import SessionRow
from ..server.journal.datadir import holder, read_address, read_token
from ..server.journal.peek import peek_session, peek_sessions
from .display import open_display
from .following import EXIT_CODES, follow
from .interrupts import Interrupts
from .manyruns import members_of, outputs_of_group
from .targets import COMMAND_TIMEOUT, Target, reach

__all__ = ["LocalRun", "cancel", "info_of", "is_local", "only", "outputs", "seen", "sessions", "unknown", "watch"]

_ID = 16
"""Characters of a session's whole id."""

_ERROR = 60
"""Characters of an error in a list."""

_NAMED = 5
"""Sessions that an error lists."""


# ---------------------------------------------------------------------- finding one


@dataclasses.dataclass(frozen=True, slots=True)
class LocalRun:
    """A session of a local run, and where its journal is."""

    row: SessionRow
    directory: Path

    @property
    def state(self) -> str:
        """Its state; ``interrupted`` if its process was killed before the end."""
        if self.row.state == "running" and holder(self.directory) is None:
            return "interrupted"
        return self.row.state


def _runs(prefix: str = "") -> list[LocalRun]:
    """Return the sessions of the last local runs that have ids with a prefix."""
    found = []
    for directory in local_runs():
        found += [LocalRun(row, directory) for row in peek_sessions(directory) if row.session_id.startswith(prefix)]
    return found


def is_local(target: Target) -> bool:
    """Tell whether this machine's own sessions are meant."""
    return target.url is None and target.data_dir is None


@asynccontextmanager
async def _reached(name: str, target: Target) -> AsyncIterator[tuple[Mainframe, Session]]:
    """Find a session and connect to where it is for the duration of the block.

    Raises ``Unavailable`` when none or several are meant.
    """
    runs = _runs(name) if is_local(target) else []
    exact = [run for run in runs if run.row.session_id == name]
    if exact or (runs and read_address(target.directory) is None):
        async with _opened(only(name, exact or runs)) as (mainframe, session):
            yield mainframe, session
        return
    if is_local(target) and not runs and read_address(target.directory) is None:
        raise Unavailable(
            f"none of the last local runs has a session {name!r} ('asyncblock sessions' lists them), and "
            f"no mainframe is served from {target.directory}; start one with 'asyncblock serve', "
            "or give --url and --token"
        )
    async with reach(target) as mainframe:
        known = [] if len(name) >= _ID else await mainframe.sessions(prefix=name, limit=_NAMED + 1)
        ids = [each.session_id for each in known] + [run.row.session_id for run in runs]
        if len(ids) > 1:
            raise _several(name, ids)
        if not runs:
            # If the mainframe doesn't know it either, it refuses the first request and says so.
            yield mainframe, mainframe.session(ids[0] if ids else name)
            return
    async with _opened(runs[0]) as (mainframe, session):
        yield mainframe, session


def unknown(name: str, directory: Path) -> Unavailable:
    """Return the error for a session that neither a local run nor a mainframe on this machine knows."""
    words = f"neither the last local runs nor {directory} have a session {name!r}"
    return Unavailable(f"{words}; 'asyncblock sessions' lists those that there are")


def only(name: str, runs: list[LocalRun]) -> LocalRun:
    """Return the one session that is meant. Raises ``Unavailable`` when several are."""
    if len(runs) > 1:
        raise _several(name, [run.row.session_id for run in runs])
    return runs[0]


def _several(name: str, ids: list[str]) -> Unavailable:
    named = ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")
    if is_group(name):
        words = f"{name} is a group of sessions: {named}; 'asyncblock sessions --group {name}' tells of each, "
        return Unavailable(f"{words}'outputs' and 'cancel' take them together; give the id of one here")
    return Unavailable(f"several sessions begin with {name!r}: {named}; say more of the id")


@asynccontextmanager
async def _opened(run: LocalRun) -> AsyncIterator[tuple[Mainframe, Session]]:
    """Reach a session of a local run: by the door of its process, or in its data directory when that has ended."""
    session_id, state = run.row.session_id, run.state
    if state == "interrupted":
        raise Unavailable(f"session {session_id} was interrupted; go on with it: asyncblock resume {session_id}")
    if holder(run.directory) is None:
        from ..inprocess.embedding import embedded

        async with embedded(run.directory) as mainframe:
            yield mainframe, mainframe.session(session_id)
        return
    address = read_address(run.directory)
    if address is None:
        words = f"session {session_id} runs in the process {holder(run.directory)}, where others can't reach it"
        raise Unavailable(f"{words} (run --in-process)")
    token = read_token(run.directory)
    async with connect(str(address["url"]), token, timeout=COMMAND_TIMEOUT) as mainframe:
        yield mainframe, mainframe.session(session_id)


@asynccontextmanager
async def seen(name: str, target: Target) -> AsyncIterator[Recording]:
    """Find a session and open it to be looked at, for the duration of the block; nothing goes on for that.

    Local runs are read from their journals, whether they run, have ended, or were killed; so is the data directory of
    a mainframe that isn't running. Raises ``Unavailable`` when no session or several are meant.
    """
    runs = _runs(name) if is_local(target) else []
    served = target.url is not None or holder(target.directory) is not None
    if not served:
        rows = peek_sessions(target.directory)
        runs += [LocalRun(row, target.directory) for row in rows if row.session_id.startswith(name)]
    exact = [run for run in runs if run.row.session_id == name]
    if exact or not served:
        if not runs:
            raise unknown(name, target.directory)
        with _looked_at(only(name, exact or runs)) as recording:
            yield recording
        return
    async with reach(target) as mainframe:
        known = [] if len(name) >= _ID else await mainframe.sessions(prefix=name, limit=_NAMED + 1)
        ids = [each.session_id for each in known] + [run.row.session_id for run in runs]
        if len(ids) > 1:
            raise _several(name, ids)
        if not runs:
            yield Followed(mainframe.session(ids[0] if ids else name))
            return
    with _looked_at(runs[0]) as recording:
        yield recording


@contextmanager
def _looked_at(run: LocalRun) -> Iterator[Recording]:
    interrupted = run.state == "interrupted"
    with peek_session(run.directory, run.row.session_id) as found:
        yield RecordedSession(run.row.session_id, found.rows, found.body, interrupted=interrupted)


# ---------------------------------------------------------------------- what is done with one


async def watch(name: str, target: Target, offset: int, json: bool) -> int:
    """Follow a session that somebody started."""
    with Interrupts() as interrupts:
        async with _reached(name, target) as (_, session), open_display(json) as display:
            return await follow(session, display, interrupts, cancel=False, offset=offset)


async def cancel(name: str, target: Target, job: str | None, reason: str) -> int:
    """Cancel a session, one of its jobs, or all sessions of a group."""
    with Interrupts():
        if is_group(name) and job is None:
            async with reach(target) as mainframe:
                members = await members_of(mainframe, name)
                count = await cancel_group(mainframe, name, reason)
            if not count:
                told = of_group(name, members).told
                print(f"all sessions of group {name} have ended already: {told}", file=sys.stderr)
                return 0
            print(f"{_counted(count)} of group {name} {'is' if count == 1 else 'are'} being cancelled")
            return 0
        async with _reached(name, target) as (mainframe, session):
            if job is not None:
                await mainframe.cancel_job(session.session_id, job, reason, prefix=True)
                print(f"job {job} of session {session.session_id} is being cancelled")
                return 0
            info = await session.info()
            if info.state != "running":
                print(f"session {session.session_id} has ended already: {info.state}", file=sys.stderr)
                return 0
            await session.cancel(reason)
            print(f"session {session.session_id} is being cancelled")
    return 0


async def outputs(name: str, target: Target) -> int:
    """Print the outputs of a session as one JSON object, or a list of those of a group, when all has ended."""
    with Interrupts():
        if is_group(name):
            async with reach(target) as mainframe:
                of_group, fine = await outputs_of_group(mainframe, name)
            sys.stdout.buffer.write(orjson.dumps(of_group, default=_plain, option=orjson.OPT_INDENT_2) + b"\n")
            return 0 if fine else 1
        async with _reached(name, target) as (_, session):
            try:
                found = await session.outputs()
            except FlowFailed as failed:
                print(f"asyncblock: session {session.session_id} {failed.state}: {failed}", file=sys.stderr)
                return EXIT_CODES.get(failed.state, 1)
    sys.stdout.buffer.write(orjson.dumps(found, default=_plain, option=orjson.OPT_INDENT_2) + b"\n")
    return 0


def _plain(value: Any) -> str:
    return b64encode(value).decode() if isinstance(value, (bytes, bytearray)) else str(value)


# ---------------------------------------------------------------------- the list


_MEMBERS = 50
"""Sessions that are fetched for each line: many may be of one group, which is a single line."""


async def sessions(target: Target, state: str | None, limit: int | None, json: bool, group: str | None = None) -> int:
    """List sessions, the newest first; their header goes to stderr, so that lines are sessions."""
    runs = _runs(group or "") if is_local(target) else []
    asked = limit if json or group or limit is None else limit * _MEMBERS
    found: list[tuple[SessionInfo, str | None]] = [
        (info_of(run), str(run.directory)) for run in runs if state is None or run.state == state
    ]
    groups: dict[str, GroupInfo] = {}
    try:
        async with reach(target) as mainframe:
            found += [(each, None) for each in await mainframe.sessions(state=state, limit=asked, prefix=group or "")]
            found.sort(key=lambda each: each[0].created_at, reverse=True)
            if not json and group is None:
                groups = await _groups([info for info, _ in found], limit, mainframe)
    except AsyncBlockError as error:
        if not runs:
            raise
        if read_address(target.directory) is not None:
            print(f"asyncblock: only local runs are listed: {error}", file=sys.stderr)
        found.sort(key=lambda each: each[0].created_at, reverse=True)
    if not json and found:
        print(_line("SESSION", "BEGAN", "TIME", "DONE", "STATE", "TITLE"), file=sys.stderr, flush=True)
    if json:
        for info, directory in found[:limit]:
            print(orjson.dumps({**dataclasses.asdict(info), "group": info.group, "data_dir": directory}).decode())
        return 0
    infos = [info for info, _ in found]
    lines = [_told(info) for info in infos] if group else _lines(infos, groups)
    for line in lines[:limit]:
        print(line)
    if groups:
        print("tell of each of a group: asyncblock sessions --group ID", file=sys.stderr)
    return 0


async def _groups(found: list[SessionInfo], limit: int | None, mainframe: Mainframe) -> dict[str, GroupInfo]:
    """Return the groups of a list, each whole: those are fetched of which only a part was listed."""
    groups: dict[str, GroupInfo] = {}
    for name, of in list(by_group(found).items())[:limit]:
        if of[0].group is None:
            continue
        known = {each.session_id: each for each in of}
        if not is_whole(of):
            known |= {each.session_id: each for each in await mainframe.sessions(limit=None, prefix=name)}
        groups[name] = of_group(name, known.values())
    return groups


def _lines(found: list[SessionInfo], groups: dict[str, GroupInfo]) -> list[str]:
    """Return a line for each session, and one for all of a group."""
    return [
        _told(of[0]) if of[0].group is None else _told_group(groups.get(name) or of_group(name, of))
        for name, of in by_group(found).items()
    ]


def _told_group(group: GroupInfo) -> str:
    progress = group.progress if group.state == "running" else None
    title = f"{group.title} ({group.told})"
    times = (group.created_at, group.finished_at)
    return _told(SessionInfo(group.group, title, group.path, group.state, *times, group.error, group.bytes, progress))


def _counted(count: int) -> str:
    return f"{count:,} session{'s' if count > 1 else ''}"


def info_of(run: LocalRun) -> SessionInfo:
    """Return a run's session as a mainframe would list it."""
    row = run.row
    times = (row.created_at, row.finished_at)
    return SessionInfo(
        row.session_id, row.title, row.path, run.state, *times, row.error, row.bytes, progress=None, rows=row.rows
    )


def _told(info: SessionInfo) -> str:
    began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(info.created_at / 1000))
    until = info.finished_at or (time.time() * 1000 if info.state == "running" else None)
    lasted = "" if until is None else _duration((until - info.created_at) / 1000)
    done = "" if info.progress is None else f"{info.progress:.0f}%"
    title = info.title if info.error is None else f"{info.title}: {_cut(info.error)}"
    return _line(info.session_id, began, lasted, done, info.state, title)


def _line(*parts: str) -> str:
    session, began, lasted, done, state, title = parts
    return f"{session:<16}  {began:<19}  {lasted:>7}  {done:>4}  {state:<9}  {title}"


def _cut(error: str) -> str:
    line, *more = error.splitlines() or [""]
    return line if len(line) <= _ERROR and not more else f"{line[:_ERROR]}..."


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{max(seconds, 0):.1f}s"
    minutes = int(seconds) // 60
    if minutes < 60:
        return f"{minutes}m{int(seconds) % 60:02}s"
    return f"{minutes // 60}h{minutes % 60:02}m" if minutes < 48 * 60 else f"{minutes // 1440}d{minutes // 60 % 24}h"
