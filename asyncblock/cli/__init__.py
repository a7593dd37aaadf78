"""The commands. ``main`` is what ``asyncblock`` and ``python -m asyncblock`` run."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
        from .app import app
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        print(f"the commands need {error.name}: pip install 'asyncblock[cli]'", file=sys.stderr)
        raise SystemExit(2) from None
    app()
