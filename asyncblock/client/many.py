"""Many runs of one flow at once: bounded, in order or as they come, and what fails keeps nothing from the others."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from ..errors import AsyncBlockError, FlowFailed, MapFailed, Rejected
from ..shapes import Results, by_handle

if TYPE_CHECKING:
    from ..flow.plan import Plan

__all__ = ["Many", "MapResult", "group_of", "index_of", "is_group", "new_group", "reason_of_group"]

_GROUP: Final = re.compile(r"m[0-9a-z]{9}")
_ID: Final = re.compile(r"(m[0-9a-z]{9})n[0-9]{5,}")
"""The ids of a group's sessions begin with the group's; no other id, which is hexadecimal, begins so."""

_LETTERS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"

Load = Callable[[Mapping[str, Any]], Awaitable["Plan"]]


class EndOfOne(Protocol):
    """How a session is: ``client.SessionInfo``."""

    @property
    def error(self) -> str | None:
        """Why it ended without success."""
        ...


class Running(Protocol):
    """A session, of which this file asks no more than this: ``client.Session``."""

    async def outputs(self) -> dict[str, Any]:
        """Wait for its end and return its outputs."""
        ...

    async def cancel(self, reason: str = ..., /) -> None:
        """Cancel it."""
        ...

    async def info(self) -> EndOfOne:
        """Say how it is."""
        ...


S = TypeVar("S", bound=Running)
Start = Callable[["Plan", Mapping[str, Any], str], Awaitable[S]]


def new_group() -> str:
    """Return the id of a new group."""
    return "m" + "".join(secrets.choice(_LETTERS) for _ in range(9))


def is_group(text: str) -> bool:
    """Tell whether a text is a group's id."""
    return _GROUP.fullmatch(text) is not None


def new_id(group: str, index: int) -> str:
    """Return the id of a group's session."""
    return f"{group}n{index:05}"


def group_of(session_id: str) -> str | None:
    """Return the group that a session belongs to; None for one that was started alone."""
    found = _ID.fullmatch(session_id)
    return None if found is None else found[1]


def index_of(session_id: str) -> int:
    """Return the place of a session in its group; -1 for one that was started alone."""
    return -1 if group_of(session_id) is None else int(session_id[11:])


def reason_of_group(group: str, reason: str) -> str:
    """Say that all of a group are cancelled: a caller that starts its sessions begins no more by these words."""
    return f"group {group} is cancelled" + ("" if reason == "cancelled" else f": {reason}")


@dataclass(frozen=True, slots=True)
class MapResult:
    """How one of many runs has ended."""

    index: int
    """Its place among the items."""
    inputs: dict[str, Any]
    session_id: str
    outputs: dict[str, Any] = field(default_factory=dict)
    error: AsyncBlockError | None = None
    """Why it has none: ``FlowFailed``, or why it couldn't be started."""


class Many(Generic[S]):
    """Runs of one flow, one for each item. Get one from ``Mainframe.map``; nothing runs before it is awaited.

    ``await many`` gives the outputs in the order of the items; iterating gives a ``MapResult`` for each as it ends.
    """

    def __init__(
        self, load: Load, start: Start[S], handle: Callable[[str], S], items: Iterable[Results], limit: int
    ) -> None:
        self._load = load
        self._start = start
        self._handle = handle
        self._items = iter(items)
        self._limit = limit
        self._sessions: dict[str, S] = {}
        """Those that haven't ended."""
        self._cancelled: str | None = None
        self.group = new_group()
        """What the ids of its sessions begin with, and how they are listed together."""

    def __await__(self) -> Generator[Any, None, list[dict[str, Any]]]:
        return self._outputs().__await__()

    async def _outputs(self) -> list[dict[str, Any]]:
        """Wait for all runs and return their outputs in order.

        **Cancellation** cancels all of them. Raises ``InvalidFlow`` when none can be run, ``MapFailed``, with all
        results, when any has failed.
        """
        async with aclosing(self._results()) as ended:
            found = sorted([each async for each in ended], key=lambda each: each.index)
        if any(each.error is not None for each in found):
            raise MapFailed(_words(found), results=found)
        return [each.outputs for each in found]

    def __aiter__(self) -> AsyncIterator[MapResult]:
        return self._results()

    async def _results(self) -> AsyncGenerator[MapResult]:
        """Iterate over the results as the runs end. **Cancellation**, and leaving the loop, cancels those that run."""
        plan: Plan | None = None
        running: set[asyncio.Task[MapResult]] = set()
        index, more = 0, True
        try:
            while True:
                while more and len(running) < self._limit and self._cancelled is None:
                    try:
                        item = next(self._items)
                    except StopIteration:
                        more = False
                        break
                    inputs = dict(by_handle(item))
                    if plan is None:
                        # Once for all of them: what is wrong with the flow is no item's.
                        plan = await self._load(inputs)
                    running.add(asyncio.create_task(self._one(plan, index, inputs)))
                    index += 1
                if not running:
                    return
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            if running:
                await self._give_up(running)

    async def begin(self) -> list[S]:
        """Start all of them at once, wait for none, and return their sessions in order.

        **Durability**: on return each is in the journal. **Cancellation** leaves those that were started.
        Raises ``InvalidFlow`` and ``Rejected`` for the first that can't be started.
        """
        begun: list[S] = []
        plan: Plan | None = None
        for index, item in enumerate(self._items):
            inputs = dict(by_handle(item))
            plan = plan or await self._load(inputs)
            begun.append(await self._start(plan, inputs, new_id(self.group, index)))
        return begun

    async def cancel(self, reason: str = "cancelled") -> None:
        """Cancel all of them: those that run may clean up, no further ones begin.

        **Durability**: on return each cancel is in the journal. **Cancellation** leaves those standing that were sent.
        """
        self._cancelled = reason
        await asyncio.gather(*(_cancel(session, reason) for session in list(self._sessions.values())))

    async def _one(self, plan: Plan, index: int, inputs: dict[str, Any]) -> MapResult:
        session_id = new_id(self.group, index)
        try:
            # Before it is there: a cancel that comes meanwhile may find it.
            self._sessions[session_id] = self._handle(session_id)
            session = await self._start(plan, inputs, session_id)
            if self._cancelled is not None:
                await session.cancel(self._cancelled)
            return MapResult(index, inputs, session_id, await session.outputs())
        except AsyncBlockError as error:
            if self._cancelled is None and isinstance(error, FlowFailed) and error.state == "cancelled":
                await self._heed(self._handle(session_id))
            return MapResult(index, inputs, session_id, error=error)
        finally:
            self._sessions.pop(session_id, None)

    async def _heed(self, cancelled: S) -> None:
        """If the whole group was cancelled elsewhere, cancel the sessions that this missed, and begin no more."""
        reason = (await cancelled.info()).error or ""
        if reason_of_group(self.group, "cancelled") in reason:
            await self.cancel(reason)

    async def _give_up(self, running: set[asyncio.Task[MapResult]]) -> None:
        sessions = list(self._sessions.values())
        self._cancelled = self._cancelled or "its caller has left"
        for task in running:
            task.cancel()
        orders = [asyncio.ensure_future(_cancel(session, self._cancelled)) for session in sessions]
        await asyncio.shield(asyncio.gather(*running, *orders, return_exceptions=True))


async def _cancel(session: Running, reason: str) -> None:
    try:
        await session.cancel(reason)
    except Rejected:
        # It isn't there: it couldn't be started, or will see by itself that it is not to run.
        return


def _words(found: list[MapResult]) -> str:
    failed = [each for each in found if each.error is not None]
    told = [f"item {each.index}: {each.error}" for each in failed[:3]]
    more = [f"and {len(failed) - 3} more"] if len(failed) > 3 else []
    return f"{len(failed)} of {len(found)} runs failed: {'; '.join([*told, *more])}"
