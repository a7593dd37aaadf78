"""A mainframe inside the process: no server, no port, the same wire. It lives on the I/O thread."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..block import AnyBlock
from ..client import Mainframe
from ..errors import DataDirInUse
from ..executor import Executor
from ..executor.attribution import capture as capturing
from ..link import Link
from ..runtime.iothread import IOThread, shared
from ..runtime.offload import wait_in_thread
from ..runtime.scratch import Scratch
from ..transport import Transport
from ..transport.memory import memory_pair
from .hosting import hosted_mainframe, listening

if TYPE_CHECKING:
    from ..server import MainframeServer
    from ..server.settings import Settings

__all__ = ["embedded", "memory_link"]


@asynccontextmanager
async def embedded(
    data_dir: str | Path | None = None,
    *,
    blocks: Iterable[AnyBlock] = (),
    packages: Sequence[str | Path] = (),
    workers: int = 0,
    capture: bool = False,
    accept: Sequence[str] = (),
    offers: Mapping[str, Any] | None = None,
    labels: Sequence[str] = (),
    settings: Settings | None = None,
) -> AsyncIterator[Mainframe]:
    """Run a mainframe in this process for the duration of the block, with an executor on the calling loop.

    ``data_dir`` keeps the journal (default: a temporary directory, deleted at the end); sessions that were running in
    it go on. ``workers=N`` runs blocks in N child processes instead, over a loopback port with a random token.
    ``capture=True`` makes ``print`` and ``logging`` of blocks lines of their jobs, for which it patches this process's
    streams and loggers; ``ctx.logger`` needs no patching. ``accept`` are versions whose sessions go on under the code
    that is here, ``offers`` and ``labels`` what there is for blocks with ``needs``, as of ``Executor``. ``settings``
    are the mainframe's: durability, times, limits.
    **Cancellation** ends it in order: blocks are cancelled and may clean up.
    Raises ``DataDirInUse``, an ``Unavailable``, when another process has a mainframe in the data directory: several
    processes of a service connect to one that is served. Should the mainframe meet an error that it can't go on
    with, every call that waits for it raises ``MainframeFailed`` then, and leaving the block does.
    """
    async with AsyncExitStack() as stack:
        journal = None if data_dir is None else str(data_dir)
        if data_dir is None:
            # With a lock that goes with this process: where it is killed, another one removes the directory.
            scratch = Scratch(Path(tempfile.gettempdir()))
            stack.callback(scratch.close)
            data_dir = await wait_in_thread(scratch.directory)
        io = await stack.enter_async_context(shared().lease())
        server = await stack.enter_async_context(_own_mainframe(io, Path(data_dir), settings))
        await io.run(_bury(server))
        let_in = partial(_accept, server)
        link = await stack.enter_async_context(memory_link(io, let_in, "the embedded mainframe"))
        if workers:
            from ..childprocesses.workers import Workers

            server.sessions.dispatch.absence.own = True

            url = await stack.enter_async_context(listening(io, server, "127.0.0.1", 0))
            pool = await stack.enter_async_context(
                Workers(
                    url,
                    server.token,
                    workers,
                    packages,
                    mainframe_in_parent=True,
                    gone=lambda link_id, why: io.post(server.executor_gone, link_id, why),
                    held=lambda link_id, _, held: io.post(partial(server.executor_held, link_id, **held.to_json())),
                    accept=accept,
                    offers=offers,
                    labels=labels,
                )
            )
            # So that commands can follow and cancel what runs here.
            server.place.write_address({"url": url, "pid": os.getpid()})
            if workers > 1:
                await pool.ready()
            yield Mainframe(link, local=pool, journal=journal)
            return
        if capture:
            capturing.install()
            stack.callback(capturing.uninstall)
        executor = Executor(blocks, packages, capture=capture, accept=accept, offers=offers, labels=labels)
        mainframe = Mainframe(link, local=executor, journal=journal)
        await stack.enter_async_context(executor.attached(mainframe))
        yield mainframe


@asynccontextmanager
async def _own_mainframe(io: IOThread, data_dir: Path, settings: Settings | None) -> AsyncIterator[MainframeServer]:
    """Run a mainframe on the I/O thread; say for a library, not for a command, that its directory is in use."""
    try:
        async with hosted_mainframe(io, data_dir, settings) as server:
            yield server
    except DataDirInUse as error:
        where = "this process" if error.holder == str(os.getpid()) else f"process {error.holder}"
        raise DataDirInUse(
            f"the data directory {error.path} has a mainframe already, in {where}. Several processes of a service "
            "(uvicorn --workers, gunicorn -w) share one that is served: serve + connect, that is "
            f"'asyncblock serve --data-dir {error.path}' once, and asyncblock.connect(url, token) in each of them "
            "instead of embedded(). For a mainframe of this process's own give embedded() another directory, or none",
            path=error.path,
            holder=error.holder,
        ) from error


def _accept(server: MainframeServer, transport: Transport) -> None:
    """Let a connection in; after the mainframe has failed, its error is what everything raises that waits for it."""
    if server.failure is not None:
        raise server.failure
    server.accept_soon(transport)


async def _bury(server: MainframeServer) -> None:
    """End the leases that the journal still knows: whoever held them ended with the process that had this mainframe."""
    for link in list(server.sessions.dispatch.links.values()):
        server.executor_gone(link.link_id, "the process that hosted its mainframe has ended")


@asynccontextmanager
async def memory_link(io: IOThread, accept: Callable[[Transport], None], address: str) -> AsyncIterator[Link]:
    """Open a link to a mainframe on the I/O thread for the duration of the block; ``accept`` is called there."""

    async def dial() -> Transport:
        ours, theirs = memory_pair()
        accept(theirs)
        return ours

    async def make() -> Link:
        return Link(io, dial, address)

    link = await io.run(make())
    await link.open()
    try:
        yield link
    finally:
        await link.close()
