"""Exit codes of the commands that more than one of them has."""

from __future__ import annotations

from typing import Final

__all__ = ["INTERRUPTED"]

INTERRUPTED: Final = 130
"""The exit code of a command that was interrupted."""
