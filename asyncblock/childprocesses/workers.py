"""Executor processes: started, watched and stopped by the process that hosts them.

A child gets its orders (address, token, link id, packages) over a private socket and leaves when that closes: after
the word to do so in order; without it (the parent was killed) at once if the mainframe was in the parent, for then
nobody can take what it says. Its exit is evidence: the mainframe learns of it at once, and a new child takes its place.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ..runtime.forks import claim
from ..varvalues.depot import Depot
from .children import Child, describe_exit
from .hostmemory import EXECUTORS
from .lifesigns import Held, Lifesigns, listening

if TYPE_CHECKING:
    from ..flow.plan import Plan

__all__ = ["ANNOUNCED", "EDITED", "LEAVE", "LEAVE_NOW", "OUTDATED", "READY", "RETIRE", "RETIRING", "Orders", "Workers"]

logger = logging.getLogger("asyncblock.workers")

LEAVE = b'{"leave":true}\n'
"""The parent's last order."""

LEAVE_NOW = b'{"leave":"now"}\n'
"""The same, without the grace: what runs is cancelled at once, and may clean up."""

RETIRE = b'{"retire":true}\n'
"""Take no more jobs, and leave when the running ones have ended, however long they take: another one has the place."""

READY = "ready"
"""A child's first line: it takes jobs. Its last line is its report."""

ANNOUNCED = "announced"
"""A child's line when it has told the mainframe of the packages of one order, or leaves them to another child."""

RETIRING = "retiring"
"""A child's line when it takes no more jobs, because a thread of it can't be stopped: it leaves when the others end."""

EDITED = "edited"
"""A child's line when it takes no more jobs, because a package was edited after it had announced what it holds."""

_RETIRES = {
    RETIRING: "a thread of it can't be stopped",
    EDITED: "a package of it was edited",
}

OUTDATED = "outdated"
"""A child's line when files that it has loaded were edited: it keeps to the sessions that it has begun, and leaves when
there are none. So one process has one reading of a file."""

_RESTART_PAUSE = (0.2, 10.0)
"""Seconds before a child that died is replaced: the first pause and the longest; doubled while children die young."""

_MAX_UNTOLD = 100
"""Dead children that the next one tells of: while so many died young the leases of those before them ran out."""

_CHILD_PATIENCE = 35.0
"""Seconds beyond its grace after which a child that was told to leave is killed: more than all that it may wait for by
itself, so it is stopped, or the interpreter's lock is held in it."""

_YOUNG = 5.0
"""Seconds that a child must live for the pause to begin anew."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What a child needs to know."""

    url: str
    token: str | None
    link_id: str
    secret: str
    """Proves that the link is its own; the parent speaks for it with the same."""
    packages: tuple[str, ...]
    """Directories that the child hashes."""
    known: tuple[tuple[str, str], ...] = ()
    """Packages that the parent has hashed already, so that the children needn't do it again. They come after these."""
    announced: tuple[tuple[str, str], ...] = ()
    """Those of the known that are run as they were when their hashes were made, and not as they are by now."""
    grace: float = 30.0
    replaces: dict[str, Any] | None = None
    """What ``Hello`` says of the children that had its place and of whose end no other child has told."""
    sync_slots: int | None = None
    ca_file: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    """What proxies on the way ask for. Not in the environment, which blocks see."""
    mainframe_in_parent: bool = False
    """The parent has the mainframe: when the parent ends, the child has nothing left to report to."""
    accept: tuple[str, ...] = ()
    """Versions that the code here may replace in sessions that began with them."""
    once: bool = False
    """Take one job and leave: a process of a block's own."""
    partition: int = 0
    """Of a set: which one has asked for the process of a block's own. Other children serve all of them."""
    trace_fd: int | None = None
    """A pipe for tracebacks while the interpreter's lock is held."""
    values_of: str | None = None
    """The directory of files of var values, which the parent owns."""
    offers: dict[str, Any] = field(default_factory=dict)
    """What blocks may need, beside its memory."""
    labels: tuple[str, ...] = ()
    pool: str | None = None
    """All children of one parent have what they offer together."""

    def to_line(self) -> bytes:
        """Encode for the child."""
        return orjson.dumps({name: getattr(self, name) for name in self.__slots__}) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Orders:
        """Decode in the child."""
        obj = orjson.loads(line)
        return cls(
            **{
                **obj,
                "packages": tuple(obj["packages"]),
                "known": tuple(map(tuple, obj["known"])),
                "announced": tuple(map(tuple, obj["announced"])),
                "accept": tuple(obj["accept"]),
                "labels": tuple(obj["labels"]),
            }
        )


def _and_before(dead: dict[str, Any], untold: dict[str, Any] | None) -> dict[str, Any]:
    """Return whom the next child replaces: the one that died, and those of whom that one couldn't tell."""
    if untold is not None:
        before = [*untold.get("before", ()), {name: untold[name] for name in ("link", "reason", "secret")}]
        dead["before"] = before[-_MAX_UNTOLD:]
    return dead


class Workers:
    """A pool of executor processes. Use it with ``async with``; leaving stops them in order."""

    def __init__(
        self,
        url: str,
        token: str | None,
        count: int,
        packages: Sequence[str | Path] = (),
        *,
        gone: Callable[[str, str], None] | None = None,
        held: Callable[[str, str, Held], None] | None = None,
        grace: float = 30.0,
        sync_slots: int | None = None,
        ca_file: str | None = None,
        mainframe_in_parent: bool = False,
        accept: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        offers: Mapping[str, Any] | None = None,
        labels: Sequence[str] = (),
    ) -> None:
        self._url = url
        self._token = token
        self._count = count
        self._packages = [str(Path(package).resolve()) for package in packages]
        self._known: list[tuple[str, str]] = []
        """The plans' packages that the children were told of: hash and directory."""
        self._before: list[tuple[str, str]] = []
        """Those that were edited since; only the children that have loaded them serve them, while there are such."""
        self._outdated: set[str] = set()
        """Link ids of these children."""
        self._gone = gone
        self._held = held
        """Called with a child's link id and secret, and what is seen of it."""
        self._key = secrets.token_bytes(32)
        self._offers = dict(offers or {})
        self._labels = tuple(labels)
        self._pool = secrets.token_hex(16)
        self._grace = grace
        self._sync_slots = sync_slots
        self._ca_file = ca_file
        self._mainframe_in_parent = mainframe_in_parent
        self._accept = tuple(accept)
        self._headers = dict(headers or {})
        self._children: dict[Child, str] = {}
        """Those that run, with their link ids."""
        self._tasks: asyncio.TaskGroup
        self._stopping = False
        self._leave = LEAVE
        self._welcomed: set[str] = set()
        """Link ids of the children that have told the mainframe whom they replace."""
        self._retiring: set[str] = set()
        """Link ids of children that have been replaced already."""
        self._unready = count
        self._all_ready = asyncio.Event()
        self._unannounced: dict[str, int] = {}
        """By link id: orders with packages of which the mainframe may not know yet."""
        self._all_announced = asyncio.Event()
        self._depot = Depot()
        """Owned by no child: files of var values outlive those who have written them."""
        self.reports: list[str] = []
        """What children said of their work when they left."""

    async def __aenter__(self) -> Workers:
        await asyncio.to_thread(self._depot.open)
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        for _ in range(self._count):
            self._tasks.create_task(self._keep_one())
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._stopping = True
        clock = asyncio.get_running_loop().call_later(self._grace + _CHILD_PATIENCE, self._kill_late)
        try:
            for child in list(self._children):
                await self._dismiss(child)
            await self._tasks.__aexit__(None, None, None)
        finally:
            clock.cancel()
            await asyncio.shield(asyncio.to_thread(self._depot.close))

    async def _dismiss(self, child: Child) -> None:
        """Tell a child to drain and leave."""
        await child.tell(self._leave)
        child.hang_up()

    def hurry(self) -> None:
        """Give running jobs no more grace when this is left: they had their time. They may still clean up."""
        self._leave, self._grace = LEAVE_NOW, 0.0

    def _kill_late(self) -> None:
        late = self.pids()
        if late:
            logger.warning("%d executor processes didn't leave when they were told to; they are killed", len(late))
        self.kill()

    def kill(self) -> None:
        """End all children at once, whatever they do."""
        for child in self._children:
            if not child.ended:
                child.kill()

    def pids(self) -> list[int]:
        """Return the process ids of the children that run."""
        return [child.pid for child in self._children if not child.ended]

    def session_starts(self, session_id: str, plan: Plan) -> None:
        """Do nothing: neither contexts nor functions go to other processes."""

    def session_refused(self, session_id: str) -> None:
        """Do nothing."""

    async def serve_plan(self, plan: Plan) -> None:
        """Make all children serve the packages of a plan.

        **Cancellation** may leave some children without them. Raises ``LocalProtocolError`` for blocks that live in
        this process's code: they need an executor in it.
        """
        from ..errors import LocalProtocolError

        if plan.code_blocks:
            raise LocalProtocolError(
                "blocks written in this process's code can't run in child processes; use workers=0"
            )
        await self.serve_known([(hash, str(root)) for hash, root in plan.roots.items()])

    async def serve_known(self, known: Sequence[tuple[str, str]]) -> None:
        """Make all children serve package directories, each under the hash that goes with it.

        **Cancellation** may leave some children without them.
        """
        latest = {root: hash for hash, root in self._known}
        new = [(hash, root) for hash, root in known if latest.get(root) != hash]
        if new:
            roots = {root for _, root in new}
            self._before += [each for each in self._known if each[1] in roots and each not in new]
            self._known = [each for each in self._known if each[1] not in roots] + new
            await self._tell_known(new)
            await self._announced()

    async def _tell_known(self, known: list[tuple[str, str]]) -> None:
        for child, link_id in list(self._children.items()):
            await self._tell_child(child, link_id, known)

    async def _tell_child(self, child: Child, link_id: str, known: list[tuple[str, str]]) -> None:
        self._unannounced[link_id] = self._unannounced.get(link_id, 0) + 1
        self._all_announced.clear()
        await child.tell(orjson.dumps({"known": known}) + b"\n")

    def _count_announced(self, link_id: str, number: int) -> None:
        left = self._unannounced.pop(link_id, 0) - number
        if left > 0:
            self._unannounced[link_id] = left
        if not self._unannounced:
            self._all_announced.set()

    async def _announced(self, timeout: float = 10.0) -> None:
        """Wait until the mainframe knows of all children what they serve, so that the first doesn't get all jobs."""
        if self._count > 1 and self._unannounced:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._all_announced.wait()

    async def _left_behind(self, link_id: str) -> None:
        """With the last of the outdated children the others get what they alone have served: a session may have begun
        with it and still be without a job."""
        self._outdated.discard(link_id)
        if self._before and not self._outdated:
            before, self._before = [each for each in self._before if each not in self._known], []
            self._known = before + self._known
            await self._tell_known(before)

    async def renew(self) -> None:
        """Put new children, which read the packages anew, in the place of all; the old ones finish what they run.

        **Cancellation** may leave old ones that take jobs.
        """
        old = [(child, link_id) for child, link_id in self._children.items() if link_id not in self._retiring]
        self._unready = len(old)
        self._all_ready.clear()
        for _, link_id in old:
            self._retiring.add(link_id)
            self._tasks.create_task(self._keep_one())
        # First, so that no job waits for a process to start.
        await self.ready()
        for child, _ in old:
            await child.tell(RETIRE)

    async def ready(self, timeout: float = 10.0) -> None:
        """Wait until all children take jobs, so that the first doesn't get them all; no longer than ``timeout``.

        **Cancellation** is safe.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._all_ready.wait()

    async def _keep_one(self) -> None:
        """Keep one place filled: when its child dies, the next one takes over."""
        replaces: dict[str, Any] | None = None
        pause = _RESTART_PAUSE[0]
        loop = asyncio.get_running_loop()
        while not self._stopping:
            link_id = secrets.token_hex(8)
            began = loop.time()
            code = await self._live(link_id, replaces)
            told = link_id in self._welcomed
            self._welcomed.discard(link_id)
            if self._stopping:
                return
            reason = describe_exit(code)
            if link_id in self._retiring:
                self._retiring.discard(link_id)
                await self._left_behind(link_id)
                if self._gone is not None:
                    self._gone(link_id, reason)
                return
            logger.warning("%s; a new one takes its place", reason)
            dead = {"link": link_id, "reason": reason, "secret": self._secret(link_id)}
            replaces = _and_before(dead, None if told else replaces)
            if self._gone is not None:
                self._gone(link_id, reason)
            pause = _RESTART_PAUSE[0] if loop.time() - began > _YOUNG else min(pause * 2, _RESTART_PAUSE[1])
            await asyncio.sleep(pause)

    async def _live(self, link_id: str, replaces: dict[str, Any] | None) -> int:
        """Run one child to its end; return its exit code."""
        options = ["-X", "dev"] if sys.flags.dev_mode else []
        traces, trace_fd = os.pipe()
        claim(traces)
        try:
            child = Child(
                [sys.executable, *options, "-u", "-m", "asyncblock.executor"],
                lambda line: self._heard(line.strip(), link_id),
                env={**os.environ, EXECUTORS: str(self._count)},
                pass_fds=(trace_fd,),
            )
        except BaseException:
            # After a cancel too: nothing else has the descriptor yet.
            os.close(traces)
            raise
        finally:
            os.close(trace_fd)
        signs = Lifesigns(child.pid, lambda held: self._heard_traces(link_id, held))
        with listening(traces, signs):
            try:
                await self._give_orders(child, link_id, replaces, trace_fd)
                if self._stopping:
                    await self._dismiss(child)
                return await child.wait()
            except asyncio.CancelledError:
                child.kill()
                await asyncio.shield(child.wait())
                raise
            finally:
                self._children.pop(child, None)
                self._count_announced(link_id, self._unannounced.get(link_id, 0))

    def _heard_traces(self, link_id: str, held: Held) -> None:
        if self._held is not None:
            self._held(link_id, self._secret(link_id), held)

    def _secret(self, link_id: str) -> str:
        """Return the secret of a child's link: known to the child and here, and made again rather than kept."""
        return hmac.new(self._key, link_id.encode(), "sha256").hexdigest()

    async def _give_orders(self, child: Child, link_id: str, replaces: dict[str, Any] | None, trace_fd: int) -> None:
        orders = Orders(
            url=self._url,
            token=self._token,
            link_id=link_id,
            secret=self._secret(link_id),
            packages=tuple(self._packages),
            known=tuple(self._known),
            accept=self._accept,
            grace=self._grace,
            replaces=replaces,
            sync_slots=self._sync_slots,
            ca_file=self._ca_file,
            headers=self._headers,
            mainframe_in_parent=self._mainframe_in_parent,
            trace_fd=trace_fd,
            values_of=self._depot.owner,
            offers=self._offers,
            labels=self._labels,
            pool=self._pool,
        )
        await child.tell(orders.to_line())
        self._children[child] = link_id
        # Packages that were added while the orders were on their way.
        missed = [each for each in self._known if each not in orders.known]
        if missed:
            await self._tell_child(child, link_id, missed)

    def _heard(self, line: str, link_id: str) -> None:
        if line == READY:
            self._welcomed.add(link_id)
            self._count_ready()
        elif line == ANNOUNCED:
            self._count_announced(link_id, 1)
        elif line in _RETIRES:
            logger.warning("an executor process retires: %s; a new one takes its place", _RETIRES[line])
            self._fill_place_of(link_id)
        elif line == OUTDATED:
            logger.info("files that an executor process has loaded were edited; a new one takes its place")
            self._outdated.add(link_id)
            self._fill_place_of(link_id)
        elif line:
            self.reports.append(line)

    def _fill_place_of(self, link_id: str) -> None:
        if link_id not in self._retiring:
            self._retiring.add(link_id)
            if not self._stopping:
                self._tasks.create_task(self._keep_one())

    def _count_ready(self) -> None:
        self._unready -= 1
        if self._unready <= 0:
            self._all_ready.set()
