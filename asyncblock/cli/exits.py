"""Exit codes of the commands."""

from __future__ import annotations

from typing import Final

__all__ = ["BROKEN", "INTERRUPTED", "USAGE"]

USAGE: Final = 2
"""Bad usage, or something that can't be done as it was asked for."""

BROKEN: Final = 70
"""The mainframe ended by an error of its own (EX_SOFTWARE of sysexits.h): a supervisor may start it again."""

INTERRUPTED: Final = 130
"""The command was interrupted."""
