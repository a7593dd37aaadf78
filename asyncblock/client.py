"""The service developer's side: connect to a mainframe, start flows, follow their events, host blocks."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import orjson

from . import events
from ._version import __version__
from .block import AnyBlock
from .body import Body
from .errors import (
    BlockFailed,
    ConnectionLost,
    FlowFailed,
    InvalidFlow,
    InvalidInputs,
    LocalProtocolError,
    PayloadTooLarge,
    Problem,
    Rejected,
    RemoteProtocolError,
    UnserializableValue,
    ValueLost,
)
from .events import SessionFinished, TablePages
from .iothread import IOThread, shared
from .link import FIRST_TIMEOUT, Link
from .looks import bundle_of, live
from .many import Many, group_of
from .metadata import gathered
from .offload import run_in_thread, wait_in_thread
from .pieces import dumps_pieces, loads_blocks, paced
from .schemas import misfits
from .shapes import Results, by_handle
from .transport import Transport
from .transport.addresses import check_headers, headers_of, shown_url, split_address
from .transport.websocket import connect_websocket
from .values import dumps, is_small, loads
from .wire.bodies import BodyRef
from .wire.frames import MAX_MESSAGE

if TYPE_CHECKING:
    from .flow import Flow
    from .flow.plan import Plan
    from .retrying import Retry

__all__ = [
    "LocalHost",
    "Mainframe",
    "Pruned",
    "Session",
    "SessionInfo",
    "connect",
    "open_link",
    "plan_of_row",
]

logger = logging.getLogger("asyncblock.client")

_PAGE = 1000
"""Sessions that a mainframe lists at once."""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A session as a mainframe lists it. Times are ms since the epoch, ``bytes`` is what its journal takes."""

    session_id: str
    title: str
    path: str
    state: str
    created_at: int
    finished_at: int | None
    error: str | None
    bytes: int
    progress: float | None = None
    """How far a running one is, in percent."""
    rows: int | None = None
    """Rows of its journal; None where the mainframe doesn't say."""

    @property
    def group(self) -> str | None:
        """The runs that it belongs to, where ``map`` or a matrix has started it with others."""
        return group_of(self.session_id)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a ``prune`` has deleted."""

    sessions: tuple[str, ...]
    bytes: int
    """Of their journal entries and bodies."""


class LocalHost(Protocol):
    """An executor in this process that learns of a plan's packages before the plan is started."""

    async def serve_plan(self, plan: Plan) -> None:
        """Announce the packages and blocks of a plan."""
        ...

    def hurry(self) -> None:
        """Give running jobs no more time than for their clean-up when this is left."""
        ...

    def session_starts(self, session_id: str, plan: Plan) -> None:
        """Take note of who starts a session, and of the blocks that are meant in it."""
        ...

    def session_refused(self, session_id: str) -> None:
        """Forget it: the session has not been started after all."""
        ...


class Session:
    """One run of a flow, seen from outside. Get one from ``Mainframe.start`` or ``Mainframe.session``.

    Iterating gives every event from the beginning, and ends after ``SessionFinished``; any number of iterations may
    run at once, each is a cursor of its own. Losing the connection is no end: the iteration goes on where it was.
    """

    def __init__(self, link: Link, session_id: str, journal: str | None = None) -> None:
        self._link = link
        self._journal = journal
        self.session_id = session_id

    def __aiter__(self) -> AsyncIterator[events.AnyEvent]:
        return self.events()

    async def events(
        self, offset: int = 0, *, latest: bool = False, follow: bool = True
    ) -> AsyncIterator[events.AnyEvent]:
        """Iterate over the session's events from a journal offset, waiting for new ones until it ends.

        ``latest=True`` skips progress and previews that a later one in the same page supersedes. ``follow=False`` waits
        for nothing: it ends with what was in the journal at the beginning.
        **Cancellation** is safe: go on with ``offset`` one past the last event's.
        Raises ``Rejected`` when the mainframe doesn't know the session, ``Closed`` when the link is closed, and
        ``ConnectionLost`` when the mainframe came back with another journal, in which offsets mean something else.
        """
        epoch = self._link.epoch
        until = None if follow else await self._rows()
        while until is None or offset < until:
            page = await self._link.read(self.session_id, offset)
            if self._link.epoch != epoch:
                raise ConnectionLost(
                    f"session {self.session_id} was read up to row {offset} of another journal than that which the "
                    f"mainframe at {self._link.address} has since; read it from its start"
                )
            # Line by line, so that they are gone, and their memory is at hand, when the next are made (throughput).
            found = chain.from_iterable(events.events_of_row(self.session_id, *row) for row in page.rows)
            event: events.AnyEvent | None = None
            for event in _newest(list(found)) if latest else found:
                yield event
            if page.end or isinstance(event, events.SessionFinished):
                return
            offset = page.next

    async def _rows(self) -> int | None:
        """Return how many rows there are; None when there will be no more of them anyway."""
        info = await self.info()
        if info.rows is None and info.state == "running":
            raise Rejected(
                f"the mainframe at {self._link.address} doesn't say how far session {self.session_id} is; a newer "
                "asyncblock there does, and it can be followed",
                code="version",
            )
        return info.rows

    async def plan(self) -> Plan:
        """Return the plan that the session runs.

        **Cancellation** is safe. Raises ``Rejected`` when the mainframe doesn't know the session.
        """
        page = await self._link.read(self.session_id, 0, max_bytes=1)
        return await wait_in_thread(plan_of_row, page.rows[0][1] if page.rows else ())

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return bundle_of(self)

    async def live(self) -> None:
        """Show the session in a notebook until it ends: drawn again as it goes on.

        **Cancellation**, an interrupt of the kernel, cancels the session. Raises as ``events``.
        """
        await live(self)

    async def info(self) -> SessionInfo:
        """Return how the session is: its state, times and size.

        **Cancellation** is safe. Raises ``Rejected`` when the mainframe doesn't know the session.
        """
        return _session_info(await self._link.request("session", {"session_id": self.session_id}))

    async def wait(self) -> SessionFinished:
        """Wait until the session has ended, however it ended.

        **Cancellation** leaves the session running. Raises as ``events``.
        """
        page = await self._link.read(self.session_id, -1)
        for place, lines in page.rows:
            for event in events.events_of_row(self.session_id, place, lines):
                if isinstance(event, events.SessionFinished):
                    return event
        raise Rejected(f"session {self.session_id} has no end in the journal", code="read")

    async def outputs(self) -> dict[str, Any]:
        """Wait until the session has succeeded and return the last value of each output of the flow.

        **Cancellation** leaves the session running.
        Raises ``FlowFailed`` with the session's error when it failed or was cancelled, and with the author's traceback
        as its cause; it is a ``ValueLost`` where the memory of a process went that was needed.
        """
        end = await self.wait()
        if end.state != "succeeded":
            cause = await self._cause(end)
            more: dict[str, Any] = {
                "session_id": self.session_id,
                "state": end.state,
                "node_id": None if end.failed is None else end.failed.node_id,
                "journal": self._journal,
            }
            if end.failed is not None and (lost := end.failed.lost) is not None:
                raise ValueLost(end.error or end.state, producer=lost.node_id, handle=lost.handle, **more)
            raise FlowFailed(end.error or end.state, **more) from cause
        outputs = dict(end.outputs)
        for handle, ref in end.bodies.items():
            outputs[handle] = await self.fetch(ref)
        return outputs

    async def _cause(self, end: SessionFinished) -> BlockFailed | None:
        """Return what the block said that failed the session; None where no block did."""
        job = end.failed
        if job is None or job.offset is None:
            return None
        page = await self._link.read(self.session_id, job.offset)
        for event in chain.from_iterable(events.events_of_row(self.session_id, *row) for row in page.rows[:1]):
            if isinstance(event, events.BlockFinished) and (event.job_id, event.attempt) == (job.job_id, job.attempt):
                words = f"node {event.node_id}: {event.error}"
                failed = BlockFailed(words, node_id=event.node_id, traceback=event.traceback or "")
                if event.traceback:
                    # A note is printed with the error.
                    failed.add_note(event.traceback.rstrip())
                return failed
        return None

    async def fetch(self, ref: BodyRef) -> Any:
        """Fetch a large value that an event refers to.

        **Cancellation** is safe. Raises ``Rejected`` when it was pruned.
        """
        blocks = await self._link.io.run(self._link.downloads.fetch(ref))
        return await run_in_thread(b"".join if ref.encoding == "raw" else loads_blocks, blocks)

    async def page(self, pages: TablePages, number: int) -> list[list[Any]]:
        """Fetch a page of a table's rows, from 0; ``pages.index`` says which rows it has.

        **Cancellation** is safe. Raises ``IndexError`` for one that isn't there, ``Rejected`` when it was pruned.
        """
        _, offset, size = pages.index[number]
        text = await self._link.io.run(self._link.downloads.part(pages.body, offset, size))
        rows: list[list[Any]] = await run_in_thread(loads, text)
        return rows

    async def message_service(self, node_id: str, payload: object, *, job_id: str | None = None) -> int:
        """Say something to the service of a node, where it runs; return how many executors it was sent to.

        **Durability**: none; it reaches the callbacks of a service that runs and whose executor is connected.
        **Cancellation** may leave it sent. Raises ``Rejected`` when the session is over or has no such service node.
        """
        params = {"session_id": self.session_id, "node_id": node_id, "payload": await _encoded(payload, "payload")}
        if job_id is not None:
            params["job_id"] = job_id
        answer = await self._link.request("message_service", params)
        return int(answer["executors"])

    async def cancel(self, reason: str = "cancelled") -> None:
        """Cancel the session: waiting jobs are dropped, running ones may clean up.

        **Durability**: on return the cancel is in the journal; ``wait`` says when the session has ended.
        **Cancellation** leaves the cancel standing if it was sent. A session that has ended is left as it is.
        """
        await self._link.request("cancel", {"session_id": self.session_id, "reason": reason})


class Mainframe:
    """A handle on a mainframe. Get one from ``connect`` or ``embedded``; any task of any loop may use it."""

    def __init__(self, link: Link, local: LocalHost | None = None, *, journal: str | None = None) -> None:
        self.link = link
        self._local = local
        self._journal = journal
        """Where the journal is, for people; None for one that is deleted at the end."""

    @property
    def address(self) -> str:
        """Where the mainframe is."""
        return self.link.address

    def hurry(self) -> None:
        """Let executors of this process's own leave with no more than the time for a clean-up, when they are left."""
        if self._local is not None:
            self._local.hurry()

    async def start(
        self,
        flow: str | Path | Plan | Flow,
        inputs: Results | None = None,
        *,
        title: str = "",
        search_paths: tuple[Path, ...] = (),
        strict: bool = False,
        metadata: Mapping[str, Any] | None = None,
        compat: str | None = None,
    ) -> Session:
        """Start a flow: a path, an example's name, a ``Flow`` built in Python, or a plan.

        ``strict`` compares the inputs with their schemas. ``metadata`` (texts, numbers, booleans and None by name, 16
        KiB at most) is what its blocks have as ``ctx.metadata``: who asked, a trace id. The values of context variables
        that ``asyncblock.metadata.carry`` has registered are added. ``compat="oocana"`` runs a flow's file as that
        engine does where ours would do something more sensible; each such place is a warning.

        **Durability**: on return the session is in the journal, with its whole plan.
        **Cancellation** may leave the session started.
        Inputs travel as JSON, with the plan 4 MiB at most: what is larger, and bytes, better come from a first node.
        Large ones are read on a worker thread: leave them alone until it returns.
        Raises ``InvalidFlow`` with every problem of the flow; ``UnserializableValue`` and ``PayloadTooLarge`` naming
        the input; ``InvalidInputs`` for those that don't fit; ``Rejected`` when the mainframe refuses.
        """
        given = by_handle(inputs or {})
        said = gathered(metadata)
        plan = await self.resolve(
            lambda languages: resolve_flow(flow, given, search_paths, languages=languages, compat=compat)
        )
        if plan is not flow:
            _tell_oddities(plan)
        if strict:
            await wait_in_thread(_check_inputs, plan, given)
        return await self._begin(plan, given, secrets.token_hex(8), title, said)

    async def _begin(
        self, plan: Plan, given: Mapping[str, Any], session_id: str, title: str, metadata: Mapping[str, Any]
    ) -> Session:
        if self._local is not None:
            await self._local.serve_plan(plan)
        values = {name: await _encoded(value, name) for name, value in given.items()}
        params = {"session_id": session_id, "plan": plan.to_json(), "inputs": values, "title": title}
        if metadata:
            params["metadata"] = dict(metadata)
        if self._local is not None:
            self._local.session_starts(session_id, plan)
        try:
            await self.link.request("start", params, id=session_id)
        except Exception:
            if self._local is not None:
                self._local.session_refused(session_id)
            raise
        return Session(self.link, session_id, self._journal)

    def map(
        self,
        flow: str | Path | Plan | Flow | AnyBlock,
        items: Iterable[Results],
        *,
        limit: int = 16,
        title: str = "",
        search_paths: tuple[Path, ...] = (),
        metadata: Mapping[str, Any] | None = None,
    ) -> Many[Session]:
        """Run a flow, or one block, once for each item, at most ``limit`` at once; an item is what ``inputs`` are.

        ``await mainframe.map(...)`` returns the outputs in the order of the items, and ``async for result in
        mainframe.map(...)`` gives each result as it comes. A run that fails keeps nothing from the others.

        **Durability**: each run is a session in the journal; their ids begin with that of the group (``Many.group``).
        **Cancellation** cancels all of them, and so does ``Many.cancel``.
        Raises ``InvalidFlow``; awaited, ``MapFailed`` with all results when any run has failed.
        """
        if limit < 1:
            raise LocalProtocolError(f"limit is how many run at once, from 1, not {limit!r}")
        said = gathered(metadata)
        wanted = flow_of(flow) if isinstance(flow, AnyBlock) else flow

        async def load(given: Mapping[str, Any]) -> Plan:
            plan: Plan
            if isinstance(wanted, (str, Path)):
                plan = await self.resolve(lambda known: resolve_flow(wanted, given, search_paths, languages=known))
            else:
                plan = await wait_in_thread(plan_of, wanted)
            if plan is not wanted:
                _tell_oddities(plan)
            return plan

        async def start(plan: Plan, given: Mapping[str, Any], session_id: str) -> Session:
            if wrong := plan.input_problems(given):
                raise InvalidFlow([Problem(words) for words in wrong])
            return await self._begin(plan, given, session_id, title, said)

        return Many(load, start, self.session, items, limit)

    async def plan_retry(
        self,
        session_id: str,
        flow: str | Path | Plan | Flow | None = None,
        *,
        from_node: str | None = None,
        inputs: Results | None = None,
        search_paths: tuple[Path, ...] = (),
        compat: str | None = None,
    ) -> Retry[Session]:
        """Work out what of a session that has ended needn't run again, and why the rest does; ``start`` begins it.

        A job stays finished where its code, inputs, the files that these name, handles and imports are the same; its
        outputs come from the old session's journal. What depends on changed code, and ``from_node`` with all that it
        feeds, runs again. The flow is read anew from where it was; one built in Python has to be given. ``inputs``
        stand for those of before. Results are laid ready on this machine: executors elsewhere run everything.

        **Cancellation** is safe. Raises ``LocalProtocolError`` for a session that still runs, ``InvalidFlow``,
        ``Rejected`` when the mainframe doesn't know the session.
        """
        from .retrying import prepare

        given = by_handle(inputs or {})

        async def load(path: str | None, shape: Callable[[Plan], Plan]) -> Plan:
            wanted = flow if flow is not None else path
            if wanted is None:
                raise LocalProtocolError(
                    f"session {session_id} ran a flow that was built in Python: give the flow, too"
                )
            if not isinstance(wanted, (str, Path)):
                return shape(await wait_in_thread(plan_of, wanted))
            return await self.resolve(
                lambda known: resolve_flow(wanted, given, search_paths, shape=shape, languages=known, compat=compat)
            )

        info = await self.session(session_id).info()
        if info.state == "running":
            raise LocalProtocolError(f"session {session_id} still runs; wait for its end, or cancel it")
        return await prepare(self.link, session_id, load, self.start, from_node=from_node, inputs=given)

    async def retry(
        self,
        session_id: str,
        flow: str | Path | Plan | Flow | None = None,
        *,
        from_node: str | None = None,
        inputs: Results | None = None,
        search_paths: tuple[Path, ...] = (),
        compat: str | None = None,
    ) -> Session:
        """Run a flow again from where it failed, in a new session: what has finished isn't run again.

        As ``plan_retry`` says. **Durability** and **Cancellation** as ``start``. Raises as both.
        """
        made = await self.plan_retry(
            session_id, flow, from_node=from_node, inputs=inputs, search_paths=search_paths, compat=compat
        )
        return await made.start()

    async def resolve(self, load: Callable[[Collection[str]], Plan]) -> Plan:
        """Load a flow on a worker thread; one with blocks in another language when an executor has announced it.

        **Cancellation** is safe. Raises what ``load`` raises.
        """
        try:
            return await wait_in_thread(load, ())
        except InvalidFlow as error:
            if not any(problem.code == "language" for problem in error.problems):
                raise
            languages = (await self.info()).get("languages", [])
            return await wait_in_thread(load, languages)

    def session(self, session_id: str) -> Session:
        """Return a handle on a session that somebody else started."""
        return Session(self.link, session_id, self._journal)

    async def sessions(
        self,
        *,
        state: str | None = None,
        limit: int | None = 100,
        prefix: str = "",
        before: SessionInfo | None = None,
    ) -> list[SessionInfo]:
        """List sessions, the newest first: ``limit`` of them, or all; only those whose id begins with ``prefix``.

        ``before`` is the last one of those that are known already: the list goes on after it.

        **Cancellation** is safe.
        """
        found: dict[str, SessionInfo] = {}
        params: dict[str, Any] = {} if state is None else {"state": state}
        if prefix:
            params["prefix"] = prefix
        if before is not None:
            params["before"] = [before.created_at, before.session_id]
        while limit is None or len(found) < limit:
            params["limit"] = _PAGE if limit is None else min(limit - len(found), _PAGE)
            answer = await self.link.request("sessions", params)
            page = [info for row in answer["sessions"] if (info := _session_info(row)).session_id not in found]
            found.update((info.session_id, info) for info in page if info.session_id.startswith(prefix))
            if len(answer["sessions"]) < params["limit"] or not page:
                break
            params["before"] = [page[-1].created_at, page[-1].session_id]
        return list(found.values())

    async def prune(self, *, older: float | None = None, keep: int | None = None) -> Pruned:
        """Delete sessions that ended more than ``older`` seconds ago, but never the ``keep`` newest ones.

        With ``keep`` alone, all but the newest. Running sessions stay.
        **Durability**: what the answer names is gone for good.
        **Cancellation** doesn't stop a deletion that has begun.
        Raises ``LocalProtocolError`` when neither is given, ``Unauthorized`` when the token may only watch.
        """
        if older is None and keep is None:
            raise LocalProtocolError("prune needs older=SECONDS, keep=N, or both")
        params = {"older_ms": None if older is None else int(older * 1000), "keep": keep}
        gone: list[str] = []
        freed, more = 0, True
        while more:
            answer = await self.link.request("prune", params)
            gone += answer["sessions"]
            freed += answer["bytes"]
            more = answer.get("more", False)
        return Pruned(tuple(gone), freed)

    async def info(self) -> dict[str, Any]:
        """Return how the mainframe is: version, clock, this token's roles, languages, limits, journal and disk.

        **Cancellation** is safe.
        """
        return await self.link.request("info", {})

    async def cancel_job(
        self, session_id: str, job_id: str, reason: str = "cancelled", *, prefix: bool = False
    ) -> None:
        """Cancel one job; its flow fails unless the block's retry policy says otherwise.

        With ``prefix`` the beginning of its id is enough.
        **Cancellation** leaves the cancel standing if it was sent.
        """
        params = {"session_id": session_id, "job_id": job_id, "reason": reason}
        await self.link.request("cancel_job", {**params, "prefix": True} if prefix else params)


def _session_info(row: dict[str, Any]) -> SessionInfo:
    # What a later mainframe says besides isn't known here.
    return SessionInfo(**{name: value for name, value in row.items() if name in SessionInfo.__dataclass_fields__})


async def _encoded(value: object, name: str) -> Any:
    """Make JSON of an input, a large one on a worker thread."""
    if isinstance(value, (bytes, bytearray, memoryview, Body)):
        reason = "inputs from outside travel as JSON; hand over a path, and let the first node make bytes of it"
        raise UnserializableValue(reason, handle=name)
    return loads(dumps(value, handle=name)) if is_small(value) else await run_in_thread(_encode_large, value, name)


def _encode_large(value: object, name: str) -> orjson.Fragment:
    data = bytearray()
    for piece in paced(dumps_pieces(value, handle=name)):
        data += piece
        if len(data) > MAX_MESSAGE:
            raise PayloadTooLarge(f"the input {name!r}", size=len(data), limit=MAX_MESSAGE)
    return orjson.Fragment(bytes(data).replace(b"\n", b""))


def _tell_oddities(plan: Plan) -> None:
    """Log what is odd about a flow and doesn't keep it from running. Whoever gives a plan has its warnings."""
    for warning in plan.warnings:
        logger.warning("flow %r: %s", plan.title, warning)


def _check_inputs(plan: Plan, inputs: Mapping[str, object]) -> None:
    problems = misfits(
        plan.inputs_def, {name: b"".join(dumps_pieces(value, handle=name)) for name, value in inputs.items()}
    )
    if problems:
        words = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        raise InvalidInputs(f"flow {plan.title!r} can't be run with these inputs: {words}", problems=problems)


def resolve_flow(
    flow: str | Path | Plan | Flow,
    inputs: Mapping[str, object] | None,
    search_paths: tuple[Path, ...],
    *,
    shape: Callable[[Plan], Plan] | None = None,
    languages: Collection[str] = (),
    compat: str | None = None,
) -> Plan:
    """Make a plan of whatever names a flow. Reads files."""
    from .flow import Flow, load_flow
    from .flow.plan import Plan

    if isinstance(flow, (Plan, Flow)):
        plan = plan_of(flow)
        if wrong := plan.input_problems(inputs or {}):
            raise InvalidFlow([Problem(words) for words in wrong])
        return plan
    from .flow.named import find_flow
    from .flow.shipped import find, shipped

    path = find(flow) if isinstance(flow, str) and not Path(flow).exists() else None
    named = path or find_flow(flow, lambda: [each.name for each in shipped()])
    return load_flow(named, search_paths=search_paths, inputs=inputs, shape=shape, languages=languages, compat=compat)


def plan_of(flow: Plan | Flow) -> Plan:
    """Return the plan of a flow that isn't in a file. Raises ``InvalidFlow``."""
    from .flow import Flow

    return flow.plan() if isinstance(flow, Flow) else flow


def flow_of(block: AnyBlock) -> Flow:
    """Return the flow of one block: its inputs are the flow's, and so are its outputs."""
    from .flow import Flow

    flow = Flow(block.name)
    named = {each["handle"]: each for each in block.inputs_def or ()}
    inputs = {
        name: flow.input(name, **{k: v for k, v in each.items() if k != "handle"}) for name, each in named.items()
    }
    node = flow.node(block, inputs)
    for each in block.outputs_def or ():
        flow.output(each["handle"], node[each["handle"]])
    return flow


def plan_of_row(lines: Sequence[bytes]) -> Plan:
    """Return the plan in the first row of a session's journal."""
    from .flow.plan import Plan

    try:
        for line in lines:
            entry = orjson.loads(line)
            if entry.get("type") == "SessionStarted":
                return Plan.from_json(entry["plan"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise RemoteProtocolError(f"the session's first row isn't what rows are: {why:.300}") from error
    raise Rejected("the session's first row doesn't hold its plan", code="read")


def _newest(found: list[events.AnyEvent]) -> list[events.AnyEvent]:
    seen: set[tuple[str, str, str]] = set()
    kept: list[events.AnyEvent] = []
    for event in reversed(found):
        if isinstance(event, events.BlockProgress):
            key = ("progress", event.job_id, "")
        elif isinstance(event, events.BlockPreview) and event.id is not None:
            key = ("preview", event.job_id, event.id)
        else:
            kept.append(event)
            continue
        if key not in seen:
            seen.add(key)
            kept.append(event)
    return kept[::-1]


@asynccontextmanager
async def connect(
    url: str | None = None,
    token: str | None = None,
    *,
    timeout: float | None = FIRST_TIMEOUT,
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[Mainframe]:
    """Connect to the mainframe at ``url`` for the duration of the block.

    ``url`` and ``token`` default to ``ASYNCBLOCK_URL`` and ``ASYNCBLOCK_TOKEN``. ``headers`` go with the websocket's
    HTTP request, for proxies on the way, and so do those of ``ASYNCBLOCK_HEADERS`` (``NAME: VALUE`` lines). All users
    in one process share one link, and so one websocket. ``timeout`` (seconds) bounds the first connection; later losses
    are healed silently.
    **Cancellation** closes what was opened.
    Raises ``ConnectionLost`` naming the address when nobody answers in time, ``Unauthorized`` for a wrong token,
    ``RemoteProtocolError`` when whoever answers is no mainframe of this version.
    """
    url = url or os.environ.get("ASYNCBLOCK_URL")
    if not url:
        raise LocalProtocolError("no mainframe address: give a url or set ASYNCBLOCK_URL")
    token = token or os.environ.get("ASYNCBLOCK_TOKEN")
    async with open_link(url, token, timeout=timeout, tls=tls, headers=headers) as link:
        yield Mainframe(link, journal=shown_url(url))


_Key = tuple[Any, ...]
"""Address, token, TLS context and headers."""


@dataclass(slots=True, eq=False)
class _Held:
    """A link that is shared, and how many use it or wait for its first Welcome."""

    link: Link
    users: int = 0


class _SharedLinks:
    """The links of this process by address, token, TLS context and headers. On the I/O thread.

    Nobody waits for another's address here, and on one address each waits as long as it wants to.
    """

    def __init__(self) -> None:
        self._links: dict[_Key, _Held] = {}

    async def join(self, key: _Key, make: Callable[[], Link]) -> Link:
        """Return the link for a key, begun if need be, with one more user. ``leave`` it."""
        held = self._links.get(key)
        if held is None or held.link.over:
            held = self._links[key] = _Held(make())
            held.link.begin()
        held.users += 1
        return held.link

    async def leave(self, key: _Key, link: Link) -> None:
        """Take a user away; the last one closes the link."""
        held = self._links.get(key)
        if held is None or held.link is not link:
            # Another one stands there, for this link had ended before its users left.
            return
        held.users -= 1
        if held.users == 0:
            del self._links[key]
            await link.close()


_shared_links: dict[IOThread, _SharedLinks] = {}


@asynccontextmanager
async def open_link(
    url: str,
    token: str | None,
    *,
    timeout: float | None = FIRST_TIMEOUT,
    tls: ssl.SSLContext | None = None,
    headers: Mapping[str, str] | None = None,
    link_id: str | None = None,
    secret: str | None = None,
    replaces: dict[str, Any] | None = None,
) -> AsyncIterator[Link]:
    """Share this process's link to ``url``; the last user closes it.

    ``link_id``, its ``secret`` and ``replaces`` are given to a process by whoever started it.
    """

    split_address(url)
    check_headers(headers or {})
    more = {**headers_of(os.environ.get("ASYNCBLOCK_HEADERS", "")), **(headers or {})}
    shown = shown_url(url)

    async def dial() -> Transport:
        agent = f"asyncblock/{__version__}"
        return await connect_websocket(url, token, max_message=MAX_MESSAGE, tls=tls, agent=agent, headers=more)

    # Who trusts other authorities than those a link was made with doesn't get that link.
    key = (url, token, tls, *sorted(more.items()))
    async with shared().lease() as io:
        links = await io.run(_links_of(io))
        joining = asyncio.ensure_future(
            io.run(links.join(key, lambda: Link(io, dial, shown, link_id=link_id, secret=secret, replaces=replaces)))
        )
        try:
            await asyncio.shield(joining)
        except asyncio.CancelledError:
            # What has joined leaves: the thread ends with its last link only.
            await io.run(links.leave(key, await joining))
            raise
        link = joining.result()
        try:
            await io.run(link.welcomed(timeout))
            yield link
        finally:
            await asyncio.shield(io.run(links.leave(key, link)))


async def _links_of(io: IOThread) -> _SharedLinks:
    # On the I/O thread, so that one process has one table for each thread.
    return _shared_links.setdefault(io, _SharedLinks())
