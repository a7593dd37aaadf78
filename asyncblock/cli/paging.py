"""What ``asyncblock page`` and ``asyncblock run --page`` do."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
import tempfile
import webbrowser
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from ..client.many import is_group
from ..errors import Unavailable
from ..page.markup import el
from ..runtime.scratch import Scratch
from ..server.journal.datadir import holder
from .interrupts import Interrupts
from .sessioncommands import is_local, only, unknown
from .targets import Target, reach

__all__ = ["Listen", "PageBeside", "page", "page_beside"]

_PATIENCE = 20.0
"""Seconds that the page's process has to begin."""


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the page is served, and for whom."""

    host: str = "127.0.0.1"
    port: int | None = None
    tls: ssl.SSLContext | None = None
    allowed: tuple[str, ...] = ()
    """Further values of the Host header."""
    browser: bool = True
    flows: tuple[Path, ...] = ()
    """Directories with flows that may be started from the page."""
    until_eof: bool = False
    """Leave when stdin ends: the process that has started this one holds it open."""


async def page(name: str | None, target: Target, listen: Listen) -> int:
    """Serve the page until told to leave."""
    try:
        from ..viewer import Sources, serving
        from .kept import KeptRuns
    except ModuleNotFoundError as error:
        raise Unavailable(f"the page needs {error.name}: pip install 'asyncblock[page]'") from error
    if listen.host not in ("127.0.0.1", "localhost", "::1") and listen.tls is None and not listen.allowed:
        raise Unavailable(
            f"a page on {listen.host} would send its token in the clear: give --tls-cert and --tls-key, or, behind a "
            "proxy that does TLS, --allow-host with the name that browsers use"
        )
    if missing := [str(each) for each in listen.flows if not each.is_dir()]:
        raise Unavailable(f"there is no directory {', '.join(missing)}; --flows takes packages, or what holds them")
    stop = asyncio.Event()
    with Interrupts() as interrupts:
        async with AsyncExitStack() as stack:
            several = name is None or is_group(name)
            served = target.url is not None or (several and holder(target.directory) is not None)
            kept = KeptRuns(*(() if target.url is not None else (target.directory,)), local=is_local(target))
            session_id = ""
            if name is not None and not served:
                runs = await asyncio.to_thread(kept.runs, name)
                exact = [run for run in runs if run.row.session_id == name]
                if not runs:
                    raise unknown(name, target.directory)
                session_id = name if several else only(name, exact or runs).row.session_id
            mainframe = await stack.enter_async_context(reach(target)) if served else None
            if listen.flows and mainframe is None:
                raise Unavailable(
                    "--flows needs a mainframe to start them on: asyncblock serve, or --url; a flow that has one of "
                    "its own is started by asyncblock run FLOW --page"
                )
            if name is not None and mainframe is not None:
                known = await mainframe.sessions(prefix=name, limit=2)
                if len(known) != 1 and not (several and known) and name not in [each.session_id for each in known]:
                    words = "several sessions begin" if known else "no session begins"
                    raise Unavailable(f"{words} with {name!r} on the mainframe at {mainframe.address}")
                session_id = name if several or len(known) != 1 else known[0].session_id
            roles = frozenset((await mainframe.info())["roles"]) if mainframe is not None else frozenset({"client"})
            if not roles & {"client", "observer"}:
                raise Unavailable(f"the token may not look at sessions; its roles are {', '.join(sorted(roles))}")
            token = target.address()[1] if mainframe is not None else None
            # If a mainframe serves the directory, it is asked; its journal would say less.
            own = None if target.url is not None else kept if mainframe is None else KeptRuns(local=is_local(target))
            sources = Sources(mainframe, own, roles=roles, flows=listen.flows)
            served_page = await stack.enter_async_context(
                serving(
                    sources, host=listen.host, port=listen.port, token=token, tls=listen.tls, allowed=listen.allowed
                )
            )
            address = served_page.way_in(session_id)
            print(f"page: {address}", flush=True)
            if not listen.until_eof:
                print("The address works once; Ctrl-C ends the page, and nothing else.", file=sys.stderr, flush=True)
            if listen.browser and _has_display():
                # The browser gets an address of its own: each works once, and the printed one must still work.
                scratch = Scratch(Path(tempfile.gettempdir()))
                stack.callback(scratch.close)
                _open(served_page.way_in(session_id), scratch)
            if listen.until_eof:
                await stack.enter_async_context(_ends_with_stdin(stop))
            with interrupts.handled_by(stop.set):
                await stop.wait()
    return 0


@asynccontextmanager
async def _ends_with_stdin(stop: asyncio.Event) -> AsyncIterator[None]:
    class Ended(asyncio.Protocol):
        def connection_lost(self, exc: Exception | None) -> None:
            stop.set()

        def eof_received(self) -> bool:
            stop.set()
            return False

    transport, _ = await asyncio.get_running_loop().connect_read_pipe(Ended, sys.stdin)
    try:
        yield
    finally:
        transport.close()


def _has_display() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open(address: str, scratch: Scratch) -> None:
    """Open a browser with a file that redirects to the address: all users could see it among a process's arguments."""
    # Only this user can read the directory.
    file = scratch.directory() / "page.html"
    meta = el("meta", http_equiv="refresh", content=f"0;url={address}")
    file.write_text(f"<!doctype html>{meta}")
    webbrowser.open(file.as_uri())


# ---------------------------------------------------------------------- beside a run


class PageBeside:
    """The page of a run, in a process of its own."""

    def __init__(self, address: str, process: asyncio.subprocess.Process) -> None:
        self.address = address
        self._process = process

    async def stay(self, interrupts: Interrupts) -> None:
        """Keep the page until an interrupt, if the command runs on a terminal, from where one can come."""
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            return
        print("The run has ended; its page stays until Ctrl-C.", file=sys.stderr, flush=True)
        stop = asyncio.Event()
        with interrupts.handled_by(stop.set):
            waiting = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(self._process.wait())]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in waiting:
                each.cancel()


@asynccontextmanager
async def page_beside(session_id: str, directory: Path) -> AsyncIterator[PageBeside]:
    """Serve the page of a run for the duration of the block. Its end, or its death, ends nothing else.

    Raises ``Unavailable`` with what it said when it doesn't begin.
    """
    # In a group of its own: Ctrl-C is meant for the run, and the page stays to show how the run ended.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "asyncblock", "page", session_id, "--data-dir", str(directory.absolute()), "--until-eof",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None and process.stdin is not None
    told = asyncio.ensure_future(process.stderr.read())
    try:
        line = b""
        try:
            async with asyncio.timeout(_PATIENCE):
                line = await process.stdout.readline()
        except TimeoutError:
            pass
        if not line.startswith(b"page: "):
            if process.returncode is None:
                process.kill()
            words = (await told).decode("utf-8", "replace").strip().removeprefix("asyncblock: ")
            raise Unavailable(words or f"the page's process didn't begin within {_PATIENCE:g} s")
        yield PageBeside(line.decode().split()[1], process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        process.stdin.close()
        await process.wait()
        await told
