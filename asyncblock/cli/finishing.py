"""How a command ends: its exit code, and one clear message for each error that a user can do something about."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from typing import Any, NoReturn

import typer

from ..errors import AsyncBlockError, DataDirInUse, InvalidFlow, MainframeFailed, Unauthorized
from ..telemetry import jsonlogs
from .exits import BROKEN, INTERRUPTED, USAGE

__all__ = ["run_command"]


def run_command(work: Coroutine[Any, Any, int]) -> NoReturn:
    """Run a command; typed errors become one clear message and exit code 2."""
    try:
        code = asyncio.run(work)
        sys.stdout.flush()
    except InvalidFlow as error:
        _complain("the flow can't be run:", *map(str, error.problems))
        code = USAGE
    except MainframeFailed as error:
        _complain(str(error))
        code = BROKEN
    except Unauthorized as error:
        hint = ""
        if error.code == "token":
            hint = "; give another one with --token or ASYNCBLOCK_TOKEN, or --data-dir of a mainframe on this machine"
        _complain(f"{error}{hint}")
        code = USAGE
    except DataDirInUse as error:
        # The cause has the words for a command line; the error's own words are for callers of the library.
        _complain(str(error.__cause__ or error))
        code = USAGE
    except AsyncBlockError as error:
        _complain(str(error))
        code = USAGE
    except (KeyboardInterrupt, asyncio.CancelledError):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader has left; the interpreter's last flush must not complain about it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = 128 + 13
    raise typer.Exit(code)


def _complain(*lines: str) -> None:
    if jsonlogs.configured():
        logging.getLogger("asyncblock").error("%s", "\n  ".join(lines))
        return
    print("\n  ".join(["asyncblock: " + lines[0], *lines[1:]]), file=sys.stderr)
