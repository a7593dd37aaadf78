"""Retries and resumes of local runs that the page starts, by the same commands that a user would type in a terminal.

The command outlives the page that has started it. It writes the id of the session that it has begun to a pipe, and
everything else to a file in the run's directory.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..blockcode.packages import package_hash, package_name
from ..client.resolving import plan_of_row, resolve_flow
from ..errors import Unavailable
from ..flow.needed import tasks_of
from ..flow.plan import Plan
from ..inprocess.runs import local_runs, packages_of_run
from ..link.questions import Rows
from ..retrying import prepare
from ..runtime.offload import run_in_thread
from ..server.journal.peek import PeekedSession, peek_session
from ..wire.bodies import BodyRef

if TYPE_CHECKING:
    from ..viewer.onwards import EditedCode

__all__ = ["FD_OPTION", "GoesOn", "tell_begun"]

FD_OPTION: Final = "--begun-fd"
"""Names the pipe's descriptor on the command line."""

_PATIENCE: Final = 60.0
"""Seconds that a command has to begin: a large journal is read first."""

_END_PATIENCE: Final = 5.0
"""Seconds that may pass between the end of its pipe and the end of the process, as they are noticed here."""

_SAID: Final = 4_000
"""Bytes from the end of its output that are shown if it didn't begin."""


def tell_begun(fd: int | None, session_id: str) -> None:
    """Tell the process that has started this command which session it has begun."""
    if fd is None:
        return
    try:
        with open(fd, "wb", buffering=0) as told:
            told.write(f"{session_id}\n".encode())
    except OSError:
        pass  # that process has ended


class GoesOn:
    """A session of a local run in its data directory."""

    def __init__(self, directory: Path, session_id: str) -> None:
        self._directory = directory
        self._session_id = session_id

    @property
    def can_retry(self) -> bool:
        """Tell whether the command finds it: it is one of the last local runs. Reads files."""
        return self._directory.absolute() in [each.absolute() for each in local_runs()]

    @property
    def can_resume(self) -> bool:
        """Tell whether the command can go on with it. Reads files."""
        return bool(packages_of_run(self._directory))

    async def told(self) -> dict[str, Any]:
        """Return what stays as it was (``kept``), and why what runs again does (``again``).

        Its journal is read without being opened: nothing begins. **Cancellation** is safe. Raises as
        ``Mainframe.plan_retry``.
        """
        with peek_session(self._directory, self._session_id) as found:
            made = await prepare(
                _Peeked(found), self._session_id, self._load, _starts_nothing, from_node=None, inputs={}
            )
        return {"kept": made.kept, "again": made.again}

    async def _load(self, path: str | None, shape: Callable[[Plan], Plan]) -> Plan:
        if path is None:
            raise Unavailable(
                "it ran a flow that was built in Python: run it from there, by Mainframe.retry(..., flow)"
            )
        return await run_in_thread(lambda: resolve_flow(path, {}, (), shape=shape))

    async def edited(self) -> list[EditedCode]:
        """Return the packages that were edited since the session began.

        **Cancellation** is safe. Raises ``Unavailable`` when its journal can't be read.
        """
        return await run_in_thread(self._edited)

    def _edited(self) -> list[EditedCode]:
        # Only the page asks, and its extra need not be there: all commands come by here.
        from ..viewer.onwards import EditedCode

        with peek_session(self._directory, self._session_id) as found:
            rows = found.rows(0)
        if not rows:
            return []
        began = {
            (str(node.block["package"]), str(node.block["hash"]))
            for _, node in tasks_of(plan_of_row(rows[0][1]))
            if node.block.get("hash") and node.block.get("package")
        }
        roots = [root for each in packages_of_run(self._directory) if (root := Path(each)).is_dir()]
        now = {package_name(root): package_hash(root) for root in roots}
        return [
            EditedCode(package, version, now[package])
            for package, version in sorted(began)
            if package in now and version not in now.values()
        ]

    async def start(self) -> str:
        """Run it again from where it failed, in a new session of the same run; return its id.

        **Cancellation** may leave it started. Raises ``Unavailable`` with what the command said.
        """
        return await self._begin("retry", self._session_id)

    async def resume(self, accept: Sequence[str] = ()) -> None:
        """Go on with it; blocks of the versions that are accepted run the code that is there.

        **Cancellation** and what it raises are as for ``start``.
        """
        more = [each for version in accept for each in ("--accept", version)]
        await self._begin("resume", self._session_id, "--data-dir", str(self._directory.absolute()), *more)

    async def _begin(self, *command: str) -> str:
        loop = asyncio.get_running_loop()
        said = self._directory / f"{command[0]}.log"
        ended = asyncio.Event()
        reader = asyncio.StreamReader()
        read, write = os.pipe()
        ours = open(read, "rb", buffering=0)  # noqa: SIM115, ASYNC230  # a pipe, which the transport closes
        try:
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), ours)
        except BaseException:
            # After a cancel too: nothing else has a reference by which to close the two ends.
            ours.close()
            os.close(write)
            raise
        try:
            await run_in_thread(_spawn, command, write, said, lambda: loop.call_soon_threadsafe(ended.set))
            told, ending = asyncio.ensure_future(reader.readline()), asyncio.ensure_future(ended.wait())
            try:
                await asyncio.wait({told, ending}, timeout=_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
                if told.done() != ending.done() and not (told.done() and told.result()):
                    # Two events of one process arrive in any order: the id may be in the pipe when the end is noticed,
                    # and the pipe's end is noticed before the process's.
                    await asyncio.wait({told, ending}, timeout=_END_PATIENCE)
                line = told.result() if told.done() else b""
            finally:
                told.cancel()
                ending.cancel()
        finally:
            transport.close()
        if line:
            return line.decode().strip()
        if not ended.is_set():
            raise Unavailable(f"'asyncblock {command[0]}' didn't begin within {_PATIENCE:g} s; it writes to {said}")
        raise Unavailable(await run_in_thread(_last_words, said) or f"'asyncblock {command[0]}' ended and said nothing")


class _Peeked:
    """A journal that isn't open here, for a retry that is only looked at."""

    def __init__(self, found: PeekedSession) -> None:
        self._found = found

    async def read(self, session_id: str, offset: int) -> Rows:
        """Return some rows from an offset. **Cancellation** is safe."""
        rows = await run_in_thread(self._found.rows, offset)
        return Rows(rows, rows[-1][0] + 1 if rows else offset, not rows)

    async def content(self, body: BodyRef) -> bytes:
        """Return a body. **Cancellation** is safe. Raises ``Unavailable`` when it isn't there."""
        return await run_in_thread(self._found.body, body.link or "", body.n)


async def _starts_nothing(plan: Plan, inputs: Mapping[str, Any], /, *, title: str, metadata: Mapping[str, Any]) -> None:
    raise AssertionError("it is only looked at")


def _spawn(command: tuple[str, ...], write: int, said: Path, ended: Any) -> None:
    """Start a command in a session of its own, and a thread that waits for its exit."""
    try:
        # The output of blocks goes to the journal, where the page finds it; only errors go to the file.
        with said.open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "asyncblock", *command, "--json", FD_OPTION, str(write)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(write,),
                # A Ctrl-C at the page's terminal is for the page.
                start_new_session=True,
            )
    except OSError as error:
        raise Unavailable(f"'asyncblock {command[0]}' can't be started: {error}") from error
    finally:
        os.close(write)

    def wait() -> None:
        process.wait()
        try:
            ended()
        except RuntimeError:
            pass  # the page has ended before

    # Without a wait the ended process would stay a zombie, which looks as if it still ran. The thread is a daemon, so
    # that the page can end before the command does.
    threading.Thread(target=wait, name=f"asyncblock {command[0]}", daemon=True).start()


def _last_words(said: Path) -> str:
    try:
        text = said.read_bytes()[-_SAID:].decode("utf-8", "replace").strip()
    except OSError:
        return ""
    return text.removeprefix("asyncblock: ")
