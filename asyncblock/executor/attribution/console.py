"""What a block finds where a terminal would be: nothing to read, and words that say where input can come from.

An executor process has the null device as its standard input. ``input()`` is an ``EOFError``, as everywhere without a
terminal; ``breakpoint()`` and ``pdb`` say which command gives them one.
"""

from __future__ import annotations

import builtins
import getpass
import io
import os
import sys
from typing import Any

from ...errors import LocalProtocolError

__all__ = ["NoTerminal", "install", "share_input"]

_NO_INPUT = (
    "a block has no standard input: give the flow an input (run --input NAME=VALUE), or run it in the command's own "
    "process, which has the terminal (asyncblock run --in-process)"
)
_NO_DEBUGGER = (
    "an executor process has no terminal for a debugger: run the flow in the command's own process "
    "(asyncblock run --in-process), where breakpoint() and pdb work"
)


class NoTerminal(LocalProtocolError):
    """A debugger was called where there is no terminal. The author's to mend: ``asyncblock run --in-process``."""


class SharedInput(io.TextIOWrapper):
    """``sys.stdin`` for all blocks of the process: ``exit()`` doesn't close it for the others."""

    def __init__(self, encoding: str = "utf-8", errors: str = "strict") -> None:
        super().__init__(io.BufferedReader(io.FileIO(0, closefd=False)), encoding=encoding, errors=errors)

    def close(self) -> None:
        """Do nothing: the stream is everybody's."""


class NullInput(SharedInput):
    """One that is always at its end."""


def share_input() -> None:
    """Let ``exit()`` in one block leave standard input to the next, in a command's process that runs blocks."""
    stdin = sys.stdin
    # None where a command has none, another object in tests.
    if isinstance(stdin, io.TextIOWrapper) and not stdin.closed and stdin.fileno() == 0:
        sys.stdin = SharedInput(stdin.encoding, stdin.errors or "strict")


def install() -> None:
    """Put this in place, for a process that belongs to the executor."""
    sys.stdin = NullInput()
    builtins.input = _telling(builtins.input)
    getpass.getpass = _telling(getpass.getpass)
    if os.environ.get("PYTHONBREAKPOINT", "") in ("", "pdb.set_trace"):
        # Another hook (a remote debugger, or none: "0") is the author's choice.
        sys.breakpointhook = _no_debugger


def _telling(original: Any) -> Any:
    """Let an ``EOFError`` of a function that asks say where input can come from."""

    def ask(*args: Any, **kwargs: Any) -> Any:
        if not isinstance(sys.stdin, NullInput):
            return original(*args, **kwargs)
        if _asks_for_debugger(sys._getframe(1).f_locals.get("self")):
            raise NoTerminal(_NO_DEBUGGER)
        try:
            return original(*args, **kwargs)
        except EOFError:
            raise EOFError(_NO_INPUT) from None

    ask.__name__ = ask.__qualname__ = original.__name__
    ask.__doc__ = original.__doc__
    return ask


def _asks_for_debugger(asker: object) -> bool:
    # pdb takes the end of its input for the order to quit.
    bdb = sys.modules.get("bdb")
    return bdb is not None and isinstance(asker, bdb.Bdb)


def _no_debugger(*_: Any, **__: Any) -> None:
    raise NoTerminal(_NO_DEBUGGER)
