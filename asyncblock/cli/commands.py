"""What the commands do. Each returns the exit code."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from .. import events
from ..client import Mainframe, Session, connect, open_link, resolve_flow
from ..embedding import embedded
from ..errors import Unavailable
from ..examples import examples as shipped
from ..hosting import hosted_mainframe, listening
from ..iothread import shared
from ..server.journal.datadir import default_data_dir, read_address, read_token
from ..workers import Workers
from .display import Display, open_display

__all__ = ["Wanted", "executor", "run", "serve", "sessions", "submit", "watch"]

_COMMAND_TIMEOUT = 5.0
"""Seconds that a command tries to reach a mainframe."""

_KEPT_RUNS = 20
"""Data directories of ``run`` that are kept for ``watch`` and resuming; older ones are deleted."""

EXIT_CODES = {"succeeded": 0, "failed": 1, "cancelled": 130}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A flow to run and how to tell of it."""

    flow: str
    inputs: dict[str, Any]
    search: tuple[Path, ...]
    json: bool


async def run(wanted: Wanted, workers: int, data_dir: Path | None) -> int:
    """Run a flow on a mainframe of its own."""
    plan = await asyncio.to_thread(resolve_flow, wanted.flow, wanted.inputs, wanted.search)
    directory = data_dir or _run_directory()
    async with embedded(directory, workers=workers, packages=tuple(plan.roots.values())) as mainframe:
        session = await mainframe.start(plan, wanted.inputs)
        async with open_display(wanted.json) as display:
            return await _follow(session, display, cancel=True)


async def submit(wanted: Wanted, url: str | None, token: str | None, data_dir: Path | None, detach: bool) -> int:
    """Start a flow on a running mainframe."""
    plan = await asyncio.to_thread(resolve_flow, wanted.flow, wanted.inputs, wanted.search)
    async with _mainframe(url, token, data_dir) as mainframe:
        session = await mainframe.start(plan, wanted.inputs)
        if detach:
            print(orjson.dumps({"session_id": session.session_id}).decode() if wanted.json else session.session_id)
            return 0
        async with open_display(wanted.json) as display:
            return await _follow(session, display, cancel=True)


async def watch(
    session_id: str, url: str | None, token: str | None, data_dir: Path | None, offset: int, json: bool
) -> int:
    """Follow a session that somebody started."""
    async with _mainframe(url, token, data_dir) as mainframe, open_display(json) as display:
        return await _follow(mainframe.session(session_id), display, cancel=False, offset=offset)


async def sessions(
    url: str | None, token: str | None, data_dir: Path | None, state: str | None, limit: int, json: bool
) -> int:
    """List sessions."""
    async with _mainframe(url, token, data_dir) as mainframe:
        found = await mainframe.sessions(state=state, limit=limit)
    for each in found:
        if json:
            print(orjson.dumps(each).decode())
        else:
            began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(each.created_at / 1000))
            print(f"{each.session_id}  {began}  {each.state:<9}  {each.title}")
    return 0


async def executor(
    url: str | None,
    token: str | None,
    data_dir: Path | None,
    packages: tuple[Path, ...],
    grace: float,
    sync_slots: int | None,
    ca_file: Path | None,
) -> int:
    """Keep an executor process running until told to leave."""
    url, token = _address(url, token, data_dir)
    tls = ssl.create_default_context(cafile=str(ca_file)) if ca_file else None
    # Asked first, so that a wrong address or token is said at once and here.
    async with open_link(url, token, timeout=_COMMAND_TIMEOUT, tls=tls):
        pass
    served = [*packages, *(example.root for example in shipped())]
    with _signals() as stop:
        async with Workers(
            url,
            token,
            1,
            served,
            grace=grace,
            sync_slots=sync_slots,
            ca_file=str(ca_file) if ca_file else None,
        ) as workers:
            print(f"executor for {url}, {len(served)} packages; Ctrl-C to leave", file=sys.stderr)
            await stop.wait()
    for report in workers.reports:
        print(report)
    return 0


async def serve(
    *,
    host: str,
    port: int,
    data_dir: Path | None,
    workers: int,
    synchronous: Literal["normal", "full"],
    token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    insecure: bool,
) -> int:
    """Serve a mainframe until told to stop."""
    from ..server.mainframe import Settings

    directory = data_dir or default_data_dir() / "mainframe"
    settings = Settings(synchronous=synchronous, token_file=token_file, insecure=insecure)
    tls = _server_tls(tls_cert, tls_key)
    with _signals() as stop:
        async with AsyncExitStack() as stack:
            io = await stack.enter_async_context(shared().lease())
            server = await stack.enter_async_context(hosted_mainframe(io, directory, settings))
            url = await stack.enter_async_context(listening(io, server, host, port, tls=tls))
            server.place.write_address({"url": url, "pid": os.getpid()})
            if workers:
                served = [example.root for example in shipped()]
                gone = _tell(io.post, server.executor_gone)
                await stack.enter_async_context(Workers(url, server.token, workers, served, gone=gone))
            print(f"mainframe at {url}, data in {directory}; Ctrl-C to stop", file=sys.stderr, flush=True)
            await stop.wait()
    return 0


def _tell(post: Callable[..., None], gone: Callable[[str, str], None]) -> Callable[[str, str], None]:
    return lambda link_id, reason: post(gone, link_id, reason)


def _server_tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise Unavailable("TLS needs both --tls-cert and --tls-key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise Unavailable(f"can't read the certificate {cert} with the key {key}: {error}") from error
    return context


async def _follow(session: Session, display: Display, *, cancel: bool, offset: int = 0) -> int:
    """Show a session's events to its end; an interrupt cancels it (or only stops watching)."""
    with _signals() as stop:
        watching = asyncio.create_task(_show(session, display, offset))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                return watching.result()
            if not cancel:
                return 130
            display.note("cancelling; once more to leave at once")
            await session.cancel("interrupted")
            await watching
            return 130
        finally:
            for task in (watching, stopping):
                task.cancel()
            await asyncio.wait({watching, stopping})


async def _show(session: Session, display: Display, offset: int) -> int:
    code = 1
    async for event in session.events(offset):
        if isinstance(event, events.SessionFinished) and event.bodies:
            values = {handle: await session.fetch(ref) for handle, ref in event.bodies.items()}
            event = events.SessionFinished(
                session_id=event.session_id,
                offset=event.offset,
                t=event.t,
                state=event.state,
                error=event.error,
                outputs={**event.outputs, **values},
            )
        display.show(event)
        if isinstance(event, events.SessionFinished):
            code = EXIT_CODES.get(event.state, 1)
    return code


class _signals:
    """SIGINT and SIGTERM set an event; a second one leaves at once."""

    def __enter__(self) -> asyncio.Event:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._seen)
        return self._stop

    def _seen(self) -> None:
        if self._stop.is_set():
            os._exit(130)
        self._stop.set()

    def __exit__(self, *exc: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.remove_signal_handler(number)


@asynccontextmanager
async def _mainframe(url: str | None, token: str | None, data_dir: Path | None) -> AsyncIterator[Mainframe]:
    url, token = _address(url, token, data_dir)
    async with connect(url, token, timeout=_COMMAND_TIMEOUT) as mainframe:
        yield mainframe


def _address(url: str | None, token: str | None, data_dir: Path | None) -> tuple[str, str | None]:
    """Find the mainframe: as told, or the one that is served from the data directory."""
    directory = data_dir or default_data_dir() / "mainframe"
    if url is None:
        address = read_address(directory)
        if address is None:
            raise Unavailable(
                f"no mainframe is served from {directory}; start one with 'asyncblock serve', or give --url and --token"
            )
        url = str(address["url"])
    return url, token or read_token(directory)


def _run_directory() -> Path:
    """Make a data directory for one run, and delete the oldest of earlier ones."""
    import shutil

    parent = default_data_dir() / "runs"
    older = sorted(parent.glob("*"), key=lambda path: path.name) if parent.is_dir() else []
    for path in older[: max(len(older) - _KEPT_RUNS + 1, 0)]:
        shutil.rmtree(path, ignore_errors=True)
    return parent / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
