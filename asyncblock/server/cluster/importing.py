"""Moving in: the sessions of a data directory that have ended, copied into a set that nobody serves meanwhile.

What a broken import leaves can be told: a session that has ended and has no time of its end. It is copied anew then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path

from ...errors import AsyncBlockError, Unavailable
from ..jetstream import JetStreamJournal, Overtaken
from ..journal import RUNNING, BodyKey, BodyRow, SessionRow, Write
from ..journal.bodyfiles import body_path
from ..journal.peek import PeekedJournal, peek_journal
from .clusterservers import ClusterServers
from .clusterset import SetDescription

__all__ = ["Imported", "import_sessions"]

_OWNER = "import"
"""Who owned the set last, until a member takes it over."""

_PART = 4 << 20
"""Bytes of rows that are stored at once."""

_CHUNK = 1 << 20


@dataclass(slots=True)
class Imported:
    """What an import has done."""

    sessions: int = 0
    bodies: int = 0
    bytes: int = 0
    present: int = 0
    """Sessions that the set had already."""
    running: int = 0
    """Sessions that hadn't ended, and stay where they are."""


async def import_sessions(
    servers: ClusterServers,
    description: SetDescription,
    data_dir: Path,
    on_trouble: Callable[[AsyncBlockError], None] | None = None,
) -> Imported:
    """Copy the sessions of a data directory that have ended. It may be in use; nothing in it is changed.

    **Durability**: what it tells of is in the cluster when it returns. Called again it copies what isn't there yet.
    **Cancellation** leaves whole sessions, and perhaps one that the next call copies anew.

    Raises ``Unavailable`` when something can't be read, ``Overtaken`` when a member takes the set over meanwhile.
    """
    losses: list[Overtaken] = []

    def lost(error: Overtaken) -> None:
        losses.append(error)
        copying.cancel()

    with peek_journal(data_dir) as source:
        journal = await JetStreamJournal.open(
            servers.urls,
            description.names(0),
            description.demands,
            owner=_OWNER,
            epoch=description.epoch,
            on_trouble=on_trouble,
            on_overtaken=lost,
            **servers.who,
        )
        copying = asyncio.ensure_future(_Import(source, journal, data_dir / "bodies").run())
        try:
            done = await copying
        except BaseException as error:
            # A cancel, too. What isn't stored is no part of a session that is whole.
            with contextlib.suppress(Unavailable):
                await journal.close()
            if losses:
                raise losses[0] from error
            raise
        await journal.close()
        return done


class _Import:
    def __init__(self, source: PeekedJournal, journal: JetStreamJournal, bodies: Path) -> None:
        self._source = source
        self._journal = journal
        self._bodies = bodies
        self._done = Imported()

    async def run(self) -> Imported:
        for row in self._source.sessions():
            if row.state == RUNNING:
                self._done.running += 1
                continue
            there = await self._journal.session(row.session_id)
            if there is not None and there.finished_at is None and there.state != RUNNING:
                await self._journal.prune(there.session_no)
                there = None
            if there is None:
                await self._copy(row)
            else:
                self._done.present += 1
        return self._done

    async def _copy(self, row: SessionRow) -> None:
        number = self._journal.new_session_no()
        # One that came without a time gets one: without, it would be copied anew each time.
        whole = replace(row, session_no=number, finished_at=row.finished_at or row.created_at)
        write = Write()
        write.session(replace(whole, finished_at=None, state="failed", error="its import was broken off: import again"))
        for body in self._source.bodies(row.session_no):
            await self._copy_body(row, body)
            write.body(replace(body, session_no=number))
        offset = 0
        while page := await self._source.page(row.session_no, offset, _PART):
            for _, payload in page:
                write.entry(number, offset, payload)
                offset += 1
            self._journal.write(write)
            await self._journal.flush()
            write = Write()
        if offset != row.rows:
            raise Unavailable(
                f"session {row.session_id} has {offset} of its {row.rows} rows: it is being pruned; again"
            )
        write.session(whole)
        self._journal.write(write)
        await self._journal.flush()
        self._journal.retire(number)
        self._done.sessions += 1
        self._done.bytes += row.bytes

    async def _copy_body(self, row: SessionRow, body: BodyRow) -> None:
        key = BodyKey(body.link_id, body.n)
        if await self._journal.bodies.session_of(key) is not None:
            raise Unavailable(
                f"session {row.session_id} names a large value {key.link_id}-{key.n}, and a session of the set has "
                "another one of that name; import into a set of its own"
            )
        offset = 0
        with contextlib.closing(_chunks(body_path(self._bodies, key))) as chunks:
            for chunk in chunks:
                await self._journal.bodies.write(key, offset, chunk)
                offset += len(chunk)
        await self._journal.bodies.finish(key, body.length, body.sha256)
        self._done.bodies += 1


def _chunks(path: Path) -> Generator[bytes, None, None]:
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise Unavailable(f"the large value {path} can't be read: {error.strerror}") from error
