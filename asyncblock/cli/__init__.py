"""The commands. ``main`` is what ``asyncblock`` and ``python -m asyncblock`` run."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from types import FrameType

from .exits import INTERRUPTED

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    try:
        _main()
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except SystemExit as end:
        if threading.active_count() == 1:
            raise
        # Blocks have run here, and have left threads.
        from ..runtime.ending import leave

        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        leave(end.code if isinstance(end.code, int) else int(end.code is not None))


def _leave(number: int, frame: FrameType | None) -> None:
    """Leave at once. Nothing has begun that would have to end in order; commands handle signals themselves when it has.

    An exception would be raised in the middle of an import, and some modules that are written in C end with a
    segmentation fault then.
    """
    os._exit(INTERRUPTED)


def _main() -> None:
    from ..runtime import collector

    if isinstance(sys.stdout, io.TextIOWrapper):
        # What blocks print may have no form in the terminal's encoding: that must not end their run.
        sys.stdout.reconfigure(errors="backslashreplace")
    collector.calm()
    try:
        from .app import app

        app()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("typer", "rich"):
            raise
        print(f"the commands need {missing}: pip install 'asyncblock[cli]'", file=sys.stderr)
        raise SystemExit(2) from None
