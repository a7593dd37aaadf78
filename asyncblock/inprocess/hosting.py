"""Running a mainframe server on this process's I/O thread, for ``embedded`` and for the commands."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..runtime.iothread import IOThread

if TYPE_CHECKING:
    from ..server import MainframeServer
    from ..server.cluster.members import ClusterMember
    from ..server.settings import Settings

__all__ = ["hosted_mainframe", "hosted_member", "listening", "living_on"]

T = TypeVar("T")


async def _until_set(_: object, stop: asyncio.Event) -> None:
    await stop.wait()


@asynccontextmanager
async def living_on(
    io: IOThread,
    manager: AbstractAsyncContextManager[T],
    name: str,
    *,
    until: Callable[[T, asyncio.Event], Awaitable[None]] = _until_set,
    ended: Callable[[Exception], None] = lambda _: None,
) -> AsyncIterator[T]:
    """Enter an async context manager on the I/O thread, and leave it there in the same task.

    ``until`` waits there for the event that says that this block is left; when it raises, the manager is left early,
    ``ended`` is called with the error on the calling loop, and leaving the block raises it.
    """
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[T] = loop.create_future()
    done: asyncio.Future[None] = loop.create_future()
    stop = await io.run(_make_event())

    async def live() -> None:
        try:
            async with manager as value:
                loop.call_soon_threadsafe(_settle, ready, value, None)
                await until(value, stop)
        except Exception as error:
            loop.call_soon_threadsafe(_settle, ready, None, error)
            loop.call_soon_threadsafe(_settle, done, None, error)
            loop.call_soon_threadsafe(ended, error)
        else:
            loop.call_soon_threadsafe(_settle, done, None, None)

    io.post(lambda: io.spawn(live(), name))
    try:
        yield await asyncio.shield(ready)
    finally:
        io.post(stop.set)
        if not (ready.done() and ready.exception() is not None):
            await asyncio.shield(done)


async def _make_event() -> asyncio.Event:
    return asyncio.Event()


def _settle(future: asyncio.Future[Any], value: object, error: Exception | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)
        # The other future of the pair may be the one that is awaited.
        future.exception()


def hosted_mainframe(
    io: IOThread,
    data_dir: Path,
    settings: Settings | None = None,
    *,
    ended: Callable[[Exception], None] = lambda _: None,
) -> AbstractAsyncContextManager[MainframeServer]:
    """Run a mainframe server on the I/O thread for the duration of the block.

    When it meets an error that it can't go on with it ends at once, its data directory is free again, ``ended`` is
    called with ``MainframeFailed`` on the calling loop, and leaving the block raises that.
    """
    from ..server import MainframeServer

    return living_on(
        io, MainframeServer(data_dir, settings), "asyncblock mainframe", until=_while_it_works, ended=ended
    )


def hosted_member(
    io: IOThread, member: ClusterMember, *, ended: Callable[[Exception], None] = lambda _: None
) -> AbstractAsyncContextManager[ClusterMember]:
    """Run a member of a set on the I/O thread for the duration of the block, as ``hosted_mainframe``."""
    return living_on(io, member, "asyncblock member", until=_while_it_works, ended=ended)


async def _while_it_works(server: MainframeServer | ClusterMember, stop: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in (stop, server.failed)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
    if server.failure is not None:
        raise server.failure


def listening(
    io: IOThread, server: MainframeServer | ClusterMember, host: str, port: int, *, tls: ssl.SSLContext | None = None
) -> AbstractAsyncContextManager[str]:
    """Let a server on the I/O thread listen for the duration of the block; yields its address."""
    return living_on(io, server.listen(host, port, tls=tls), "asyncblock listener")
