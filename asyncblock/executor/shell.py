"""The block behind ``executor: {name: shell}``: a command under ``sh -c``, its lines as logs, its output as values.

It runs in the directory of the file that says it, the flow's or the block's; ``cwd`` is seen from there.

The command has a process group of its own, so that a cancel or a time limit ends what it started too.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from typing import Any, Final, Literal

from ..block import block
from ..context import Context
from ..errors import AsyncBlockError

__all__ = ["MAX_OUTPUT", "ShellFailed", "shell"]

MAX_OUTPUT: Final = 64 << 20
"""Bytes that a command may write to each of stdout and stderr: they become one value each."""

_GRACE: Final = 5.0
"""Seconds between SIGTERM and SIGKILL for a command that is cancelled; half of what a cancelled block has."""

_LINE: Final = 1 << 20
"""Bytes of the longest line that is logged whole."""


class ShellFailed(AsyncBlockError):
    """A command ended with another exit code than 0, or was ended by a signal. The author's to mend."""


@block(inputs=[{"handle": "command"}], outputs=[{"handle": "stdout"}, {"handle": "stderr"}])
async def shell(inputs: dict[str, Any], ctx: Context) -> dict[str, str]:
    """Run a command; every executor has this block."""
    command = inputs.get("command")
    if not isinstance(command, str):
        raise ShellFailed(f"the input 'command' is a text, not {type(command).__name__}")
    cwd = _directory(inputs.get("cwd"), ctx.block_info.get("block_path"))
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-c",
        command,
        cwd=cwd,
        env={
            **os.environ,
            "OOCANA_SESSION_ID": ctx.session_id,
            "OOCANA_JOB_ID": ctx.job_id,
            **_environment(inputs.get("envs")),
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
        limit=_LINE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.TaskGroup() as tasks:
            stdout = tasks.create_task(_read(process.stdout, ctx, "stdout"))
            stderr = tasks.create_task(_read(process.stderr, ctx, "stderr"))
            code = await process.wait()
    except BaseExceptionGroup as group:
        # Both readers mostly fail of the same: the author is told that error, and not that there was a group of some.
        raise group.exceptions[0] from None
    finally:
        await _end(process)
    if code != 0:
        lines = stderr.result().strip().splitlines()
        how = f"exited with {code}" if code > 0 else f"was ended by {signal.Signals(-code).name}"
        raise ShellFailed(f"the command {how}" + (f": {lines[-1]:.500}" if lines else ""))
    results = {"stdout": stdout.result(), "stderr": stderr.result()}
    return {handle: text for handle, text in results.items() if not ctx.outputs_def or handle in ctx.outputs_def}


async def _read(stream: asyncio.StreamReader, ctx: Context, name: Literal["stdout", "stderr"]) -> str:
    """Read a stream to its end; each line is logged as it comes."""
    pieces: list[bytes] = []
    size = 0
    while piece := await _line(stream):
        size += len(piece)
        if size > MAX_OUTPUT:
            raise ShellFailed(f"the command wrote more than {MAX_OUTPUT} bytes to {name}; let it write to a file")
        pieces.append(piece)
        await ctx.report_log(piece.decode("utf-8", "replace").rstrip("\r\n"), name)
    return b"".join(pieces).decode("utf-8", "replace").removesuffix("\n")


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError as error:
        return await stream.readexactly(error.consumed)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a command that is still there: it and all that it started get SIGTERM, then SIGKILL."""
    if process.returncode is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass
        try:
            await asyncio.wait_for(process.wait(), _GRACE)
            return
        except TimeoutError:
            continue


def _directory(given: object, file: object) -> str | None:
    """Return where a command runs: beside the file that it stands in, if that is on this machine; else None.

    ``given`` may be another directory, also one seen from there.
    """
    beside = os.path.dirname(file) if isinstance(file, str) else ""
    if not os.path.isdir(beside):
        beside = ""
    if given is None:
        return beside or None
    if not isinstance(given, str):
        raise ShellFailed(f"the input 'cwd' is a text, not {type(given).__name__}")
    if not os.path.isdir(found := os.path.join(beside, given)):
        raise ShellFailed(f"the directory {found!r} (input 'cwd') isn't there")
    return found


def _environment(envs: object) -> dict[str, str]:
    """Read the input ``envs``: a mapping, a list of ``NAME=VALUE``, or a text of them with commas between."""
    if envs is None:
        return {}
    if isinstance(envs, Mapping):
        return {str(name): str(value) for name, value in envs.items()}
    given = envs.split(",") if isinstance(envs, str) else envs
    if not isinstance(given, list):
        raise ShellFailed("the input 'envs' is a mapping, a list of NAME=VALUE, or a text of them with commas between")
    pairs = [str(each).lstrip().partition("=") for each in given]
    return {name: value for name, equals, value in pairs if name and equals}
