"""The commands. ``main`` is what ``asyncblock`` and ``python -m asyncblock`` run."""

from __future__ import annotations

import io
import sys

from .. import collector

__all__ = ["main"]


INTERRUPTED = 130
"""The exit code of a command that was interrupted."""


def main() -> None:
    """Run the command line."""
    try:
        _main()
    except KeyboardInterrupt:
        # While modules were imported, before a command could ask for its signals.
        raise SystemExit(INTERRUPTED) from None


def _main() -> None:
    try:
        from .app import app
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("typer", "rich"):
            raise
        print(f"the commands need {missing}: pip install 'asyncblock[cli]'", file=sys.stderr)
        raise SystemExit(2) from None
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What blocks print may have no form in the terminal's encoding: that must not end their run.
        sys.stdout.reconfigure(errors="backslashreplace")
    collector.calm()
    app()
