"""Mainframe: a handle on a mainframe, over a link; ``connect`` gives one for the duration of a block."""

from __future__ import annotations

import logging
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..block import AnyBlock
from ..errors import InvalidFlow, InvalidInputs, LocalProtocolError, Problem
from ..link import FIRST_TIMEOUT, Link
from ..metadata import gathered
from ..runtime.offload import wait_in_thread
from ..shapes import Results, by_handle
from ..transport.addresses import shown_url
from ..values.pieces import dumps_pieces
from ..values.schemas import misfits
from .connecting import open_links
from .encoding import encoded
from .listed import Pruned, SessionInfo, session_info
from .many import Many
from .resolving import flow_of, plan_of, resolve_flow
from .sessionhandle import Session
from .setlinks import SetLinks

if TYPE_CHECKING:
    from ..flow import Flow
    from ..flow.plan import Plan
    from ..retrying import Retry

__all__ = ["LocalHost", "Mainframe", "connect"]

logger = logging.getLogger("asyncblock.client")

_PAGE = 1000
"""Sessions that a mainframe lists at once."""


class LocalHost(Protocol):
    """An executor in this process that learns of a plan's packages before the plan is started."""

    async def serve_plan(self, plan: Plan) -> None:
        """Announce the packages and blocks of a plan."""
        ...

    def hurry(self) -> None:
        """Give running jobs no more time than for their clean-up when this is left."""
        ...

    def session_starts(self, session_id: str, plan: Plan) -> None:
        """Note the session's caller, and the blocks that are meant in it."""
        ...

    def session_refused(self, session_id: str) -> None:
        """Forget it: the session has not been started after all."""
        ...


class Mainframe:
    """A handle on a mainframe. Get one from ``connect`` or ``embedded``; any task of any loop may use it."""

    def __init__(self, *links: Link, local: LocalHost | None = None, journal: str | None = None) -> None:
        """``links`` are those to the partitions of a set, by their numbers, or the only one."""
        self.link = links[0]
        self.links = SetLinks(links)
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
        values = {name: await encoded(value, name) for name, value in given.items()}
        params = {"session_id": session_id, "plan": plan.to_json(), "inputs": values, "title": title}
        if metadata:
            params["metadata"] = dict(metadata)
        if self._local is not None:
            self._local.session_starts(session_id, plan)
        try:
            await self.links.of(session_id).request("start", params, id=session_id)
        except Exception:
            if self._local is not None:
                self._local.session_refused(session_id)
            raise
        return Session(self.links.of(session_id), session_id, self._journal)

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
        from ..retrying import OverLink, prepare

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
        past = OverLink(self.links.of(session_id))
        return await prepare(past, session_id, load, self.start, from_node=from_node, inputs=given)

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
        """Return a handle on a session, whoever started it."""
        return Session(self.links.of(session_id), session_id, self._journal)

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
            rows = await self.links.sessions(params)
            page = [info for row in rows if (info := session_info(row)).session_id not in found]
            found.update((info.session_id, info) for info in page if info.session_id.startswith(prefix))
            if len(rows) < params["limit"] or not page:
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
        params: dict[str, Any] = {"older_ms": None if older is None else int(older * 1000), "keep": keep}
        if keep and not self.links.alone:
            if (oldest := await self._oldest_of(keep)) is None:
                return Pruned((), 0)
            # Each partition knows only the newest of its own.
            params = {**params, "keep": None, "before": [oldest.created_at, oldest.session_id]}
        gone: list[str] = []
        freed, more = 0, True
        while more:
            answers = await self.links.ask_all("prune", params)
            for answer in answers:
                gone += answer["sessions"]
                freed += answer["bytes"]
            more = any(answer.get("more", False) for answer in answers)
        return Pruned(tuple(gone), freed)

    async def _oldest_of(self, count: int) -> SessionInfo | None:
        """Return the oldest of so many of the newest sessions that have ended; None where there are fewer."""
        before: SessionInfo | None = None
        while page := await self.sessions(limit=_PAGE, before=before):
            for before in page:
                count -= before.state != "running"
                if not count:
                    return before
        return None

    async def info(self) -> dict[str, Any]:
        """Return how the mainframe is: version, clock, this token's roles, languages, limits, journal and disk.

        **Cancellation** is safe.
        """
        return await self.links.info()

    async def executors(self) -> list[dict[str, Any]]:
        """Return the executors that are there: what they have and do, and what keeps them from it.

        **Cancellation** is safe. Raises ``Rejected`` when the mainframe is an older one, which doesn't tell.
        """
        return list((await self.links.executors())["executors"])

    async def drain(self, link: str, drained: bool = True) -> None:
        """Let an executor take no new jobs (``link`` is its id in ``executors``), or take them again.

        What runs there goes on, and so do sessions that have values in its memory: it is empty when they have ended.
        **Durability**: none; it holds until the executor or the mainframe begins again.
        **Cancellation** leaves the order standing if it was sent. Raises ``Rejected`` when no such executor is there,
        ``Unauthorized`` when the token may only watch.
        """
        await self.links.drain({"link": link, "drained": drained})

    async def cancel_job(
        self, session_id: str, job_id: str, reason: str = "cancelled", *, prefix: bool = False
    ) -> None:
        """Cancel one job; its flow fails unless the block's retry policy says otherwise.

        With ``prefix`` the beginning of its id is enough.
        **Cancellation** leaves the cancel standing if it was sent.
        """
        params = {"session_id": session_id, "job_id": job_id, "reason": reason}
        link = self.links.of(session_id)
        await link.request("cancel_job", {**params, "prefix": True} if prefix else params)


def _tell_oddities(plan: Plan) -> None:
    """Log what is odd about a flow and doesn't keep it from running. A caller that gives a plan has its warnings."""
    for warning in plan.warnings:
        logger.warning("flow %r: %s", plan.title, warning)


def _check_inputs(plan: Plan, inputs: Mapping[str, object]) -> None:
    problems = misfits(
        plan.inputs_def, {name: b"".join(dumps_pieces(value, handle=name)) for name, value in inputs.items()}
    )
    if problems:
        words = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        raise InvalidInputs(f"flow {plan.title!r} can't be run with these inputs: {words}", problems=problems)


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

    ``url`` and ``token`` default to ``ASYNCBLOCK_URL`` and ``ASYNCBLOCK_TOKEN``. Of a set of mainframes ``url`` names
    several, with commas: one serves, and the link follows it; where the set has several partitions there is a link to
    each. ``headers`` go with the websocket's HTTP request, for proxies on the way, and so do those of
    ``ASYNCBLOCK_HEADERS`` (``NAME: VALUE`` lines). All users in one process share a link, and so a websocket.
    ``timeout`` (seconds) bounds the first connections; later losses are healed silently.
    **Cancellation** closes what was opened.
    Raises ``ConnectionLost`` naming the address when nobody answers in time, ``Unauthorized`` for a wrong token,
    ``RemoteProtocolError`` when whoever answers is no mainframe of this version.
    """
    url = url or os.environ.get("ASYNCBLOCK_URL")
    if not url:
        raise LocalProtocolError("no mainframe address: give a url or set ASYNCBLOCK_URL")
    token = token or os.environ.get("ASYNCBLOCK_TOKEN")
    async with open_links(url, token, timeout=timeout, tls=tls, headers=headers) as links:
        yield Mainframe(*links, journal=shown_url(url))
